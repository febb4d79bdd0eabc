"""A server with one tool that does nothing, behind the real transport: the floor of a call through MCP.

`python -m bench.empty_tool HOME` prints the path of its socket and serves until its standard input ends.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any, cast

import anyio
import mcp_types as types
from mcp.server.lowlevel import Server

from mcp_server.heap import settle_heap
from mcp_server.serve.callers import Callers
from mcp_server.serve.control import Control
from mcp_server.serve.credentials import load_credentials
from mcp_server.serve.front import Doorman
from mcp_server.serve.inflight import InFlight
from mcp_server.serve.lines import LineServer
from mcp_server.serve.options import ServeOptions
from mcp_server.serve.sockets import unix_listener
from mcp_server.serve.verbs import ServerFacts
from mcp_server.service import Service
from mcp_server.tools.server import Context
from transport.clock import SystemClock
from transport.identity import Identity
from transport.logs import Log
from transport.paths import Root

SOCKET = "empty.sock"


class NoPeers:
    """A service that knows nobody: whoever calls is the operator."""

    def resolve_pane(self, pid: int) -> Identity | None:
        return None

    def is_branded(self, pid: int) -> bool:
        return False

    def peer_at(self, directory: Path) -> Identity | None:
        return None


def empty_server() -> Server[Any]:
    """An MCP server with one tool that does nothing, made the ordinary way."""

    async def call(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        return types.CallToolResult(content=[types.TextContent(text="ok")])

    return Server("empty", on_call_tool=call)


async def serve(home: Path) -> None:
    """Serve it until standard input ends."""
    root, clock, service = Root(home), SystemClock(), cast(Service, NoPeers())
    root.prepare()
    log = Log(root.logs / "lifecycle.log", clock)
    callers, in_flight, options = Callers(service, load_credentials(root.secret)), InFlight(), ServeOptions(port=0)
    control = Control(service, callers, ServerFacts(clock, clock.monotonic(), in_flight, lambda: 0), in_flight, log)
    lines = LineServer(empty_server(), callers, control, options, "bench", log)
    async with anyio.create_task_group() as group:
        with unix_listener(root.run / SOCKET) as unix:
            loop = asyncio.get_running_loop()
            server = await loop.create_unix_server(
                lambda: Doorman(cast(Any, None), lines, group, options, log), sock=unix.socket
            )
            print(root.run / SOCKET, flush=True)
            await anyio.to_thread.run_sync(sys.stdin.buffer.read)
            server.close()
        group.cancel_scope.cancel()


if __name__ == "__main__":
    settle_heap()
    anyio.run(serve, Path(sys.argv[1]))
