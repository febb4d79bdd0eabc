"""The physical floors: an append that reaches the disk, and a byte to another process and back."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.ground import seconds_of

LINE: Final = b"x" * 500
APPEND: Final = "append of 500 B + fsync"
ROUND_TRIP: Final = "round trip of one byte on a unix socket, between two processes"
ECHO: Final = """
import socket, sys
with socket.socket(fileno=int(sys.argv[1])) as far:
    while data := far.recv(1):
        far.send(data)
"""


def times(action: Callable[[], object], count: int) -> list[float]:
    """Return how long an action took each time, in seconds."""
    return [seconds_of(action) for _ in range(count)]


def fsyncs(directory: Path, count: int) -> list[float]:
    """Return how long appends with an fsync each take."""
    with appender(directory) as append:
        return times(append, count)


@contextmanager
def appender(directory: Path) -> Iterator[Callable[[], None]]:
    """Yield what appends to a file in this directory and waits until that is on the disk."""
    descriptor = os.open(directory / "floor", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def append() -> None:
        os.write(descriptor, LINE)
        os.fsync(descriptor)

    try:
        yield append
    finally:
        os.close(descriptor)


def round_trips(count: int) -> list[float]:
    """Return how long a byte takes to another process and back."""
    with echo() as trip:
        return times(trip, count)


@contextmanager
def echo() -> Iterator[Callable[[], None]]:
    """Yield what sends a byte to a process of its own and waits until it is back."""
    near, far = socket.socketpair()
    with near, far:
        words = [sys.executable, "-I", "-S", "-c", ECHO, str(far.fileno())]
        with subprocess.Popen(words, pass_fds=(far.fileno(),)) as process:
            far.close()

            def trip() -> None:
                near.send(b"x")
                assert near.recv(1), "the other process is gone"

            try:
                trip()
                yield trip
            finally:
                near.shutdown(socket.SHUT_WR)
                process.wait(10)
