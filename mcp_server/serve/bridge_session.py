"""What a client has said over a bridge and still waits for: JSON-RPC, without input or output.

Standard library only: this runs in every agent's bridge.
"""

import json
import os

LINE_BYTES = 1 << 20
REPLAY_ID = "peerwake-bridge-initialize"
REQUEST_META = "peerwake/request"

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
NO_SERVER = -32000


class Session:
    """What a client has said on stdio and what it still waits for; knows JSON-RPC, does no input or output."""

    def __init__(self) -> None:
        self.pending: dict[str, list[bytes]] = {}
        self.pending_bytes = 0
        self._initialize = b""
        self._initialize_key = ""
        self._initialized = b""
        self._is_greeted = False
        self._is_replaying = False

    def from_client(self, line: bytes) -> tuple[bytes, bytes]:
        """Take a line of the client; returns what goes to the server and what goes straight back."""
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return b"", error_line(None, PARSE_ERROR, "Parse error: the line is not JSON")
        if not isinstance(message, dict):
            return b"", error_line(None, INVALID_REQUEST, "Invalid request: send one JSON-RPC object per line")
        method = message.get("method")
        if method == "tools/call":
            line = marked(message, line)
        request_id = message.get("id")
        is_request = isinstance(method, str) and isinstance(request_id, str | int) and not isinstance(request_id, bool)
        if len(line) >= LINE_BYTES:
            text = f"a message may have up to {LINE_BYTES:,} bytes; write it to a file and attach that"
            return b"", error_line(request_id if is_request else None, INVALID_REQUEST, text)
        line += b"\n"
        if is_request:
            self._remember(message, key_of(request_id), line)
        elif method == "notifications/initialized":
            self._initialized = line
        elif method == "notifications/cancelled" and isinstance(message.get("params"), dict):
            self._forget(key_of(message["params"].get("requestId")), all_of_them=True)
        return line, b""

    def from_server(self, line: bytes) -> bytes:
        """Take a line of the server; returns what goes to the client."""
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return b""
        if isinstance(message, dict) and "method" not in message:
            if message.get("id") == REPLAY_ID and self._is_replaying:
                self._is_replaying = False
                return b""
            key = key_of(message.get("id"))
            if key == self._initialize_key and "result" in message:
                self._is_greeted = True
            self._forget(key)
        return line + b"\n"

    def replay(self) -> bytes:
        """Return what a new server has to hear: the handshake, then what is still unanswered, in its order."""
        lines = []
        if self._is_greeted and self._initialize:
            self._is_replaying = True
            lines += [self._initialize, self._initialized]
        for waiting in self.pending.values():
            lines += waiting
        return b"".join(lines)

    def give_up(self, text: str) -> bytes:
        """Return an error for every request that waits, and wait for none of them any more."""
        lines = [error_line(json.loads(key), NO_SERVER, text) for key, waiting in self.pending.items() for _ in waiting]
        self.pending.clear()
        self.pending_bytes = 0
        return b"".join(lines)

    def _remember(self, message: dict[str, object], key: str, line: bytes) -> None:
        if message["method"] == "initialize":
            self._initialize, self._initialize_key, self._is_greeted = again(message), key, False
        # A client may use an id that is still in flight.
        self.pending.setdefault(key, []).append(line)
        self.pending_bytes += len(line)

    def _forget(self, key: str, all_of_them: bool = False) -> None:
        waiting = self.pending.get(key)
        while waiting:
            self.pending_bytes -= len(waiting.pop(0))
            if not waiting:
                del self.pending[key]
            if not all_of_them:
                return


def key_of(request_id: object) -> str:
    """Return a key that tells 1 from "1" and can be read back, empty for what is no id of a request."""
    return json.dumps(request_id) if isinstance(request_id, (str, int)) else ""


def again(message: dict[str, object]) -> bytes:
    """Return a handshake as it is repeated to the next server, empty for one that cannot be."""
    try:
        return json.dumps(message | {"id": REPLAY_ID}).encode() + b"\n"
    except RecursionError:
        return b""


def marked(message: dict[str, object], line: bytes) -> bytes:
    """Return a call with an id of its own in `_meta`, by which a repetition is known.

    It is unchanged if it has one, or is nested so deeply that it can be read and not be written.
    """
    params = message.get("params")
    meta = params.setdefault("_meta", {}) if isinstance(params, dict) else None
    if not isinstance(meta, dict) or REQUEST_META in meta:
        return line
    meta[REQUEST_META] = os.urandom(12).hex()
    try:
        return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(message, separators=(",", ":")).encode()
    except RecursionError:
        return line


def error_line(request_id: object, code: int, text: str) -> bytes:
    """Return a JSON-RPC error as a line."""
    error = {"code": code, "message": text}
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "error": error}).encode() + b"\n"
