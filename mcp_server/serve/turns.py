"""The order of the sends of one connection, also while one of them has to be waited for before it is accepted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio

T = TypeVar("T")


class Turns:
    """Who has to wait before it is accepted takes a turn, and so does whoever comes while one is taken."""

    def __init__(self) -> None:
        self._last: asyncio.Future[None] | None = None

    @property
    def is_taken(self) -> bool:
        return self._last is not None

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Wait for the turns before, and keep those who come later until the end of the block."""
        before, own = self._last, asyncio.get_running_loop().create_future()
        self._last = own
        try:
            if before is not None:
                await to_the_end(before)
            yield
        finally:
            own.set_result(None)
            if self._last is own:
                self._last = None


async def to_the_end(future: "asyncio.Future[T]") -> T:
    """Return what a future brings; who is cancelled meanwhile is cancelled at the first wait after it.

    What a client has said whole is accepted, though it leaves: it may leave while its send waits for this.
    """
    task, is_cancelled = asyncio.current_task(), False
    assert task is not None
    with anyio.CancelScope(shield=True):
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError:
                task.uncancel()
                is_cancelled = True
    if is_cancelled:
        task.cancel()
    return future.result()
