"""MCP by hand in two directions, over every transport: messages go out without waiting, answers come as they come."""

import asyncio
import json
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, TaskGroup
from anyio.streams.buffered import BufferedByteReceiveStream

from mcp_server.serve.credentials import Credentials
from tests.mcp_server.fronts import ALICE, bridge_parameters, mcp_lines
from tests.protocol.messages import HANDSHAKE, INITIALIZE, INITIALIZED, MODERN, Message, encoded
from transport.identity import Identity
from transport.paths import Root

SECONDS = 20
LIMIT = 1 << 24
DUPLEX = ("lines", "bridge", "sse")
KINDS = (*DUPLEX, "http", "unix-http")


class Reached(Protocol):
    """What listens: a front of this process, or a server of its own."""

    @property
    def root(self) -> Root: ...

    @property
    def credentials(self) -> Credentials: ...

    @property
    def socket(self) -> str: ...

    @property
    def http(self) -> str: ...


class Pipe(ABC):
    """One connection of a client."""

    @abstractmethod
    async def tell(self, *messages: Message | bytes) -> None:
        """Send messages one behind the other, without waiting for anything."""

    @abstractmethod
    async def next(self) -> Message:
        """Return the next message of the server; raises TimeoutError, EndOfStream."""

    async def answer(self) -> Message:
        """Return the next answer; what the server tells meanwhile is passed over."""
        while "method" in (message := await self.next()):
            pass
        return message

    async def ask(self, message: Message | bytes) -> Message:
        """Send one message and return the answer to it, or the transport's refusal; nothing else is in flight."""
        await self.tell(message)
        return await self.answer()

    async def answers(self, count: int) -> list[Message]:
        return [await self.answer() for _ in range(count)]

    async def open(self, era: str) -> "Pipe":
        """Introduce the client where the era wants that."""
        if era == HANDSHAKE:
            await self.tell(INITIALIZE)
            assert "result" in await self.answer()
            await self.tell(INITIALIZED)
        return self


class LinePipe(Pipe):
    """JSON lines out and in."""

    def __init__(self, outgoing: ByteSendStream, incoming: ByteReceiveStream) -> None:
        self.outgoing = outgoing
        self._incoming = BufferedByteReceiveStream(incoming)

    async def tell(self, *messages: Message | bytes) -> None:
        await self.outgoing.send(b"".join(encoded(message) + b"\n" for message in messages))

    async def next(self) -> Message:
        with anyio.fail_after(SECONDS):
            found: Message = json.loads(await self._incoming.receive_until(b"\n", LIMIT))
            return found


class HttpConnection:
    """HTTP/1.1 by hand, pipelined: requests go out without waiting, responses come in their order."""

    def __init__(self, stream: anyio.abc.ByteStream, token: str | None) -> None:
        self.stream = stream
        self.token = token
        self._incoming = BufferedByteReceiveStream(stream)

    def head(self, method: str, path: str, size: int | None, headers: Mapping[str, str]) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Accept: application/json, text/event-stream"]
        if self.token:
            lines.append(f"Authorization: Bearer {self.token}")
        if size is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {size}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode()

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        return self.head("POST", path, len(body), headers) + body

    async def response(self) -> tuple[int, Message, bytes]:
        """Return the next response: status, headers, whole body."""
        status, headers = await self.start()
        if "content-length" in headers:
            return status, headers, await self.exactly(int(headers["content-length"]))
        body = b""
        while chunk := await self.chunk():
            body += chunk
        return status, headers, body

    async def start(self) -> tuple[int, Message]:
        with anyio.fail_after(SECONDS):
            head = (await self._incoming.receive_until(b"\r\n\r\n", LIMIT)).decode()
        first, *lines = head.split("\r\n")
        pairs = (line.split(": ", 1) for line in lines)
        return int(first.split()[1]), {name.lower(): value for name, value in pairs}

    async def exactly(self, size: int) -> bytes:
        with anyio.fail_after(SECONDS):
            return await self._incoming.receive_exactly(size)

    async def chunk(self) -> bytes:
        """Return the next chunk of a body, empty at its end."""
        with anyio.fail_after(SECONDS):
            size = int(await self._incoming.receive_until(b"\r\n", LIMIT), 16)
            return (await self._incoming.receive_exactly(size + 2))[:-2]


EVENT = re.compile(r"(?:\r\n|\n|\r){2}")
LINE_END = re.compile(r"\r\n|\n|\r")


class Events:
    """Server-sent events out of chunks."""

    def __init__(self, connection: HttpConnection) -> None:
        self._connection = connection
        self._text = ""

    async def next(self) -> str:
        """Return the data of the next event that has any; raises EndOfStream."""
        while True:
            while (end := EVENT.search(self._text)) is None:
                chunk = await self._connection.chunk()
                if not chunk:
                    raise anyio.EndOfStream
                self._text += chunk.decode()
            event, self._text = self._text[: end.start()], self._text[end.end() :]
            data = [line[5:].strip() for line in LINE_END.split(event) if line.startswith("data:")]
            if data and data[0]:
                return data[0]


class SsePipe(Pipe):
    """The older SSE transport: posts go out pipelined on one connection, answers come on the stream."""

    def __init__(self, stream: HttpConnection, posts: HttpConnection) -> None:
        self.stream = stream
        self.posts = posts
        self._events = Events(stream)
        self._posted = 0
        self.path = ""

    async def start(self) -> "SsePipe":
        await self.stream.stream.send(self.stream.head("GET", "/sse", None, {}))
        status, _ = await self.stream.start()
        assert status == 200
        self.path = await self._events.next()
        return self

    async def tell(self, *messages: Message | bytes) -> None:
        self._posted += len(messages)
        await self.posts.stream.send(b"".join(self.posts.post(self.path, encoded(one), {}) for one in messages))

    def post_on(self, connection: HttpConnection) -> None:
        """Post on another connection from now on."""
        self.posts = connection
        self._posted = 0

    async def ask(self, message: Message | bytes) -> Message:
        await self.tell(message)
        for _ in range(self._posted):
            status, _headers, body = await self.posts.response()
        self._posted = 0
        return json.loads(body) if status >= 400 else await self.answer()

    async def next(self) -> Message:
        with anyio.fail_after(SECONDS):
            found: Message = json.loads(await self._events.next())
            return found


class HttpPipe(Pipe):
    """Streamable HTTP: each message is a request on a connection of its own."""

    def __init__(self, run: Reached, group: TaskGroup, unix: bool, token: str) -> None:
        self._run = run
        self._group = group
        self._unix = unix
        self.token = token
        self.headers: dict[str, str] = {}
        self.statuses: list[int] = []
        self.connections: list[HttpConnection] = []
        self._messages: asyncio.Queue[Message] = asyncio.Queue()

    async def connect(self) -> HttpConnection:
        return HttpConnection(await connect(self._run, self._unix), self.token)

    async def tell(self, *messages: Message | bytes) -> None:
        for message in messages:
            connection = await self.connect()
            self.connections.append(connection)
            body = encoded(message)
            await connection.stream.send(connection.post("/mcp", body, self.headers | self._routing(body)))
            self._group.start_soon(self._read, connection)

    async def open(self, era: str) -> Pipe:
        self.headers = {"MCP-Protocol-Version": era} if era == MODERN else {}
        await super().open(era)
        while era == HANDSHAKE and 202 not in self.statuses:  # noqa: ASYNC110
            await anyio.sleep(0.001)
        return self

    def _routing(self, body: bytes) -> dict[str, str]:
        """Return the headers by which the modern era wants a request to be routed."""
        if "MCP-Protocol-Version" not in self.headers or "Mcp-Session-Id" in self.headers:
            return {}
        try:
            message = json.loads(body)
            params = message.get("params") or {}
            name = params.get("name") or params.get("uri")
            return {"Mcp-Method": message["method"]} | ({"Mcp-Name": name} if isinstance(name, str) else {})
        except (ValueError, AttributeError, KeyError, TypeError):
            return {}

    async def _read(self, connection: HttpConnection) -> None:
        try:
            async with connection.stream:
                status, headers = await connection.start()
                self.statuses.append(status)
                if session := headers.get("mcp-session-id"):
                    self.headers = {"Mcp-Session-Id": session, "MCP-Protocol-Version": HANDSHAKE}
                if headers.get("content-type", "").startswith("text/event-stream"):
                    events = Events(connection)
                    while True:
                        self._messages.put_nowait(json.loads(await events.next()))
                elif size := int(headers.get("content-length", "0")):
                    self._messages.put_nowait(json.loads(await connection.exactly(size)))
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return

    async def next(self) -> Message:
        with anyio.fail_after(SECONDS):
            return await self._messages.get()

    async def leave(self) -> None:
        """Leave without a word: what waits for an answer sees its connection end."""
        with anyio.CancelScope(shield=True):
            for connection in self.connections:
                await anyio.aclose_forcefully(connection.stream)

    async def end(self) -> None:
        """End the session, where there is one: otherwise it is kept for a while, as the client may come back."""
        if "Mcp-Session-Id" not in self.headers:
            return
        with anyio.CancelScope(shield=True):
            connection = await self.connect()
            async with connection.stream:
                await connection.stream.send(connection.head("DELETE", "/mcp", None, self.headers))
                assert (await connection.response())[0] == 200


async def connect(run: Reached, unix: bool) -> anyio.abc.ByteStream:
    """Connect to the unix socket or the address of a running front."""
    if unix:
        return await anyio.connect_unix(run.socket)
    host, port = run.http.removeprefix("http://").split(":")
    return await anyio.connect_tcp(host, int(port))


@asynccontextmanager
async def pipe(kind: str, run: Reached, era: str | None, identity: Identity = ALICE) -> AsyncIterator[Pipe]:
    """Connect over one transport as a peer; introduced where `era` is named."""
    token = run.credentials.credential_for(identity)
    async with raw_pipe(kind, run, token) as made:
        yield await made.open(era) if era else made


@asynccontextmanager
async def raw_pipe(kind: str, run: Reached, token: str) -> AsyncIterator[Pipe]:
    match kind:
        case "lines":
            async with mcp_lines(run.socket, token) as greeted:
                yield LinePipe(greeted.stream, greeted.stream)
        case "bridge":
            given = bridge_parameters(run.root, "--no-start", PEERWAKE_CREDENTIAL=token)
            async with await anyio.open_process([given.command, *given.args], env=given.env, stderr=None) as process:
                assert process.stdin is not None
                assert process.stdout is not None
                yield LinePipe(process.stdin, process.stdout)
                await process.stdin.aclose()
                with anyio.fail_after(SECONDS):
                    await process.wait()
        case "sse":
            async with await connect(run, False) as stream, await connect(run, False) as posts:
                yield await SsePipe(HttpConnection(stream, token), HttpConnection(posts, token)).start()
        case "http" | "unix-http":
            async with anyio.create_task_group() as group:
                made = HttpPipe(run, group, kind == "unix-http", token)
                try:
                    yield made
                finally:
                    group.cancel_scope.cancel()
                    await made.leave()
                    await made.end()
        case _:
            raise ValueError(kind)
