"""The client of a running server's socket: JSON lines, standard library only."""

import json
import os
import socket
from types import TracebackType
from typing import Any

from mcp_server.cli.context import Context
from mcp_server.cli.failures import NoServer, Unverified, failure
from mcp_server.serve.bridge_peer import server_uid, wait_for_room

CONNECT_SECONDS = 5.0
CALL_SECONDS = 30.0
START_IT = "start one with: peerwake serve --background"


class Control:
    """One connection; a call blocks until its answer or its deadline."""

    def __init__(self, connection: socket.socket, hello: dict[str, Any]) -> None:
        self._socket = connection
        self._unread = b""
        self._next = 0
        self.greeting = self._exchange({"peerwake": 1, "role": "control", **hello}, CONNECT_SECONDS)

    def __enter__(self) -> "Control":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def call(self, verb: str, args: dict[str, Any] | None = None, seconds: float = CALL_SECONDS) -> dict[str, Any]:
        """Return the verb's result. Raises Refused, Failure, or Unverified when the connection breaks."""
        self._next += 1
        return dict(self._exchange({"id": self._next, "verb": verb, "args": args or {}}, seconds)["result"])

    def _exchange(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        try:
            self._socket.settimeout(seconds)
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(self._line())
        except (OSError, ValueError) as error:
            raise Unverified(f"the connection to the server broke ({error or type(error).__name__})") from error
        if not isinstance(answer, dict):
            raise Unverified("the server gave an answer that is not one")
        if not answer.get("ok"):
            problem = answer.get("error") or {}
            raise failure(str(problem.get("code", "error")), str(problem.get("message", "the server gave no reason")))
        return answer

    def _line(self) -> bytes:
        while b"\n" not in self._unread:
            chunk = self._socket.recv(65536)
            if not chunk:
                raise ConnectionError("closed by the server")
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line


def connect(context: Context) -> Control:
    """Return a greeted connection to this root's server. Raises NoServer, or Refused by its greeting."""
    path = context.server_socket
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if os.stat(path).st_uid != os.geteuid():  # noqa: PTH116
            raise NoServer(f"{path} belongs to another user; set PEERWAKE_HOME to your own directory")
        wait_for_room(connection, CONNECT_SECONDS)
        connection.connect(path)
        # Looked at again: the name may have become another socket's since.
        if server_uid(connection) != os.geteuid():
            raise NoServer(f"{path} is served by another user; set PEERWAKE_HOME to your own directory")
        return Control(connection, {"credential": context.credential, "cwd": context.cwd})
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
        connection.close()
        raise NoServer(f"no server runs for {context.home}; {START_IT}") from error
    except OSError as error:
        connection.close()
        raise NoServer(f"cannot reach the server at {path}: {error.strerror or error}; see: peerwake doctor") from error
    except Unverified as error:
        connection.close()
        raise NoServer(f"the server at {path} does not answer; see: peerwake doctor") from error
    except BaseException:
        connection.close()
        raise


def ask(
    context: Context, verb: str, args: dict[str, Any] | None = None, seconds: float = CALL_SECONDS
) -> dict[str, Any]:
    """Connect, call one verb, and return its result."""
    with connect(context) as control:
        return control.call(verb, args, seconds)
