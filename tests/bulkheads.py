"""Threads for blocking calls in tests, and a path whose opening hangs for real."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.clock import FakeClock
from transport.bulkhead import Area, Bulkhead, Compartment
from transport.identity import Identity
from transport.logs import Log

ALICE = Identity("scripted", "alice")


def bulkhead(directory: Path, seconds: float = 60.0) -> Bulkhead:
    """Return one that writes to lifecycle.log of a directory."""
    return Bulkhead(Log(directory / "lifecycle.log", FakeClock()), seconds)


def compartment(directory: Path, seconds: float = 60.0) -> Compartment:
    """Return the compartment of one peer, in a bulkhead of its own."""
    return bulkhead(directory, seconds).of(Area.DIRECTORY, ALICE)


@dataclass
class Pipe:
    """A pipe that nobody writes to: who opens it waits in the kernel until it is released."""

    path: Path
    _ends: list[int] = field(default_factory=list)

    def open(self) -> str:
        """Wait for a writer; blocking."""
        os.close(os.open(self.path, os.O_RDONLY))
        return "opened"

    def release(self) -> None:
        """Let everybody through, also who comes later."""
        self._ends.append(os.open(self.path, os.O_RDWR))

    def close(self) -> None:
        for end in self._ends:
            os.close(end)


@contextmanager
def pipes(directory: Path, count: int) -> Iterator[list[Pipe]]:
    """Make pipes; whoever still waits in them at the end is released."""
    made = [Pipe(directory / f"pipe-{number}") for number in range(count)]
    for pipe in made:
        os.mkfifo(pipe.path)
    try:
        yield made
    finally:
        for pipe in made:
            pipe.release()
        for pipe in made:
            pipe.close()
