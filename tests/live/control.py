"""One control connection to a server under test, for what the command line is too slow to ask often."""

import json
import socket
from contextlib import suppress
from types import TracebackType
from typing import Any

from transport.paths import Root


class Control:
    """Calls verbs on the unix socket; a refusal is returned as it is."""

    def __init__(self, root: Root, seconds: float = 60.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._file = self._socket.makefile("rwb")
        try:
            self._socket.settimeout(seconds)
            self._socket.connect(str(root.server_socket))
            self.greeting = self._exchange({"peerwake": 1, "role": "control"})
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> "Control":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    def _close(self) -> None:
        with suppress(OSError):  # what could not be written any more
            self._file.close()
        self._socket.close()

    def call(self, verb: str, **args: Any) -> dict[str, Any]:
        """Return the whole answer to one verb."""
        return self._exchange({"id": 1, "verb": verb, "args": args})

    def send(self, personality: str, message: str, **args: Any) -> dict[str, Any]:
        """Send one message and return its result; a refusal fails the test."""
        answer = self.call("send", personality=personality, message=message, **args)
        assert answer["ok"], answer
        result: dict[str, Any] = answer["result"]
        return result

    def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        self._file.write(json.dumps(request).encode() + b"\n")
        self._file.flush()
        line = self._file.readline()
        if not line:
            raise ConnectionError("the server closed the connection")
        answer: dict[str, Any] = json.loads(line)
        return answer
