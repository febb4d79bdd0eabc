"""A clock that stands still until a test moves it."""

import heapq
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

EPOCH = 1_800_000_000.0


class FakeClock:
    """Implements `transport.clock.Clock`; sleepers wake in the order of their time, and only by `advance`."""

    def __init__(self, wall: float = EPOCH) -> None:
        self.now = 0.0
        self.epoch = wall
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, anyio.Event]] = []

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.epoch + self.now

    @property
    def sleeping(self) -> int:
        """How many tasks sleep now."""
        return len(self._sleepers)

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await anyio.lowlevel.checkpoint()
            return
        entry = (self.now + seconds, next(self._order), anyio.Event())
        heapq.heappush(self._sleepers, entry)
        try:
            await entry[2].wait()
        finally:
            if entry in self._sleepers:
                self._sleepers.remove(entry)
                heapq.heapify(self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass, waking each sleeper at its time and letting it run."""
        await _settle()
        target = self.now + seconds
        while self._sleepers and self._sleepers[0][0] <= target:
            due, _, event = heapq.heappop(self._sleepers)
            self.now = max(self.now, due)
            event.set()
            await _settle()
        self.now = target
        await _settle()

    async def until(
        self,
        condition: Callable[[], Any] | Callable[[], Awaitable[Any]],
        *,
        step: float = 0.1,
        limit: float = 100_000.0,
    ) -> Any:
        """Let time pass in steps until the condition holds; fails after `limit` seconds of it, or 60 real ones."""
        end = self.now + limit
        with anyio.fail_after(60):
            while True:
                value = condition()
                value = await value if isinstance(value, Awaitable) else value
                if value:
                    return value
                assert self.now < end, f"not in {limit:g} s"
                await self.advance(step)


async def _settle() -> None:
    """Let every task that can run do so, also after a thread's answer."""
    await anyio.sleep(0.0005)
    for _ in range(10):
        await anyio.lowlevel.checkpoint()
