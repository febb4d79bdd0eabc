"""Counting what is being answered, so that a stop can wait for it."""

from collections.abc import Iterator
from contextlib import contextmanager

import anyio


class InFlight:
    """How many requests are being answered right now."""

    def __init__(self) -> None:
        self.count = 0
        self._idle = anyio.Event()
        self._idle.set()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count one request while the block runs."""
        if self.count == 0:
            self._idle = anyio.Event()
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1
            if self.count == 0:
                self._idle.set()

    async def drained(self, seconds: float) -> bool:
        """Wait until nothing is in flight; False when that took longer than `seconds`."""
        with anyio.move_on_after(seconds):
            while self.count:
                await self._idle.wait()
            return True
        return False
