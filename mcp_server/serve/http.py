"""HTTP on both listeners: streamable HTTP at /mcp, SSE at /sse, through uvicorn's protocol and our guard."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any, Final, cast

import h11
from mcp.server.auth.middleware.bearer_auth import AuthorizationContext
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_dual_era_loop
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http import StreamableHTTPServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import INVALID_REQUEST
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from mcp_server.serve.callers import Callers, SocketPeer
from mcp_server.serve.guard import SOCKET_PEER, App, Guard, HttpRefusal, Receive, Scope, Send
from mcp_server.serve.inflight import InFlight
from mcp_server.serve.options import ServeOptions
from mcp_server.tools.server import CALLER
from transport.identity import Identity

MCP_PATH: Final = "/mcp"
SSE_PATH: Final = "/sse"
MESSAGES_PATH: Final = "/messages"
CLOSE_SECONDS: Final = 1.0


class Waiting:
    """The TCP connections on which no request is under way: over the bound, the one that waits longest is ended.

    Nobody has shown a credential on these, so that nobody without one can use up the server's descriptors.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: dict[TimedProtocol, None] = {}

    def add(self, protocol: "TimedProtocol") -> None:
        self._found.setdefault(protocol)
        if len(self._found) > self._most:
            oldest = next(iter(self._found))
            self.discard(oldest)
            oldest.transport.close()

    def discard(self, protocol: "TimedProtocol") -> None:
        self._found.pop(protocol, None)


class TimedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with a deadline for the headers of every request and for a client to read its answers."""

    header_seconds = 10.0
    unread_seconds = 60.0
    waiting: Waiting | None = None
    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        # What is unsent has a deadline, however little it is: a connection that is closed with it would never end.
        transport.set_write_buffer_limits(high=0)
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        self._set_waiting(False)
        self._is_read()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self.unread_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._is_read()
        super().resume_writing()

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _watch(self) -> None:
        is_idle = self._is_between_requests() and not self.transport.is_closing()
        self._set_waiting(is_idle)
        awaits_headers = is_idle and self.timeout_keep_alive_task is None
        if not awaits_headers:
            self._forget()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.header_seconds, self.transport.abort)

    def _is_between_requests(self) -> bool:
        """Return whether nothing is being asked: a body goes on behind its answer only to be thrown away."""
        theirs, ours = self.conn.their_state, self.conn.our_state
        return theirs is h11.IDLE or (theirs is h11.SEND_BODY and ours in (h11.DONE, h11.MUST_CLOSE))

    def _set_waiting(self, is_waiting: bool) -> None:
        if self.waiting is not None:
            (self.waiting.add if is_waiting else self.waiting.discard)(self)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Shares:
    """How many streams each caller holds open."""

    def __init__(self, each: int) -> None:
        self._each = each
        self._held: Counter[Identity] = Counter()

    @contextmanager
    def one(self, sender: Identity) -> Iterator[None]:
        """Hold one while the block runs; raises HttpRefusal (429) for one too many."""
        if self._held[sender] >= self._each:
            text = f"{sender} has {self._each} streams open; close some of them"
            raise HttpRefusal(429, INVALID_REQUEST, text, "too-many-streams")
        self._held[sender] += 1
        try:
            yield
        finally:
            self._held[sender] -= 1
            if not self._held[sender]:
                del self._held[sender]


class FairSessions(StreamableHTTPSessionManager):
    """The SDK's sessions, of which one caller cannot take all."""

    sessions_each = 0

    def _admit_session(self, requestor: AuthorizationContext | None) -> StreamableHTTPServerTransport | None:
        if sum(owner == requestor for owner in self._session_owners.values()) >= self.sessions_each:
            text = f"you have {self.sessions_each} sessions open; end some of them with DELETE"
            raise HttpRefusal(429, INVALID_REQUEST, text, "too-many-sessions")
        return super()._admit_session(requestor)


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
        self._sessions = FairSessions(
            server,
            max_request_body_size=options.message_bytes,
            max_sessions=options.max_sessions,
            session_idle_timeout=options.session_idle_seconds,
        )
        self._sessions.sessions_each = options.sessions_each
        self._streams = Shares(options.streams_each)
        self._waiting = Waiting(options.max_waiting)
        self._sse = SseServerTransport(MESSAGES_PATH, max_request_body_size=options.message_bytes)
        routes: dict[str, App] = {
            MCP_PATH: self._serve_mcp,
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
        made.unread_seconds = self._options.unread_seconds
        made.waiting = self._waiting if peer is None else None
        return made

    async def _serve_mcp(self, scope: Scope, receive: Receive, send: Send) -> None:
        held = self._streams.one(scope[CALLER].sender) if scope["method"] == "GET" else nullcontext()
        with held:
            await self._sessions.handle_request(scope, receive, send)

    async def _serve_sse(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "GET":
            await send({"type": "http.response.start", "status": 405, "headers": [(b"allow", b"GET")]})
            await send({"type": "http.response.body", "body": b""})
            return
        with self._streams.one(scope[CALLER].sender):
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
