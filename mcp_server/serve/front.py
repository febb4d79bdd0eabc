"""The front of the server: its listeners, from the first connection to the last answer."""

import asyncio
import json
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Final

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup, TaskStatus

from lifecycle.requests import NotAllowed
from mcp_server.serve.callers import Callers, SocketPeer
from mcp_server.serve.control import Control
from mcp_server.serve.credentials import Credentials
from mcp_server.serve.guard import App
from mcp_server.serve.http import HttpFront
from mcp_server.serve.inflight import InFlight
from mcp_server.serve.library_logs import library_logs
from mcp_server.serve.lines import LineServer, refusal
from mcp_server.serve.options import Addresses, AddressInUse, ServeOptions
from mcp_server.serve.peercred import peer_process
from mcp_server.serve.sockets import BACKLOG, UnixListener, http_address, tcp_listener, unix_listener
from mcp_server.serve.streams import SideReader
from mcp_server.serve.verbs import ServerFacts
from mcp_server.service import Service
from mcp_server.tools.server import ToolServer, build_server
from transport.clock import Clock
from transport.errors import PeerwakeError
from transport.logs import Log
from transport.paths import Root

REACH_SECONDS: Final = 1.0
SETTLE_SECONDS: Final = 0.05
RELEASE_SECONDS: Final = 1.0


class Front:
    """Serves agents, operators and HTTP clients over one service.

    `run` is the whole life of the listeners; `stop` ends it gracefully, cancelling it ends it at once.
    `release` makes the calls answer that still wait for something when the time to stop is over.
    """

    def __init__(
        self,
        service: Service,
        credentials: Credentials,
        options: ServeOptions,
        clock: Clock,
        log: Log,
        extra_routes: Mapping[str, App] | None = None,
        release: Callable[[], None] | None = None,
    ) -> None:
        self._options = options
        self._service = service
        self._clock = clock
        self._root = Root(service.root)
        self._log = log
        self._in_flight = InFlight()
        self._stopping = anyio.Event()
        self._release = release
        callers = Callers(service, credentials)
        self._facts = ServerFacts(clock, clock.monotonic(), self._in_flight, lambda: self.connections)
        tools = ToolServer(service, callers, self._in_flight, log)
        server = build_server(service.version, tools)
        self._http = HttpFront(server, callers, options, self._in_flight, extra_routes or {})
        control = Control(service, callers, self._facts, self._in_flight, log)
        self._lines = LineServer(server, callers, control, options, service.version, log, tools)

    @property
    def connections(self) -> int:
        return self._lines.connections + len(self._http.state.connections)

    def stop(self) -> None:
        """Take no more connections, let what is in flight be answered for a while, and end `run`."""
        self._stopping.set()

    async def run(self, *, task_status: TaskStatus[Addresses] = anyio.TASK_STATUS_IGNORED) -> None:
        """Listen and serve until `stop`; `started` carries the addresses.

        Raises ServerRunning, AddressInUse, NotLoopback or CannotListen before it has started.
        """
        with library_logs(self._log), ExitStack() as sockets:
            tcp, no_http = self._tcp(sockets)
            unix = sockets.enter_context(unix_listener(self._root.server_socket))
            async with self._http.running(), anyio.create_task_group() as group:
                servers = [await self._accept(unix, group)]
                if tcp is not None:
                    loop = asyncio.get_running_loop()
                    server = await loop.create_server(lambda: self._http.protocol(None), sock=tcp, backlog=BACKLOG)
                    servers.append(server)
                group.start_soon(self._stay_reached, unix, sockets, servers, group)
                addresses = Addresses(str(self._root.server_socket), http_address(tcp) if tcp else None, no_http)
                self._facts.addresses = addresses
                try:
                    task_status.started(addresses)
                    await self._stopping.wait()
                finally:
                    for server in servers:
                        server.close()
                await self._drain()
                group.cancel_scope.cancel()

    def _tcp(self, sockets: ExitStack) -> tuple[socket.socket | None, str | None]:
        """Listen on TCP as the options want it; without a listener, why, where they wanted one."""
        try:
            return sockets.enter_context(tcp_listener(self._options)), None
        except AddressInUse as error:
            if self._options.needs_port:
                raise
            return None, str(error)

    async def _stay_reached(
        self, unix: UnixListener, sockets: ExitStack, servers: list[asyncio.Server], group: TaskGroup
    ) -> None:
        """Listen anew when the socket's file is removed or replaced; whoever is connected stays so."""
        path = self._root.server_socket
        while not self._stopping.is_set():
            await self._clock.sleep(REACH_SECONDS)
            if unix.is_reached():
                continue
            try:
                unix = await anyio.to_thread.run_sync(lambda: sockets.enter_context(unix_listener(path)))
            except PeerwakeError:
                # Another server took the place, or nothing can be made there: whichever it is may end.
                continue
            servers.append(await self._accept(unix, group))
            self._log.write("socket-restored", path=path)

    async def _accept(self, unix: UnixListener, group: TaskGroup) -> asyncio.Server:
        # asyncio calls `listen` again, by default for a hundred.
        loop = asyncio.get_running_loop()
        return await loop.create_unix_server(lambda: self._doorman(group), sock=unix.socket, backlog=BACKLOG)

    def _doorman(self, group: TaskGroup) -> "Doorman":
        return Doorman(self._http, self._lines, group, self._options, self._log)

    async def _drain(self) -> None:
        if self._in_flight.count:
            if not await self._in_flight.drained(self._options.stop_seconds) and self._release is not None:
                self._release()
                await self._in_flight.drained(RELEASE_SECONDS)
            # An answer over SSE still has to pass from its handler to the stream.
            await anyio.sleep(SETTLE_SECONDS)
        self._lines.mute()


class Doorman(asyncio.Protocol):
    """Looks at the first bytes of a connection on the unix socket: `{` begins JSON lines, all else is HTTP."""

    def __init__(self, http: HttpFront, lines: LineServer, group: TaskGroup, options: ServeOptions, log: Log) -> None:
        self._http = http
        self._lines = lines
        self._group = group
        self._options = options
        self._log = log
        self._peer: SocketPeer | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._first = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        try:
            process = peer_process(transport.get_extra_info("socket"))
        except OSError as problem:
            self._log.write("unknown-peer-process", error=problem.strerror)
            transport.abort()
            return
        if not process.is_ours:
            self._log.write("foreign-uid", uid=process.uid, pid=process.pid)
            error = NotAllowed(f"this socket belongs to another user than uid {process.uid}")
            transport.write(json.dumps(refusal(error)).encode() + b"\n")
            transport.close()
            return
        self._peer = SocketPeer(process)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._options.header_seconds, transport.abort)

    def data_received(self, data: bytes) -> None:
        self._first = (self._first + data).lstrip()
        if not self._first or self._peer is None or self._transport is None:
            return
        self._forget()
        if self._first.startswith(b"{"):
            self._serve_lines(self._transport, self._peer)
        else:
            protocol = self._http.protocol(self._peer)
            self._transport.set_protocol(protocol)
            protocol.connection_made(self._transport)
            protocol.data_received(self._first)

    def _serve_lines(self, transport: asyncio.Transport, peer: SocketPeer) -> None:
        loop = asyncio.get_running_loop()
        reader = SideReader(self._options.message_bytes, loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(self._first)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        self._group.start_soon(self._lines.serve, reader, writer, peer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
