"""Counting what is being answered, so that a stop can wait for it."""

from types import TracebackType
from typing import Self

import anyio


class InFlight:
    """How many requests are being answered right now."""

    def __init__(self) -> None:
        self.count = 0
        self._idle: anyio.Event | None = None

    def one(self) -> Self:
        """Count one request while the block runs."""
        return self

    def __enter__(self) -> None:
        self.count += 1

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.count -= 1
        if self.count == 0 and self._idle is not None:
            self._idle.set()

    async def drained(self, seconds: float) -> bool:
        """Wait until nothing is in flight; False when that took longer than `seconds`."""
        with anyio.move_on_after(seconds):
            while self.count:
                if self._idle is None or self._idle.is_set():
                    self._idle = anyio.Event()
                await self._idle.wait()
            return True
        return False
