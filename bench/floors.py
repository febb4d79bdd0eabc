"""What the machine itself can do, measured in the same run as what stands on it."""

import os
import select
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.callers import Caller
from bench.ground import bare_python, median_ms, seconds_of, spread
from bench.mcp_calls import server
from bench.rows import Row

TRUE: Final = "/bin/true"
LINE: Final = b"x" * 500
SLEEPER: Final = ("sleep", "60")


def run(quick: bool) -> list[Row]:
    """Measure each floor by itself; the machine is to have nothing else to do."""
    count = 20 if quick else 200
    with tempfile.TemporaryDirectory(prefix="pwb-", dir="/tmp") as name:
        flushed = fsyncs(Path(name), 10 * count)
    floors = {
        "append of 500 B + fsync, where the roots of this run are": flushed,
        f"{TRUE}, started and waited for": _times(lambda: subprocess.run([TRUE], check=True), count),
        "python -I -S -c pass": _times(lambda: bare_python("-I", "-S"), count),
        "round trip of one byte on a unix socket, between two threads": round_trips(50 * count),
        "an empty tool through MCP on the unix socket, one caller": _empty_calls(10 * count),
        "SIGKILL → its pidfd tells": [death() for _ in range(count)],
    }
    return [_row(name, seconds) for name, seconds in floors.items()]


def _row(name: str, seconds: list[float]) -> Row:
    if statistics.median(seconds) < 1e-3:
        return Row(name, median_ms(seconds) * 1e3, "µs", note=spread(seconds))
    return Row(name, median_ms(seconds), "ms", note=spread(seconds))


def _times(action: Callable[[], object], count: int) -> list[float]:
    return [seconds_of(action) for _ in range(count)]


def fsyncs(directory: Path, count: int) -> list[float]:
    """Return how long appends with an fsync each take."""
    descriptor = os.open(directory / "floor", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return _times(lambda: _append(descriptor), count)
    finally:
        os.close(descriptor)


def _append(descriptor: int) -> None:
    os.write(descriptor, LINE)
    os.fsync(descriptor)


def round_trips(count: int) -> list[float]:
    """Return how long a byte takes there and back."""
    with _echo() as near:
        return _times(lambda: (near.send(b"x"), near.recv(1)), count)


@contextmanager
def _echo() -> Iterator[socket.socket]:
    near, far = socket.socketpair()

    def answer() -> None:
        while data := far.recv(1):
            far.send(data)

    with near, far:
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield near
        finally:
            near.shutdown(socket.SHUT_WR)
            thread.join()


def _empty_calls(count: int) -> list[float]:
    with server() as served, Caller(served.empty, served.credential) as caller:
        caller.prepare("empty", {})
        for _ in range(count):
            caller.ask()
            caller.answer()
        return caller.seconds


def death() -> float:
    """Return the seconds from the kill of a process to the moment its pidfd is readable (Linux)."""
    with subprocess.Popen(SLEEPER) as process:
        descriptor = os.pidfd_open(process.pid)
        try:
            began = time.perf_counter()
            os.kill(process.pid, signal.SIGKILL)
            select.select([descriptor], [], [], 10)
            return time.perf_counter() - began
        finally:
            os.close(descriptor)
