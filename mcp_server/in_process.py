"""A whole server on standard input and output, for clients that want no second process."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import TaskStatus
from filelock import FileLock, Timeout
from mcp.server.runner import serve_dual_era_loop

from mcp_server.duty import supervise
from mcp_server.serve.callers import Caller, Callers, Claim, SocketPeer
from mcp_server.serve.inflight import InFlight
from mcp_server.serve.peercred import PeerProcess
from mcp_server.serve.streams import LineReader, LineWriter
from mcp_server.settings import Settings
from mcp_server.tools.server import ToolServer, build_server
from mcp_server.wiring import Wired, wired
from transport.errors import PeerwakeError
from transport.paths import Root

LONGEST_BYTES: Final = 16 << 20
INIT: Final = 1
"""This process is the caller itself, and has the limits that whoever started it chose."""


class NotAPipe(PeerwakeError):
    """A standard stream is a file; the user pipes it, or leaves --in-process out."""

    code = "not-a-pipe"


async def run(root: Root, settings: Settings) -> int:
    """Serve until end of input, and everybody else too as soon as no other server of this root does.

    Raises NotAPipe, and what listening raises.
    """
    lock = FileLock(root.supervisor_lock, timeout=0, thread_local=False, mode=0o600)
    ended = anyio.Event()
    async with (
        _standard_streams() as streams,
        wired(root, settings, outside=INIT) as parts,
        anyio.create_task_group() as tasks,
    ):
        callers = Callers(parts.application, parts.credentials)
        caller = await _starter(callers)
        await tasks.start(_on_duty, lock, parts, settings, ended)
        try:
            await _serve(parts, callers, caller, *streams)
        finally:
            ended.set()
    # Only now, when nothing of ours delivers any more, may another server supervise.
    lock.release()
    return 0


async def _on_duty(
    lock: FileLock, parts: Wired, settings: Settings, ended: anyio.Event, *, task_status: TaskStatus[None]
) -> None:
    """Do what a server does for all, at once or when the one that does it has ended."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        parts.logs.lifecycle.write("in-process", pid=os.getpid(), supervises=False)
        task_status.started()
        if await _is_free(lock, settings.takeover_poll_seconds, ended):
            parts.logs.lifecycle.write("in-process", pid=os.getpid(), supervises=True)
            await supervise(parts, settings, ended)
    else:
        await supervise(parts, settings, ended, task_status=task_status)


async def _is_free(lock: FileLock, poll_seconds: float, ended: anyio.Event) -> bool:
    """Take the lock when it is free; False when this server has ended before."""
    while not ended.is_set():
        with anyio.move_on_after(poll_seconds):
            await ended.wait()
        with suppress(Timeout):
            lock.acquire(timeout=0)
            return True
    return False


def _here() -> str | None:
    """Return the working directory, None when it is gone."""
    try:
        return str(Path.cwd())
    except OSError:
        return None


async def _starter(callers: Callers) -> Caller:
    """Return who started this process, for whom its ancestry and its environment speak; raises NotAllowed."""
    starter = SocketPeer(PeerProcess(os.getuid(), os.getpid()))
    return await callers.on_socket(starter, Claim(os.environ.get("PEERWAKE_CREDENTIAL"), _here()))


async def _serve(parts: Wired, callers: Callers, caller: Caller, incoming: LineReader, outgoing: LineWriter) -> None:
    service = parts.application
    server = build_server(service.version, ToolServer(service, callers, InFlight(), parts.logs.lifecycle))
    await serve_dual_era_loop(server, incoming, outgoing, lifespan_state=caller)


@asynccontextmanager
async def _standard_streams() -> AsyncIterator[tuple[LineReader, LineWriter]]:
    """Take over standard input and output; what else is printed meanwhile goes to standard error."""
    for number, name in enumerate(("standard input", "standard output")):
        mode = os.fstat(number).st_mode
        if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(number)):
            raise NotAPipe(f"{name} is neither a pipe nor a socket nor a terminal; pipe it, or leave --in-process out")
    loop = asyncio.get_running_loop()
    source, sink = os.fdopen(os.dup(0), "rb", 0), os.fdopen(os.dup(1), "wb", 0)
    os.dup2(2, 1)
    reader = asyncio.StreamReader(limit=LONGEST_BYTES)
    taken, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), source)
    given, flow = await loop.connect_write_pipe(lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), sink)
    try:
        writer = LineWriter(asyncio.StreamWriter(given, flow, None, loop))
        yield LineReader(reader, writer, LONGEST_BYTES), writer
    finally:
        os.set_blocking(sink.fileno(), True)
        taken.close()
        given.close()
