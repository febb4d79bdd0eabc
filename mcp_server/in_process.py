"""A whole server on standard input and output, for clients that want no second process."""

import os
from pathlib import Path

import anyio
from filelock import FileLock, Timeout
from mcp.server.runner import serve_dual_era_loop
from mcp.server.stdio import stdio_server

from mcp_server.serve.callers import Callers, Claim, SocketPeer
from mcp_server.serve.inflight import InFlight
from mcp_server.serve.peercred import PeerProcess
from mcp_server.settings import Settings
from mcp_server.tools.server import build_server
from mcp_server.wiring import Wired, wired
from transport.paths import Root


async def run(root: Root, settings: Settings) -> int:
    """Serve until end of input; supervises if no other server of this root does."""
    lock = FileLock(root.supervisor_lock, timeout=0, thread_local=False, mode=0o600)
    async with wired(root, settings) as parts, anyio.create_task_group() as tasks:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            parts.logs.lifecycle.write("in-process", pid=os.getpid(), supervises=False)
        else:
            await tasks.start(parts.supervisor.run)
        try:
            await _serve(parts)
        finally:
            lock.release()
            tasks.cancel_scope.cancel()
    return 0


async def _serve(parts: Wired) -> None:
    service = parts.application
    callers = Callers(service, parts.credentials)
    # The caller is whoever started this process: its ancestry and its environment speak for it.
    starter = SocketPeer(PeerProcess(os.getuid(), os.getpid()))
    claim = Claim(os.environ.get("PEERWAKE_CREDENTIAL"), str(Path.cwd()))
    caller = await callers.on_socket(starter, claim)
    server = build_server(service, callers, InFlight(), parts.logs.lifecycle)
    async with stdio_server() as (incoming, outgoing):
        await serve_dual_era_loop(server, incoming, outgoing, lifespan_state=caller)
