"""Servers that are forked from a process which has imported the product already, and the process itself.

Importing libraries is four fifths of what the start of a server costs, and the tests start more than a thousand.
`python -m tests.live.warm FD` imports once for each process of pytest. A request forks a child that takes over the
arguments, environment, directory, umask and descriptors it is given, writes both texts where /proc shows them, and
runs the command line from its first line on. Outside of pytest (bench, the fault machine) servers start cold, and so
does one whose start is not just ours: words before the command line, variables for the interpreter or the linker,
file systems of its own.
"""

import ctypes
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Final, NoReturn, Protocol

TOP: Final = Path(__file__).resolve().parent.parent.parent
# Room for an environment and a command line that are longer than those of the process that forks.
PADDING: Final = "PADDING=" + "x" * 0x4000
WORDS: Final = "x" * 0x1000
READ_AT_START: Final = ("PYTHON", "LD_", "MALLOC_", "GLIBC_")
OURS: Final = {"PYTHONPATH": str(TOP)}
CHUNK: Final = 0x10000


class Server(Protocol):
    """What a test may ask of a server that it started."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class WarmServer:
    """A forked server; it is a zombie until it is asked for, as a child would be."""

    def __init__(self, origin: "Origin", pid: int) -> None:
        self.pid: Final = pid
        self.returncode: int | None = None
        self._origin = origin
        self._descriptor = os.pidfd_open(pid)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def _has_ended(self, timeout: float | None) -> bool:
        ended = select.poll()
        ended.register(self._descriptor, select.POLLIN)
        return bool(ended.poll(None if timeout is None else max(0.0, timeout) * 1000))

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None while the server runs."""
        if self.returncode is None and self._has_ended(0):
            self.returncode = os.waitstatus_to_exitcode(self._origin.ask({"reap": self.pid}))
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status once there is one; raises subprocess.TimeoutExpired."""
        if self.returncode is None and not self._has_ended(timeout):
            raise subprocess.TimeoutExpired("a warm server", timeout or 0.0)
        status = self.poll()
        assert status is not None
        return status

    def send_signal(self, sig: int) -> None:
        """Send a signal to a server that has not ended."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._descriptor, sig)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Origin:
    """The process that servers are forked from; it ends with the one that started it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._given = _at_start(environment)
        self._lock = Lock()
        self._socket, far = socket.socketpair()
        with far:
            name, value = PADDING.split("=")
            argv = [sys.executable, "-m", "tests.live.warm", str(far.fileno()), WORDS]
            # Without a root: a test ends what was given its own.
            env = {each: text for each, text in environment.items() if not each.startswith("PEER")} | {name: value}
            self._process = subprocess.Popen(argv, env=env, cwd=TOP, stdin=subprocess.DEVNULL, pass_fds=(far.fileno(),))

    def fits(self, environment: Mapping[str, str]) -> bool:
        """Tell whether a process with this environment would have started as this one did."""
        return _at_start(environment) == self._given

    def start(self, words: Sequence[str], env: Mapping[str, str], cwd: Path, output: int) -> WarmServer:
        """Fork a process that runs `python -m mcp_server` with these words; what it prints goes to `output`."""
        umask = os.umask(0)
        os.umask(umask)
        request = {"words": [*words], "env": {**env}, "cwd": str(cwd), "umask": umask}
        return WarmServer(self, self.ask(request, [0, output, output]))

    def ask(self, request: Mapping[str, Any], descriptors: Sequence[int] = ()) -> int:
        """Return the number that answers a request; raises ConnectionError when nobody is there."""
        line = json.dumps(request).encode() + b"\n"
        with self._lock:
            sent = socket.send_fds(self._socket, [line], descriptors)
            self._socket.sendall(line[sent:])
            answer = b""
            while not answer.endswith(b"\n"):
                answer += (got := self._socket.recv(64))
                if not got:
                    raise ConnectionError(f"the process that forks servers ended with {self._process.wait()}")
        return int(answer)


_origin: list[Origin] = []
_is_wanted = False


def enable() -> None:
    """Start servers warm from now on, where the system can do that."""
    global _is_wanted
    _is_wanted = sys.platform == "linux" and hasattr(os, "pidfd_open")


def origin(environment: Mapping[str, str]) -> Origin | None:
    """Return the process to fork from, None when a server with this environment has to start cold."""
    # Also the first one: what is forked later would have started as that one did.
    is_ordinary = _at_start(environment) == _at_start({**os.environ, **OURS})
    if not _is_wanted or not is_ordinary or _is_elsewhere():
        return None
    if not _origin:
        _origin.append(Origin(environment))
    return _origin[0] if _origin[0].fits(environment) else None


def _is_elsewhere() -> bool:
    """Tell whether this thread sees other file systems than its process, and what is forked from that."""
    return Path("/proc/thread-self/ns/mnt").readlink() != Path("/proc/self/ns/mnt").readlink()


def _at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_START)}


def _answer(channel: socket.socket) -> None:
    """Fork a server for each request, and return in the child."""
    kept = b""
    descriptors: list[int] = []
    while True:
        got, found, _, _ = socket.recv_fds(channel, CHUNK, 3)
        kept, descriptors = kept + got, descriptors + found
        if not got:
            os._exit(0)
        if not kept.endswith(b"\n"):
            continue
        request, kept = json.loads(kept), b""
        if "reap" in request:
            number = os.waitpid(request["reap"], 0)[1]
        else:
            number = os.fork()
            if not number:
                channel.close()
                return _become(request, descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            descriptors = []
        channel.sendall(b"%d\n" % number)


def _become(request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """Take over what a started process gets from the one that starts it."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["cwd"])
    os.umask(request["umask"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    sys.argv = [str(TOP / "mcp_server" / "__main__.py"), *request["words"]]
    sys.orig_argv = [sys.executable, "-m", "mcp_server", *request["words"]]
    # proc(5): arg_start, arg_end, env_start and env_end are the fields 48 to 51, the name in brackets is the second.
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45:49]
    places = [int(field) for field in fields]
    _show(places[0], places[1], [os.fsencode(word) for word in sys.orig_argv])
    _show(places[2], places[3], [os.fsencode(f"{name}={value}") for name, value in request["env"].items()])


def _show(start: int, end: int, texts: Sequence[bytes]) -> None:
    block = b"".join(text + b"\0" for text in texts)
    if len(block) > end - start:
        raise ValueError(f"{len(block)} bytes do not fit where /proc shows {end - start}: more PADDING is wanted")
    ctypes.memmove(start, block.ljust(end - start, b"\0"), end - start)


def main() -> NoReturn:
    """Fork servers until the other end of the given descriptor is closed; each child runs the command line."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import mcp_server.app
    import mcp_server.cli.main  # noqa: F401
    from mcp_server.__main__ import main as command_line

    gc.collect()
    gc.freeze()
    threads = os.listdir("/proc/self/task")
    assert len(threads) == 1, f"a process with {len(threads)} threads cannot be forked"
    _answer(channel)
    sys.exit(command_line())


if __name__ == "__main__":
    main()
