"""MCP by hand over every transport, so that a test can send what no client library would."""

import http.client
import json
import os
import select
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import mcp_server.serve.bridge as bridge
from tests.live.world import TOP, World

SECONDS = 60.0
INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
Answer = dict[str, Any]


class UnixHttp(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def tcp(world: World) -> http.client.HTTPConnection:
    """Connect to the server's HTTP address."""
    address = json.loads(world.root.discovery.read_text())["http"]
    return http.client.HTTPConnection(address.removeprefix("http://"), timeout=SECONDS)


class Wire:
    """One MCP connection; a subclass knows how one message goes out and its answer comes back."""

    def __init__(self) -> None:
        self._next = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def exchange(self, data: bytes) -> Answer:
        """Send one message as it stands and return the JSON-RPC answer to it."""
        raise NotImplementedError

    def tell(self, data: bytes) -> None:
        """Send one message that has no answer."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def request(self, method: str, params: object) -> Answer:
        self._next += 1
        message = {"jsonrpc": "2.0", "id": self._next, "method": method, "params": params}
        return self.exchange(json.dumps(message).encode())

    def call(self, tool: str, arguments: object) -> Answer:
        """Call a tool; returns the whole answer, a result or an error."""
        return self.request("tools/call", {"name": tool, "arguments": arguments})

    def send(self, **arguments: object) -> Answer:
        """Call send_to_peer and return its structured content; fails on a protocol error."""
        structure: Answer = self.call("send_to_peer", arguments)["result"]["structuredContent"]
        return structure

    def initialize(self) -> Self:
        assert "result" in self.request("initialize", INITIALIZE)
        self.tell(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}')
        return self


class LineWire(Wire):
    """JSON lines in two directions: what the server tells meanwhile is passed over."""

    def __init__(self, outgoing: BinaryIO, incoming: BinaryIO) -> None:
        super().__init__()
        self._outgoing = outgoing
        self._incoming = incoming
        self._unread = b""

    def tell(self, data: bytes) -> None:
        self._outgoing.write(data + b"\n")
        self._outgoing.flush()

    def exchange(self, data: bytes) -> Answer:
        self.tell(data)
        while True:
            answer: Answer = json.loads(self._line())
            if "method" not in answer:
                return answer

    def _line(self) -> bytes:
        while b"\n" not in self._unread:
            if not select.select([self._incoming], [], [], SECONDS)[0]:
                raise TimeoutError(f"no answer in {SECONDS:g} s")
            chunk = os.read(self._incoming.fileno(), 1 << 20)
            if not chunk:
                raise ConnectionError("closed without an answer")
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def close(self) -> None:
        self._outgoing.close()
        self._incoming.close()


class SocketWire(LineWire):
    """JSON lines on the unix socket; without a hello when `hello` is None."""

    def __init__(self, path: Path, hello: dict[str, object] | None) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(SECONDS)
        self._socket.connect(str(path))
        super().__init__(self._socket.makefile("wb"), self._socket.makefile("rb"))
        self.greeting: Answer = {}
        if hello is not None:
            self.greeting = self.exchange(json.dumps({"peerwake": 1, "role": "mcp"} | hello).encode())

    def close(self) -> None:
        with suppress(OSError):
            self._outgoing.close()
        self._incoming.close()
        self._socket.close()


class ProcessWire(LineWire):
    """The standard input and output of a process."""

    def __init__(self, argv: list[str], env: dict[str, str], cwd: Path = Path("/")) -> None:
        self.process = subprocess.Popen(
            argv, env=env, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        super().__init__(self.process.stdin, self.process.stdout)  # type: ignore[arg-type]

    def close(self) -> None:
        self._outgoing.close()
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
            self._incoming.close()


class HttpWire(Wire):
    """Streamable HTTP, over TCP or the unix socket."""

    def __init__(self, connection: http.client.HTTPConnection, token: str | None) -> None:
        super().__init__()
        self._connection = connection
        self._headers = ACCEPT | ({"Authorization": f"Bearer {token}"} if token else {})
        self.status = 0

    def exchange(self, data: bytes) -> Answer:
        sock = self._connection.sock
        if sock is not None and select.select([sock], [], [], 0)[0]:
            self._connection.close()  # idle for so long that the server has closed it: as clients do, connect anew
        self._connection.request("POST", "/mcp", data, self._headers)
        with self._connection.getresponse() as response:
            self.status = response.status
            session = response.headers.get("mcp-session-id")
            if session:
                self._headers |= {"Mcp-Session-Id": session, "MCP-Protocol-Version": "2025-11-25"}
            text = response.read().decode()
        events = [line.removeprefix("data:") for line in text.splitlines() if line.startswith("data:")]
        answers = [json.loads(event) for event in events if event.strip()] or [json.loads(text or "{}")]
        return next(answer for answer in answers if "method" not in answer)

    def tell(self, data: bytes) -> None:
        self.exchange(data)

    def close(self) -> None:
        self._connection.close()


class SseWire(Wire):
    """SSE: answers come on the stream, refusals of a POST in its own response."""

    def __init__(self, world: World, token: str) -> None:
        super().__init__()
        self._world = world
        self._headers = ACCEPT | {"Authorization": f"Bearer {token}"}
        self._stream = tcp(world)
        self._stream.request("GET", "/sse", headers=self._headers)
        self._events = self._stream.getresponse()
        assert self._events.status == 200
        self.path = self._event()
        self.status = 0

    def exchange(self, data: bytes) -> Answer:
        text = self._post(data)
        if self.status >= 400:
            return dict(json.loads(text))
        while True:
            answer: Answer = json.loads(self._event())
            if "method" not in answer:
                return answer

    def tell(self, data: bytes) -> None:
        self._post(data)

    def close(self) -> None:
        self._events.close()
        self._stream.close()

    def _post(self, data: bytes) -> str:
        connection = tcp(self._world)
        try:
            connection.request("POST", self.path, data, self._headers)
            with connection.getresponse() as response:
                self.status = response.status
                return response.read().decode()
        finally:
            connection.close()

    def _event(self) -> str:
        while True:
            line = self._events.readline().decode()
            if not line:
                raise ConnectionError("the stream ended")
            if line.startswith("data:"):
                return line.removeprefix("data:").strip()


def bridge_wire(world: World, token: str | None, *words: str) -> ProcessWire:
    """Start the stdio bridge as a client does, never starting a server."""
    argv = [sys.executable, "-I", "-S", str(Path(bridge.__file__)), "--no-start", *words]
    env = {"PEERWAKE_HOME": str(world.root.home)} | ({"PEERWAKE_CREDENTIAL": token} if token else {})
    return ProcessWire(argv, env)


def in_process_wire(world: World, token: str | None) -> ProcessWire:
    """Start a whole server on standard input and output."""
    argv = [sys.executable, "-m", "mcp_server", "serve", "--transport", "stdio", "--in-process"]
    return ProcessWire(argv, world.env | ({"PEERWAKE_CREDENTIAL": token} if token else {}), TOP)


KINDS = ("lines", "bridge", "http", "unix-http", "sse")


def wire(kind: str, world: World, token: str) -> Wire:
    """Return an initialized connection of one kind for the bearer of `token`."""
    match kind:
        case "lines":
            made: Wire = SocketWire(world.root.server_socket, {"credential": token})
        case "bridge":
            made = bridge_wire(world, token)
        case "http":
            made = HttpWire(tcp(world), token)
        case "unix-http":
            made = HttpWire(UnixHttp(world.root.server_socket), token)
        case "sse":
            made = SseWire(world, token)
        case _:
            raise ValueError(kind)
    try:
        return made.initialize()
    except BaseException:
        if isinstance(made, ProcessWire):
            made.process.kill()
        made.close()
        raise
