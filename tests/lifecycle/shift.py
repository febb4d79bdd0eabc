"""An ephemeral worker's drain beside a test, on a stage with short windows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from lifecycle.ephemeral import EphemeralDrain
from tests.lifecycle.stage import BOB, Scene, scene
from transport.identity import Identity
from transport.message import Message
from transport.paths import Root
from transport.vocabulary import MessageState, WakePolicy

WORKER = Identity("scripted", "worker")
WINDOWS = {"ephemeral_quiet_seconds": 2, "ephemeral_silence_seconds": 12, "boot_seconds": 24}


@asynccontextmanager
async def worker_scene(root: Root, **limits: Any) -> AsyncIterator[Scene]:
    """Build a scene with the peer `worker`; two attempts, and no crash loops."""
    async with scene(root, **({"attempts": 2, "crash_count": 20} | WINDOWS | limits)) as built:
        built.peer("worker", WakePolicy.EPHEMERAL)
        yield built


class Shift:
    """One run of a drain beside a test."""

    def __init__(self, stage: Scene) -> None:
        self.stage = stage
        self.drain = EphemeralDrain(stage.deck, WORKER)
        self.tasks = anyio.create_task_group()

    async def __aenter__(self) -> "Shift":
        await self.tasks.__aenter__()
        self.tasks.start_soon(self.drain.run)
        return self

    async def __aexit__(self, *reason) -> None:
        self.tasks.cancel_scope.cancel()
        await self.tasks.__aexit__(*reason)

    async def task(self, body: str = "work") -> Message:
        return await self.stage.send(body, to=WORKER)

    async def ends(self, message: Message, state: MessageState, limit: float = 2000.0, step: float = 0.5) -> None:
        await self.stage.clock.until(lambda: self.stage.is_in(message, state), limit=limit, step=step)

    async def has(self, message: Message) -> None:
        """Wait until the worker has read its task."""
        await self.stage.clock.until(lambda: message.id in self.stage.actor.typed)

    async def done(self) -> bool:
        """The worker says that it is done."""
        told = await self.drain.end.say_done()
        self.drain.poke()
        return told

    async def reply(self) -> None:
        await self.stage.send("the answer", to=BOB, sender=WORKER)
        self.stage.deck.board.sent(WORKER)
