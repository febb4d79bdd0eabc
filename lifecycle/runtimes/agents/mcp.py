"""A client for one stdio MCP server (protocol 2025-06-18) that never blocks the terminal."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from lifecycle.runtimes.agents.servers import Server

PROTOCOL = "2025-06-18"
READ_BYTES = 1 << 16
CLIENT = {"name": "scripted", "version": "1"}


class Client:
    """A running server. Calls made before the handshake is over wait for it.

    `call` promises exactly one answer to its callback: (text, is an error).
    """

    def __init__(self, server: "Server", log: str) -> None:
        self.name = server.name
        self.info: dict[str, Any] = {}
        self._ready = False
        self._number = 0
        self._waiting: dict[int, Callable[[str, bool], None]] = {}
        self._held: list[bytes] = []
        self._inbox = b""
        self._outbox = b""
        self.reads, self.writes = self._spawn(server, log)
        self._request("initialize", protocolVersion=PROTOCOL, capabilities={}, clientInfo=CLIENT, answer=self._greeted)

    @property
    def is_alive(self) -> bool:
        return self.reads >= 0

    @property
    def wants_to_write(self) -> bool:
        return bool(self._outbox)

    def call(self, tool: str, arguments: "dict[str, object]", answer: "Callable[[str, bool], None]") -> None:
        """Call a tool; the answer may come at once when the server is gone."""
        if not self.is_alive:
            answer(f"the MCP server {self.name} has gone", True)
            return
        self._request("tools/call", name=tool, arguments=arguments, answer=answer)

    def read(self) -> None:
        """Take what the server wrote; its end fails every open call."""
        try:
            data = os.read(self.reads, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        *lines, self._inbox = (self._inbox + data).split(b"\n")
        for line in lines:
            self._take(line)

    def write(self) -> None:
        """Write as much as the server takes now."""
        try:
            self._outbox = self._outbox[os.write(self.writes, self._outbox) :]
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def close(self) -> None:
        """Close the pipes, which ends the server, and fail what is open."""
        if not self.is_alive:
            return
        os.close(self.reads)
        os.close(self.writes)
        self.reads = self.writes = -1
        self._outbox = b""
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            answer(f"the MCP server {self.name} has gone", True)

    @staticmethod
    def _spawn(server: "Server", log: str) -> tuple[int, int]:
        from signal import SIGCHLD, SIGPIPE

        their_in, our_out = os.pipe()
        our_in, their_out = os.pipe()
        errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate((their_in, their_out, errors))]
        try:
            os.posix_spawnp(server.argv[0], server.argv, server.env, file_actions=actions, setsigdef=[SIGPIPE, SIGCHLD])
        except OSError:
            os.close(our_in)
            os.close(our_out)
            raise
        finally:
            for descriptor in (their_in, their_out, errors):
                os.close(descriptor)
        os.set_blocking(our_in, False)
        os.set_blocking(our_out, False)
        return our_in, our_out

    def _request(self, method: str, *, answer: "Callable[[str, bool], None]", **params: object) -> None:
        self._number += 1
        self._waiting[self._number] = answer
        self._send({"id": self._number, "method": method, "params": params})

    def _send(self, message: "dict[str, object]") -> None:
        import json

        line = json.dumps({"jsonrpc": "2.0"} | message).encode() + b"\n"
        if self._ready or message.get("method") == "initialize" or "result" in message:
            self._outbox += line
        else:
            self._held.append(line)

    def _greeted(self, text: str, failed: bool) -> None:
        if failed:
            self.close()
            return
        self._ready = True
        held, self._held = self._held, []
        self._send({"method": "notifications/initialized"})
        self._outbox += b"".join(held)

    def _take(self, line: bytes) -> None:
        import json

        try:
            message = json.loads(line)
            number = message.get("id")
        except (ValueError, AttributeError):
            return
        if "method" in message:
            if number is not None:
                self._serve(number, message["method"])
            return
        answer = self._waiting.pop(number, None) if isinstance(number, int) else None
        if answer is not None:
            answer(*self._read_answer(message))

    def _read_answer(self, message: "dict[str, Any]") -> tuple[str, bool]:
        try:
            if message.get("error") is not None:
                return str(message["error"]["message"]), True
            result = message["result"]
            self.info = result.get("serverInfo", self.info)
            texts = [str(part["text"]) for part in result.get("content", []) if part.get("type") == "text"]
            return "\n".join(texts), bool(result.get("isError"))
        except (KeyError, TypeError, AttributeError) as error:
            return f"the MCP server {self.name} answered what cannot be read: {error!r}", True

    def _serve(self, number: object, method: str) -> None:
        if method == "ping":
            self._send({"id": number, "result": {}})
            return
        import json

        refusal = {"jsonrpc": "2.0", "id": number, "error": {"code": -32601, "message": f"no method {method}"}}
        self._outbox += json.dumps(refusal).encode() + b"\n"
