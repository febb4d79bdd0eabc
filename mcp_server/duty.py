"""What the server that supervises does until it is told to stop: recovery, supervision, listeners."""

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.abc import TaskStatus

from mcp_server.serve.front import Front
from mcp_server.serve.options import Addresses, ServeOptions
from mcp_server.settings import ALL, Settings
from mcp_server.version import VERSION
from mcp_server.wiring import Wired
from transport.clock import SystemClock, iso
from transport.files import write_atomic
from transport.paths import Root


async def supervise(
    parts: Wired,
    settings: Settings,
    until: anyio.Event,
    *,
    needs_port: bool = False,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Recover what was cut off, then supervise and listen until the event, and answer what is in flight by then.

    The caller holds the supervisor's lock. Raises what listening raises.
    """
    await parts.application.changes.recover()
    async with anyio.create_task_group() as tasks:
        await tasks.start(parts.supervisor.run)
        async with listening(parts, settings, needs_port=needs_port):
            task_status.started()
            await until.wait()
            parts.logs.lifecycle.write("stop-server", pid=os.getpid())
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def listening(parts: Wired, settings: Settings, *, needs_port: bool) -> AsyncIterator[Addresses]:
    """Listen and say where; at the end take no more connections, and let what is in flight be answered."""
    clock, root = SystemClock(), Root(parts.application.root)
    options = ServeOptions(
        host=settings.host,
        port=settings.port if settings.tcp else None,
        needs_port=needs_port,
        allow_remote=settings.allow_remote,
        stop_seconds=settings.stop_seconds,
    )
    release = parts.application.dispatcher.board.release
    front = Front(parts.application, parts.credentials, options, clock, parts.logs.lifecycle, release=release)
    async with anyio.create_task_group() as listeners:
        addresses: Addresses = await listeners.start(front.run)
        _announce(root, settings, addresses, clock)
        reason = {"reason": addresses.no_http} if addresses.no_http else {}
        parts.logs.lifecycle.write("serve", pid=os.getpid(), version=VERSION, http=addresses.http, **reason)
        yield addresses
        front.stop()
    root.discovery.unlink(missing_ok=True)


def _announce(root: Root, settings: Settings, addresses: Addresses, clock: SystemClock) -> None:
    found = {
        "pid": os.getpid(),
        "version": VERSION,
        "socket": addresses.socket,
        "http": addresses.http,
        "started_at": iso(clock.wall()),
        "settings": {name: [settings.value(name), settings.sources.get(name)] for name in ALL},
    }
    write_atomic(root.discovery, json.dumps(found) + "\n")
    if addresses.no_http:
        say(f"{addresses.no_http}; until it is started again this server is reached at its socket alone")
    where = f"{addresses.http} and {addresses.socket}" if addresses.http else addresses.socket
    say(f"serving on {where}")


def say(text: str) -> None:
    """Tell whoever reads standard error, if anybody does; when nobody does any more, nobody is told again."""
    if sys.stderr is None:
        return
    try:
        print(f"peerwake: {text}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        with suppress(OSError):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 2)
            os.close(nothing)
