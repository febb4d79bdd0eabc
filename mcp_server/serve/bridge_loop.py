"""The bridge's loop between standard input, standard output and the server's socket.

Standard library only: this runs in every agent's bridge.
"""

# Without pathlib and contextlib, which cost more to import than this whole program.

import _socket
import fcntl
import json
import os
import select
import time

from mcp_server.serve.bridge_peer import server_uid
from mcp_server.serve.bridge_session import INVALID_REQUEST, Session, error_line

BUFFER_BYTES = 4 << 20
LONGEST_BYTES = 16 << 20
START_SECONDS = 15.0
GRACE_SECONDS = 3.0
HELLO_SECONDS = 3.0
LINGER_SECONDS = 1.0
REFUSED_SECONDS = 2.0
FIRST_RETRY = 0.01
LAST_RETRY = 0.25
PATIENT_RETRY = 1.0


class Config:
    """Where the server is, how to start it (empty: never), and how long to wait for it."""

    def __init__(self, home: str, start: list[str], reconnect_seconds: float, credential: str | None) -> None:
        self.home = home
        self.start = start
        self.reconnect_seconds = reconnect_seconds
        self.credential = credential

    @property
    def socket(self) -> str:
        return os.path.join(self.home, "run", "server.sock")

    @property
    def log(self) -> str:
        return os.path.join(self.home, "logs", "background.log")


class Bridge:
    """The loop between standard input, standard output and the socket; nothing in it blocks."""

    def __init__(self, config: Config, stdin: int = 0, stdout: int = 1) -> None:
        self._config = config
        self._session = Session()
        self._stdin = stdin
        self._stdout = stdout
        self._socket: _socket.socket | None = None
        self._from_client = bytearray()
        self._to_client = bytearray()
        self._from_server = bytearray()
        self._to_server = bytearray()
        self._is_greeted = False
        self._is_skipping = False
        self._is_ended = False
        self._has_given_up = False
        self._linger_until = 0.0
        self._start_lock = -1
        now = time.monotonic()
        self._next_try = now
        self._retry = FIRST_RETRY
        self._next_start = now
        self._deadline = now + min(START_SECONDS, config.reconnect_seconds)
        self._hello_by = now
        self._reason = ""

    def run(self) -> int:
        """Bridge until standard input ends or nobody reads standard output; returns the exit code."""
        poll = select.poll()
        os.set_blocking(self._stdout, False)
        try:
            while not self._is_over():
                self._connect_if_due()
                self._once(poll)
        except BrokenPipeError:
            return 0
        finally:
            os.set_blocking(self._stdout, True)
        return 0

    def _is_over(self) -> bool:
        if not self._is_ended:
            return False
        is_done = not self._session.pending and not self._to_client
        return is_done or self._has_given_up or time.monotonic() >= self._linger_until

    def _once(self, poll: "select.poll") -> None:
        wanted = {self._stdout: select.POLLOUT if self._to_client else 0}
        has_room = max(len(self._to_client), len(self._to_server), self._session.pending_bytes) < BUFFER_BYTES
        if has_room and not self._is_ended:
            wanted[self._stdin] = select.POLLIN
        if self._socket is not None:
            reads = select.POLLIN if len(self._to_client) < BUFFER_BYTES else 0
            wanted[self._socket.fileno()] = reads | (select.POLLOUT if self._to_server else 0)
        for descriptor, events in wanted.items():
            poll.register(descriptor, events)
        ready = dict(poll.poll(self._timeout()))
        for descriptor in wanted:
            poll.unregister(descriptor)
        self._act(ready)

    def _act(self, ready: dict[int, int]) -> None:
        server = self._socket.fileno() if self._socket is not None else -1
        if ready.get(self._stdout, 0) & (select.POLLERR | select.POLLNVAL):
            raise BrokenPipeError
        if self._stdin in ready:
            self._read_client()
        if self._socket is not None and ready.get(server, 0) & ~select.POLLOUT:
            self._read_server(self._socket)
        self._flush()

    def _timeout(self) -> float:
        times = [self._linger_until] if self._is_ended else []
        if self._socket is None:
            times.append(self._next_try)
            if not self._has_given_up:
                times.append(self._deadline)
        elif not self._is_greeted:
            times.append(self._hello_by)
        return max(0.0, min(times) - time.monotonic()) * 1000 + 1 if times else 60_000.0

    # the client

    def _read_client(self) -> None:
        try:
            data = os.read(self._stdin, 1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._is_ended = True
            self._linger_until = time.monotonic() + LINGER_SECONDS
            return
        self._from_client += data
        if b"\n" not in data:
            if len(self._from_client) > LONGEST_BYTES:
                self._is_skipping = True
                self._from_client.clear()
            return
        *lines, rest = bytes(self._from_client).split(b"\n")
        self._from_client = bytearray(rest)
        if self._is_skipping:
            self._is_skipping = False
            self._to_client += error_line(None, INVALID_REQUEST, f"a line is longer than {LONGEST_BYTES:,} bytes")
            del lines[0]
        for line in lines:
            if line.strip():
                self._take(line)

    def _take(self, line: bytes) -> None:
        if self._has_given_up and self._socket is None:
            self._connect()
        to_server, to_client = self._session.from_client(line)
        if self._socket is not None:
            self._to_server += to_server
        elif self._has_given_up:
            to_client += self._session.give_up(self._advice())
        self._to_client += to_client

    def _flush(self) -> None:
        if self._to_server and self._socket is not None:
            try:
                del self._to_server[: self._socket.send(self._to_server)]
            except BlockingIOError:
                pass
            except OSError:
                # What it said before it closed is read first: why it refuses us, or what it has done.
                self._to_server.clear()
        if self._to_client:
            try:
                del self._to_client[: os.write(self._stdout, self._to_client)]
            except BlockingIOError:
                pass

    # the server

    def _read_server(self, connection: _socket.socket) -> None:
        try:
            data = connection.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._disconnected("the server closed the connection")
            return
        self._from_server += data
        if b"\n" not in data:
            return
        *lines, rest = bytes(self._from_server).split(b"\n")
        self._from_server = bytearray(rest)
        for line in lines:
            if self._socket is None:
                return
            if self._is_greeted:
                self._to_client += self._session.from_server(line)
            else:
                self._greeted(line)

    def _greeted(self, line: bytes) -> None:
        problem = refusal_in(line)
        if problem is None:
            self._is_greeted = True
            self._has_given_up = False
            self._reason = ""
            self._release_start()
            return
        self._drop(problem)
        self._next_try = time.monotonic() + REFUSED_SECONDS
        self._give_up(f"peerwake refuses this client: {self._reason}")

    def _disconnected(self, reason: str) -> None:
        self._drop(reason)
        if self._has_given_up and self._session.pending:
            self._give_up(self._advice())

    def _drop(self, reason: str) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._reason = reason
        self._from_server.clear()
        self._to_server.clear()
        now = time.monotonic()
        if not self._is_greeted:
            # It was none of ours, or it is ending: that is no reason to wait longer for one.
            self._try_later(now)
            return
        self._is_greeted = False
        self._next_try = now + FIRST_RETRY
        self._retry = FIRST_RETRY
        self._deadline = now + self._config.reconnect_seconds
        # Time for a restart that somebody else makes; spread, so that bridges do not all start one.
        self._next_start = now + GRACE_SECONDS + os.getpid() % 10 / 10

    def _try_later(self, now: float) -> None:
        self._next_try = now + (PATIENT_RETRY if self._has_given_up else self._retry)
        self._retry = min(self._retry * 2, LAST_RETRY)

    def _connect_if_due(self) -> None:
        now = time.monotonic()
        if self._is_greeted or (self._is_ended and not self._session.pending):
            return
        if self._socket is not None:
            if now < self._hello_by:
                return
            self._disconnected(f"{self._config.socket}: who listens there does not answer")
        if now >= self._next_try:
            self._connect()
            if self._socket is not None:
                return
            self._try_later(now)
            if self._config.start and now >= self._next_start:
                self._start()
        if now >= self._deadline and not self._has_given_up:
            self._give_up(self._advice())

    def _connect(self) -> None:
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            connection.connect(self._config.socket)
        except OSError as error:
            connection.close()
            self._reason = self._reason or f"{self._config.socket}: {error.strerror}"
            return
        uid = server_uid(connection)
        if uid != os.geteuid():
            connection.close()
            self._reason = f"{self._config.socket} belongs to a server of another user (uid {uid}); it was told nothing"
            return
        self._socket = connection
        self._hello_by = time.monotonic() + min(START_SECONDS, max(HELLO_SECONDS, self._config.reconnect_seconds))
        self._from_server.clear()
        self._to_server = bytearray(self._hello() + self._session.replay())
        self._flush()

    def _hello(self) -> bytes:
        try:
            here = os.getcwd()
        except OSError:
            here = None
        hello = {"peerwake": 1, "role": "mcp", "credential": self._config.credential, "cwd": here}
        return json.dumps(hello).encode() + b"\n"

    def _give_up(self, text: str) -> None:
        self._has_given_up = True
        self._release_start()
        self._to_client += self._session.give_up(text)

    def _advice(self) -> str:
        from mcp_server.serve.bridge_start import last_line

        said = last_line(self._config.log)
        return (
            f"no peerwake server answers ({self._reason}). A message that was being sent may have been accepted:"
            " ask queue_status before you send it again. An operator starts the server with: peerwake serve"
            f" --background; if it does not start, {self._config.log} says why" + (f": {said}" if said else "")
        )

    # starting a server

    def _start(self) -> None:
        self._next_start = time.monotonic() + START_SECONDS
        self._release_start()
        try:
            for name in ("", "run", "logs"):
                # One by one: only the last directory of a path gets the mode.
                place = os.path.join(self._config.home, name)
                os.makedirs(place, 0o700, exist_ok=True)
                if os.stat(place).st_uid != os.geteuid():
                    raise PermissionError(1, "it belongs to another user", place)
            lock = os.path.join(self._config.home, "run", "start.lock")
            self._start_lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            fcntl.flock(self._start_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Rarely needed, so most bridges never load it.
            from mcp_server.serve.bridge_start import spawn

            spawn(self._config.start, self._config.home, self._config.log)
        except BlockingIOError:
            self._release_start()
        except OSError as error:
            self._reason = f"cannot start a server: {error.filename or self._config.start[0]}: {error.strerror}"

    def _release_start(self) -> None:
        if self._start_lock >= 0:
            os.close(self._start_lock)
            self._start_lock = -1


def refusal_in(line: bytes) -> str | None:
    """Return why a server does not take us, from the first line it says; None where it does."""
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        answer = None
    problem = None
    if isinstance(answer, dict):
        if answer.get("ok") is True:
            return None
        problem = answer.get("error")
    text = problem.get("message") if isinstance(problem, dict) else None
    return text if isinstance(text, str) else "the server did not accept the connection"
