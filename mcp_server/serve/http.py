"""HTTP on both listeners: streamable HTTP at /mcp, SSE at /sse, through uvicorn's protocol and our guard."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import h11
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_dual_era_loop
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from mcp_server.serve.callers import Callers, SocketPeer
from mcp_server.serve.guard import SOCKET_PEER, App, Guard, Receive, Scope, Send
from mcp_server.serve.inflight import InFlight
from mcp_server.serve.options import ServeOptions
from mcp_server.tools.server import CALLER

MCP_PATH: Final = "/mcp"
SSE_PATH: Final = "/sse"
MESSAGES_PATH: Final = "/messages"
CLOSE_SECONDS: Final = 1.0


class TimedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with a deadline for the headers of every request."""

    header_seconds = 10.0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _watch(self) -> None:
        awaits_headers = self.conn.their_state is h11.IDLE and self.timeout_keep_alive_task is None
        if not awaits_headers or self.transport.is_closing():
            self._forget()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.header_seconds, self.transport.abort)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class HttpFront:
    """Everything HTTP of one server; `protocol` makes the handler of one connection."""

    def __init__(
        self,
        server: Server[Any],
        callers: Callers,
        options: ServeOptions,
        in_flight: InFlight,
        extra_routes: Mapping[str, App],
    ) -> None:
        self._server = server
        self._options = options
        self._sessions = StreamableHTTPSessionManager(
            server, max_request_body_size=options.message_bytes, max_sessions=options.max_sessions
        )
        self._sse = SseServerTransport(MESSAGES_PATH, max_request_body_size=options.message_bytes)
        routes: dict[str, App] = {
            MCP_PATH: cast(App, self._sessions.handle_request),
            SSE_PATH: self._serve_sse,
            MESSAGES_PATH: cast(App, self._sse.handle_post_message),
        }
        self._guard = Guard(routes | dict(extra_routes), callers, options, in_flight)
        self._config = Config(
            cast(Any, self._guard),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            http="h11",
            ws="none",
        )
        self._config.load()
        self.state = ServerState()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the sessions of streamable HTTP while the block runs, then end every connection."""
        async with self._sessions.run():
            try:
                yield
            finally:
                await self._close()

    def protocol(self, peer: SocketPeer | None) -> H11Protocol:
        """Return the protocol of one connection; `peer` is who the kernel says is at the other end."""
        made = TimedProtocol(self._config, self.state, {SOCKET_PEER: peer})
        made.header_seconds = self._options.header_seconds
        return made

    async def _serve_sse(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "GET":
            await send({"type": "http.response.start", "status": 405, "headers": [(b"allow", b"GET")]})
            await send({"type": "http.response.body", "body": b""})
            return
        async with self._sse.connect_sse(scope, receive, send) as (incoming, outgoing):
            await serve_dual_era_loop(self._server, incoming, outgoing, lifespan_state=scope[CALLER])

    async def _close(self) -> None:
        """End every connection; what was being answered has had its time."""
        self._guard.is_stopping = True
        for connection in tuple(self.state.connections):
            connection.transport.close()
        await _ended(self.state)
        for task in tuple(self.state.tasks):
            task.cancel()
        await _ended(self.state)


async def _ended(state: ServerState) -> None:
    if state.tasks:
        await asyncio.wait(tuple(state.tasks), timeout=CLOSE_SECONDS)
