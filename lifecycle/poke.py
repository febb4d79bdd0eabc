"""A pause that news cut short."""

from dataclasses import dataclass, field

import anyio

from transport.clock import Clock


@dataclass(slots=True)
class Poke:
    """Used by one task that pauses; whoever has news for it calls `set`, also before it pauses."""

    clock: Clock
    news: anyio.Event = field(default_factory=anyio.Event)

    def set(self) -> None:
        """Something changed: a message, a death, a flag."""
        self.news.set()

    async def pause(self, seconds: float) -> None:
        """Return at the first news, after at most `seconds`."""
        if not self.news.is_set():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._sleep, seconds, tasks.cancel_scope)
                await self.news.wait()
                tasks.cancel_scope.cancel()
        if self.news.is_set():
            self.news = anyio.Event()

    async def _sleep(self, seconds: float, scope: anyio.CancelScope) -> None:
        await self.clock.sleep(seconds)
        scope.cancel()
