"""A control server that speaks the socket's protocol with answers given by the test, and records what it hears."""

import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

Answer = Callable[[str, dict[str, Any]], dict[str, Any] | None]


class Refuse(Exception):
    """Raised by an answer: the verb is refused with this code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Hangup(Exception):
    """Raised by an answer: the connection is closed without one."""


class ControlServer:
    """Serves one thread per connection until it is closed; `calls` are the verbs heard, `hellos` the greetings."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self.hellos: list[dict[str, Any]] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(8)
        self._path = path
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def __enter__(self) -> "ControlServer":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(OSError), connection.makefile("rwb") as stream:
                self._converse(stream)

    def _converse(self, stream: Any) -> None:
        hello = json.loads(stream.readline() or b"{}")
        self.hellos.append(hello)
        _write(stream, {"ok": True, "version": "0", "pid": 1, "identity": None, "operator": True})
        for line in stream:
            request = json.loads(line)
            self.calls.append((request["verb"], request["args"]))
            try:
                result = self._answer(request["verb"], request["args"])
            except Refuse as refused:
                error = {"code": refused.code, "message": str(refused)}
                _write(stream, {"id": request["id"], "ok": False, "error": error})
            except Hangup:
                return
            else:
                _write(stream, {"id": request["id"], "ok": True, "result": result})


def _write(stream: Any, value: dict[str, Any]) -> None:
    stream.write(json.dumps(value).encode() + b"\n")
    stream.flush()
