"""One MCP connection to a unix socket, calling tools as an agent's client does."""

import json
import socket
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

HANDSHAKE: Final[tuple[dict[str, Any], ...]] = (
    {
        "jsonrpc": "2.0",
        "id": 0,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "bench", "version": "1"},
        },
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
)


class Caller:
    """A connection past its handshake; `ask` sends the prepared call, `answer` reads and times its result."""

    def __init__(self, path: str, credential: str | None) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(60)
        self.socket.connect(path)
        self._read = self.socket.makefile("rb")
        self._line = b""
        self._sent = 0.0
        self.seconds: list[float] = []
        hello = {"peerwake": 1, "role": "mcp", "credential": credential}
        for value in (hello, *HANDSHAKE):
            self.socket.sendall(json.dumps(value).encode() + b"\n")
        assert json.loads(self._read.readline())["ok"]
        assert "result" in json.loads(self._read.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._read.close()
        self.socket.close()

    def prepare(self, tool: str, arguments: Mapping[str, object], number: int = 1) -> None:
        """Set the call that `ask` sends from now on."""
        params = {"name": tool, "arguments": dict(arguments)}
        call = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
        self._line = json.dumps(call).encode() + b"\n"

    def ask(self) -> None:
        self._sent = time.perf_counter()
        self.socket.sendall(self._line)

    def answer(self) -> bytes:
        line = self._read.readline()
        self.seconds.append(time.perf_counter() - self._sent)
        return line

    def call(self, tool: str, **arguments: object) -> dict[str, Any]:
        """Call a tool and return its structured result; a refusal fails the benchmark."""
        self.prepare(tool, arguments)
        self.ask()
        result: dict[str, Any] = json.loads(self.answer())["result"]
        assert not result["isError"], result
        structure: dict[str, Any] = result["structuredContent"]
        return structure
