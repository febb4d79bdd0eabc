"""The task tree of a server: lock, spool, supervisor, listeners, and a clean end."""

import argparse
import os
import resource
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import anyio
from anyio.abc import TaskStatus
from filelock import FileLock, Timeout

from mcp_server.duty import say, supervise
from mcp_server.heap import settle_heap
from mcp_server.settings import Settings, load
from mcp_server.wiring import wired
from transport.paths import Root, root_from_environment

STOPPED: Final = 0
FAILED: Final = 1
OPEN_FILES: Final = 8192
COMMAND_LINE: Final = "command line"
GIVE_WAY_SECONDS: Final = 3.0
ANSWER_SECONDS: Final = 1.0


def serve(given: argparse.Namespace) -> int:
    """Run a whole server in the foreground as it was asked for, and return its exit status."""
    root = root_from_environment()
    os.umask(0o077)
    allow_files()
    root.prepare()
    settings = _overridden(load(root), given)
    for warning in settings.warnings:
        say(warning)
    if given.in_process:
        from mcp_server.in_process import run as run_in_process

        return anyio.run(run_in_process, root, settings)
    settle_heap()
    return anyio.run(_Server(root, settings).run)


def allow_files() -> None:
    """Raise the soft limit of open files: a live session takes up to five, and some systems begin at 256."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _overridden(settings: Settings, given: argparse.Namespace) -> Settings:
    changes = {name: getattr(given, name) for name in ("host", "port") if getattr(given, name) is not None}
    if given.no_tcp:
        changes["tcp"] = False
    if given.allow_remote:
        changes["allow_remote"] = True
    if given.verbose:
        changes["verbose"] = True
    return replace(settings, **changes, sources={**settings.sources, **dict.fromkeys(changes, COMMAND_LINE)})


def _is_of_the_line(settings: Settings, name: str) -> bool:
    return settings.sources.get(name) == COMMAND_LINE


class _Server:
    """One run of the HTTP server, as supervisor or, until the lock is free, as hot standby."""

    def __init__(self, root: Root, settings: Settings) -> None:
        self._root = root
        self._settings = settings
        self._needs_port = settings.standby and any(_is_of_the_line(settings, name) for name in ("host", "port"))
        self._stopping = anyio.Event()

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT; 0 after a clean stop."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._await_signals)
            async with supervisor_lock(self._root, self._settings, self._stopping, self._stands_by) as is_ours:
                if is_ours:
                    await self._serve()
            tasks.cancel_scope.cancel()
        return STOPPED

    def _stands_by(self, text: str) -> None:
        # By the time it takes over, nobody may be there to give it another port.
        self._needs_port = False
        say(text)

    async def _await_signals(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            task_status.started()
            async for _ in signals:
                self._stopping.set()

    async def _serve(self) -> None:
        async with wired(self._root, self._settings) as parts:
            await supervise(parts, self._settings, self._stopping, needs_port=self._needs_port)


async def is_served(root: Root) -> bool:
    """Tell whether a server listens on the socket of this root; one that is too busy to accept does."""
    with anyio.move_on_after(ANSWER_SECONDS):
        try:
            async with await anyio.connect_unix(root.server_socket):
                return True
        except OSError:
            return False
    return True


@asynccontextmanager
async def supervisor_lock(
    root: Root, settings: Settings, stopping: anyio.Event, say: Callable[[str], None]
) -> AsyncIterator[bool]:
    """Hold the supervisor's lock; while another server has it, stand by. False when told to stop first.

    One that is not to stand by gives way to a server that answers, and waits for one that ends.
    """
    patience = anyio.current_time() + settings.stop_seconds + GIVE_WAY_SECONDS
    lock = FileLock(root.supervisor_lock, timeout=0, thread_local=False, mode=0o600)
    told = False
    while not stopping.is_set():
        try:
            lock.acquire(timeout=0)
            break
        except Timeout:
            if not settings.standby and (anyio.current_time() > patience or await is_served(root)):
                yield False
                return
            if not told and settings.standby:
                say("another server supervises this root; standing by to take over")
                told = True
            with anyio.move_on_after(settings.takeover_poll_seconds):
                await stopping.wait()
    try:
        yield lock.is_locked
    finally:
        lock.release()
