"""A front over the service in memory, and the ways tests connect to it."""

import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2
from anyio.abc import SocketStream, TaskGroup, TaskStatus
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp.client.client import Client
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from mcp_server.serve import bridge
from mcp_server.serve.credentials import Credentials, load_credentials
from mcp_server.serve.front import Front
from mcp_server.serve.guard import App
from mcp_server.serve.options import Addresses, ServeOptions
from tests.mcp_server.memory_service import MemoryService
from transport.clock import SystemClock
from transport.identity import Identity
from transport.logs import Log
from transport.paths import Root

ALICE = Identity("claude", "alice")
BOB = Identity("scripted", "bob")


@dataclass
class Running:
    """A front that runs, and what it runs on."""

    front: Front
    service: MemoryService
    credentials: Credentials
    addresses: Addresses
    root: Root
    ended: anyio.Event

    @property
    def socket(self) -> str:
        return self.addresses.socket

    @property
    def http(self) -> str:
        assert self.addresses.http is not None
        return self.addresses.http

    def bearer(self, identity: Identity | None = ALICE) -> dict[str, str]:
        token = self.credentials.credential_for(identity) if identity else self.credentials.operator_credential()
        return {"Authorization": f"Bearer {token}"}


def team(root: Root) -> MemoryService:
    """Three peers."""
    service = MemoryService(root.home)
    service.add("alice", "claude", "codex", description="reviews code")
    service.add("bob", "scripted", description="builds")
    service.add("carol", "scripted", description="writes")
    return service


@asynccontextmanager
async def running(
    root: Root, service: MemoryService | None = None, options: ServeOptions | None = None
) -> AsyncIterator[Running]:
    """Run a front on the root's socket and a free port while the block runs; stops it gracefully."""
    async with anyio.create_task_group() as group:
        run = await started(group, root, service, options)
        yield run
        run.front.stop()


async def started(
    group: TaskGroup,
    root: Root,
    service: MemoryService | None = None,
    options: ServeOptions | None = None,
    routes: Mapping[str, App] | None = None,
) -> Running:
    """Start a front in a task group; it runs until its `stop`."""
    service = service or team(root)
    credentials = load_credentials(root.secret)
    options = options or ServeOptions(port=0, stop_seconds=1.0)
    log = Log(root.logs / "lifecycle.log", SystemClock())
    front = Front(service, credentials, options, SystemClock(), log, routes)
    ended = anyio.Event()

    async def run(*, task_status: TaskStatus[Addresses]) -> None:
        try:
            await front.run(task_status=task_status)
        finally:
            ended.set()

    addresses = await group.start(run)
    return Running(front, service, credentials, addresses, root, ended)


class Lines:
    """One line connection."""

    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream
        self._buffered = BufferedByteReceiveStream(stream)

    async def write(self, *values: Any) -> None:
        data = b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in values)
        await self.stream.send(data)

    async def read(self) -> dict[str, Any]:
        with anyio.fail_after(10):
            return dict(json.loads(await self._buffered.receive_until(b"\n", 1 << 24)))

    async def ask(self, value: Any) -> dict[str, Any]:
        await self.write(value)
        return await self.read()

    async def is_closed(self) -> bool:
        """Whether the other end closes without another line."""
        with anyio.fail_after(10):
            try:
                await self._buffered.receive_until(b"\n", 1 << 24)
            except (anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError):
                return True
            return False


@asynccontextmanager
async def lines(path: str) -> AsyncIterator[Lines]:
    """Connect to the unix socket."""
    async with await anyio.connect_unix(path) as stream:
        yield Lines(stream)


@asynccontextmanager
async def control(path: str, **hello: Any) -> AsyncIterator[Lines]:
    """Connect for control, greeted."""
    async with lines(path) as connection:
        answer = await connection.ask({"peerwake": 1, "role": "control"} | hello)
        assert answer["ok"], answer
        yield connection


def bridge_parameters(root: Root, *argv: str, **env: str) -> StdioServerParameters:
    """How a client starts the bridge."""
    return StdioServerParameters(
        command=sys.executable,
        args=["-I", "-S", str(Path(bridge.__file__)), *argv],
        env={"PEERWAKE_HOME": str(root.home)} | env,
        cwd="/",
    )


@asynccontextmanager
async def connected(kind: str, run: Running, mode: str, identity: Identity | None = ALICE) -> AsyncIterator[Client]:
    """A client of the SDK over one transport: http, unix-http, sse, lines or bridge; mode is auto or legacy."""
    token = run.bearer(identity)["Authorization"].removeprefix("Bearer ")
    match kind:
        case "http" | "unix-http":
            unix = httpx2.AsyncHTTPTransport(uds=run.socket) if kind == "unix-http" else None
            url = "http://localhost/mcp" if unix else f"{run.http}/mcp"
            http = httpx2.AsyncClient(headers=run.bearer(identity), transport=unix, timeout=30)
            async with http, Client(streamable_http_client(url, http_client=http), mode=mode) as client:
                yield client
        case "sse":
            async with Client(sse_client(f"{run.http}/sse", headers=run.bearer(identity)), mode=mode) as client:
                yield client
        case "lines":
            async with Client(line_transport(run.socket, token), mode=mode) as client:
                yield client
        case "bridge":
            parameters = bridge_parameters(run.root, "--no-start", PEERWAKE_CREDENTIAL=token)
            async with Client(stdio_client(parameters), mode=mode) as client:
                yield client
        case _:
            raise ValueError(kind)


@asynccontextmanager
async def line_transport(path: str, credential: str) -> AsyncIterator[tuple[Any, Any]]:
    """The SDK's client streams over a line connection with a hello."""
    to_client, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, from_client = anyio.create_memory_object_stream[SessionMessage](0)
    async with mcp_lines(path, credential) as connection, anyio.create_task_group() as group:

        async def read() -> None:
            async with to_client:
                while True:
                    try:
                        line = await connection.read()
                    except (anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError):
                        return
                    await to_client.send(SessionMessage(jsonrpc_message_adapter.validate_python(line, by_name=False)))

        async def write() -> None:
            async with from_client:
                async for item in from_client:
                    await connection.write(item.message.model_dump_json(by_alias=True, exclude_unset=True).encode())

        group.start_soon(read)
        group.start_soon(write)
        yield incoming, outgoing
        group.cancel_scope.cancel()


@asynccontextmanager
async def mcp_lines(path: str, credential: str) -> AsyncIterator[Lines]:
    """Connect for MCP, greeted."""
    async with lines(path) as connection:
        answer = await connection.ask({"peerwake": 1, "role": "mcp", "credential": credential})
        assert answer["ok"], answer
        yield connection
