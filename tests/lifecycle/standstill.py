"""A method that never returns: what a server has got done when it is killed there."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest


def stand_still(
    monkeypatch: pytest.MonkeyPatch,
    kind: type,
    name: str,
    is_after: bool,
    counts: Callable[[tuple[Any, ...]], bool] = lambda arguments: True,
) -> anyio.Event:
    """Let the first call that `counts` never return, before or after its work; the event tells when it got there."""
    original: Callable[..., Awaitable[Any]] = getattr(kind, name)
    reached = anyio.Event()

    async def call(self: Any, *args: Any, **keywords: Any) -> Any:
        is_first = not reached.is_set() and counts(args)
        if is_first and not is_after:
            reached.set()
            await anyio.sleep_forever()
        result = await original(self, *args, **keywords)
        if is_first and not reached.is_set():
            reached.set()
            await anyio.sleep_forever()
        return result

    monkeypatch.setattr(kind, name, call)
    return reached
