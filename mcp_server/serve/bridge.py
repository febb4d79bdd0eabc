"""stdio to the server's unix socket: one small process per agent that outlives the server.

Standard library only, started as `python -I -S bridge.py`. It starts a server when there is none,
connects again when the server goes away, and sends what was in flight once more; the server knows
a repeated call by its `_meta["peerwake/request"]`.
"""

# ruff: noqa: PTH, SIM105 (pathlib and contextlib cost more to import than this whole program)

import fcntl
import json
import os
import select
import socket
import sys
import time

LINE_BYTES = 1 << 20
BUFFER_BYTES = 4 << 20
LONGEST_BYTES = 16 << 20
START_SECONDS = 15.0
GRACE_SECONDS = 3.0
RECONNECT_SECONDS = 60.0
LINGER_SECONDS = 1.0
REFUSED_SECONDS = 2.0
FIRST_RETRY = 0.01
LAST_RETRY = 0.25
PATIENT_RETRY = 1.0
REPLAY_ID = "peerwake-bridge-initialize"
REQUEST_META = "peerwake/request"
NOT_INHERITED = ("PEER_PERSONALITY", "PEER_RUNTIME", "PEER_IDENTITY", "PEERWAKE_CREDENTIAL", "TMUX", "TMUX_PANE")

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
NO_SERVER = -32000


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


class Session:
    """What a client has said on stdio and what it still waits for; knows JSON-RPC, does no input or output."""

    def __init__(self) -> None:
        self.pending: dict[str, bytes] = {}
        self.pending_bytes = 0
        self._initialize: dict[str, object] | None = None
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
            self._forget(key_of(message["params"].get("requestId")))
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
        if self._is_greeted and self._initialize is not None:
            self._is_replaying = True
            lines.append(json.dumps(self._initialize | {"id": REPLAY_ID}).encode() + b"\n")
            lines.append(self._initialized)
        return b"".join([*lines, *self.pending.values()])

    def give_up(self, text: str) -> bytes:
        """Return an error for every request that waits, and wait for none of them any more."""
        lines = [error_line(json.loads(key), NO_SERVER, text) for key in self.pending]
        self.pending.clear()
        self.pending_bytes = 0
        return b"".join(lines)

    def _remember(self, message: dict[str, object], key: str, line: bytes) -> None:
        if message["method"] == "initialize":
            self._initialize, self._initialize_key, self._is_greeted = message, key, False
        self.pending[key] = line
        self.pending_bytes += len(line)

    def _forget(self, key: str) -> None:
        self.pending_bytes -= len(self.pending.pop(key, b""))


class Bridge:
    """The loop between standard input, standard output and the socket; nothing in it blocks."""

    def __init__(self, config: Config, stdin: int = 0, stdout: int = 1) -> None:
        self._config = config
        self._session = Session()
        self._stdin = stdin
        self._stdout = stdout
        self._socket: socket.socket | None = None
        self._from_client = bytearray()
        self._to_client = bytearray()
        self._from_server = bytearray()
        self._to_server = bytearray()
        self._awaits_hello = False
        self._is_skipping = False
        self._is_ended = False
        self._has_given_up = False
        self._linger_until = 0.0
        self._start_lock = -1
        now = time.monotonic()
        self._next_try = now
        self._retry = FIRST_RETRY
        self._next_start = now
        self._deadline = now + START_SECONDS
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
                self._disconnected("the server closed the connection")
        if self._to_client:
            try:
                del self._to_client[: os.write(self._stdout, self._to_client)]
            except BlockingIOError:
                pass

    # the server

    def _read_server(self, connection: socket.socket) -> None:
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
            if self._awaits_hello:
                self._greeted(line)
            else:
                self._to_client += self._session.from_server(line)

    def _greeted(self, line: bytes) -> None:
        self._awaits_hello = False
        try:
            answer = json.loads(line)
        except ValueError:
            answer = {}
        if answer.get("ok") is True:
            self._has_given_up = False
            self._retry = FIRST_RETRY
            self._reason = ""
            self._release_start()
            return
        problem = answer.get("error") or {}
        self._disconnected(str(problem.get("message", "the server did not accept the connection")))
        self._next_try = time.monotonic() + REFUSED_SECONDS
        self._give_up(f"peerwake refuses this client: {self._reason}")

    def _disconnected(self, reason: str) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        now = time.monotonic()
        self._reason = reason
        self._from_server.clear()
        self._to_server.clear()
        self._next_try = now + FIRST_RETRY
        self._retry = FIRST_RETRY
        if not self._has_given_up:
            self._deadline = now + self._config.reconnect_seconds
            # Time for a restart that somebody else makes; spread, so that bridges do not all start one.
            self._next_start = now + GRACE_SECONDS + os.getpid() % 10 / 10

    def _connect_if_due(self) -> None:
        now = time.monotonic()
        if self._socket is not None or (self._is_ended and not self._session.pending):
            return
        if now >= self._next_try:
            self._connect()
            if self._socket is not None:
                return
            self._next_try = now + (PATIENT_RETRY if self._has_given_up else self._retry)
            self._retry = min(self._retry * 2, LAST_RETRY)
            if self._config.start and now >= self._next_start:
                self._start()
        if now >= self._deadline and not self._has_given_up:
            self._give_up(self._advice())

    def _connect(self) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            connection.connect(self._config.socket)
        except OSError as error:
            connection.close()
            self._reason = self._reason or f"{self._config.socket}: {error.strerror}"
            return
        self._socket = connection
        self._awaits_hello = True
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
        return (
            f"no peerwake server answers ({self._reason}). A message that was being sent may have been accepted:"
            " ask queue_status before you send it again. An operator starts the server with: peerwake serve"
            f" --background; if it does not start, {self._config.log} says why"
        )

    # starting a server

    def _start(self) -> None:
        self._next_start = time.monotonic() + START_SECONDS
        self._release_start()
        try:
            for name in ("run", "logs"):
                os.makedirs(os.path.join(self._config.home, name), 0o700, exist_ok=True)
            lock = os.path.join(self._config.home, "run", "start.lock")
            self._start_lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            fcntl.flock(self._start_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            spawn(self._config)
        except BlockingIOError:
            self._release_start()
        except OSError as error:
            self._reason = f"cannot start a server: {error.filename or self._config.start[0]}: {error.strerror}"

    def _release_start(self) -> None:
        if self._start_lock >= 0:
            os.close(self._start_lock)
            self._start_lock = -1


def spawn(config: Config) -> None:
    """Start a server detached from this process, its group and its terminal, without the agent's identity."""
    environment = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    environment["PEERWAKE_HOME"] = config.home
    log = os.open(config.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    child = os.fork()
    if child:
        os.close(log)
        os.close(nothing)
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        for descriptor, number in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(descriptor, number)
        os.chdir(top())
        os.execvpe(config.start[0], config.start, environment)
    except OSError as error:
        os.write(2, f"cannot start {config.start[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def top() -> str:
    """Return the directory that holds our packages: a clone, or where the wheel is installed."""
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def key_of(request_id: object) -> str:
    """Return a key that tells 1 from "1" and can be read back."""
    return json.dumps(request_id)


def marked(message: dict[str, object], line: bytes) -> bytes:
    """Return a call with an id of its own in `_meta`, by which a repetition is known; unchanged if it has one."""
    params = message.get("params")
    meta = params.setdefault("_meta", {}) if isinstance(params, dict) else None
    if not isinstance(meta, dict) or REQUEST_META in meta:
        return line
    meta[REQUEST_META] = os.urandom(12).hex()
    try:
        return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(message, separators=(",", ":")).encode()


def error_line(request_id: object, code: int, text: str) -> bytes:
    """Return a JSON-RPC error as a line."""
    error = {"code": code, "message": text}
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "error": error}).encode() + b"\n"


def configure(argv: list[str], environment: "os._Environ[str]") -> Config:
    """Read `[--home DIR] [--no-start] [--reconnect-seconds N] [-- COMMAND …]`; raises ValueError."""
    home = environment.get("PEERWAKE_HOME") or os.path.join(os.path.expanduser("~"), ".peerwake")
    start = [sys.executable, "-m", "mcp_server", "serve", "--background"]
    seconds = float(environment.get("PEERWAKE_RECONNECT_SECONDS") or RECONNECT_SECONDS)
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == "--":
            start, words = words, []
        elif word == "--no-start":
            start = []
        elif word in ("--home", "--reconnect-seconds") and words:
            value = words.pop(0)
            home, seconds = (value, seconds) if word == "--home" else (home, float(value))
        else:
            raise ValueError(f"{word!r} is not understood; give --home DIR, --no-start, --reconnect-seconds N or --")
    credential = environment.get("PEERWAKE_CREDENTIAL") or None
    if credential is not None and credential.startswith("${"):
        credential = None
    return Config(os.path.abspath(os.path.expanduser(home)), start, seconds, credential)


def main(argv: list[str]) -> int:
    """Run the bridge; returns the exit code."""
    try:
        return Bridge(configure(argv, os.environ)).run()
    except ValueError as error:
        sys.stderr.write(f"peerwake bridge: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
