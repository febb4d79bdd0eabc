"""A server that only accepts: real registry, dispatcher, spool and transports, and no supervisor.

`python -m tests.mcp_server.serve.accepting_server HOME` prints the path of its socket and serves until its standard
input ends. It starts no process, so that every system call of its trace is its own.
"""

import sys
from pathlib import Path
from typing import cast

import anyio
import anyio.lowlevel

from bench.empty_tool import NoPeers
from lifecycle.board import Board
from lifecycle.dispatch import Dispatcher
from lifecycle.flags import Flags
from lifecycle.limits import Limits
from lifecycle.requests import SendRequest, SendResult
from lifecycle.resolve import RateLimit, Resolver
from mcp_server.heap import settle_heap
from mcp_server.serve.credentials import load_credentials
from mcp_server.serve.front import Front
from mcp_server.serve.options import ServeOptions
from mcp_server.service import Progress, Service
from transport.clock import SystemClock
from transport.identity import Identity
from transport.logs import Log
from transport.paths import Root
from transport.profile import Profile, host, make_profile, tenant
from transport.registry import Registry
from transport.spool.spool import Spool

PEERS = 16
LIMITS = Limits(sends_per_minute=100_000_000, queue_cap=100_000_000)


class AcceptingService(NoPeers):
    """The part of the application that accepts messages; nothing else is asked of it here."""

    role = "standby"

    def __init__(self, root: Root, dispatcher: Dispatcher) -> None:
        self.root = root.home
        self.host = host()
        self.tenant = tenant()
        self.version = "bench"
        self._dispatcher = dispatcher

    async def send(self, sender: Identity, request: SendRequest, progress: Progress | None = None) -> SendResult:
        return await self._dispatcher.send(sender, request, progress)

    def knows(self, identity: Identity) -> bool:
        return self._dispatcher.resolver.registry.get(identity.personality) is not None


def register(root: Root, registry: Registry) -> None:
    """Register the peers that the load is sent to and from."""
    profiles = []
    for number in range(PEERS):
        cwd = root.peers / f"peer{number}"
        cwd.mkdir(exist_ok=True)
        profiles.append(a_profile(number, cwd))
    registry.add(*profiles)


def a_profile(number: int, cwd: Path) -> Profile:
    """Return the profile of one peer."""
    return make_profile(
        name=f"peer{number}",
        cwd=cwd,
        runtimes=("scripted",),
        default_runtime="scripted",
        host=host(),
        tenant_id=tenant(),
        created_at="2026-01-01T00:00:00+00:00",
    )


async def serve(home: Path) -> None:
    """Serve until standard input ends."""
    root, clock = Root(home), SystemClock()
    root.prepare()
    registry = Registry(root)
    register(root, registry)
    credentials = load_credentials(root.secret)
    log = Log(root.logs / "lifecycle.log", clock)
    async with Spool(root.spool) as spool, anyio.create_task_group() as group:
        dispatcher = Dispatcher(
            resolver=Resolver(registry, Flags(root)),
            spool=spool,
            board=Board(),
            limits=LIMITS,
            clock=clock,
            rate=RateLimit(LIMITS),
            arrived=lambda identity: None,
            is_supervised=lambda: False,
            is_live=lambda identity: False,
            repeated=lambda identity: anyio.lowlevel.checkpoint(),
        )
        service = cast(Service, AcceptingService(root, dispatcher))
        front = Front(service, credentials, ServeOptions(port=None), clock, log)
        addresses = await group.start(front.run)
        print(addresses.socket, flush=True)
        await anyio.to_thread.run_sync(sys.stdin.buffer.read)
        front.stop()
        group.cancel_scope.cancel()


if __name__ == "__main__":
    settle_heap()
    anyio.run(serve, Path(sys.argv[1]))
