"""A server that is gone at a chosen moment of a task: the next one does each task once, in order."""

from functools import partial
from typing import Any

import anyio
import pytest

from lifecycle.settle import Settler
from lifecycle.terminals import Terminals
from lifecycle.wake import Waker
from tests.lifecycle.standstill import stand_still
from tests.lifecycle.workshop import Workshop, until, workshop
from transport.identity import Identity
from transport.paths import Root
from transport.spool.spool import Spool
from transport.vocabulary import WakePolicy

pytestmark = pytest.mark.live

WORKER = Identity("scripted", "worker")
TASKS = ["one", "two", "three"]
WINDOWS: dict[str, Any] = {"ephemeral_quiet_seconds": 0.1, "ephemeral_silence_seconds": 30.0, "crash_count": 50}
POINTS: dict[str, tuple[type, str, bool]] = {
    "before the lease": (Spool, "lease", False),
    "after the lease": (Spool, "lease", True),
    "before the wake": (Waker, "wake", False),
    "during the wake": (Terminals, "boot", False),
    "after the wake": (Waker, "wake", True),
    "before the hand-over": (Terminals, "deliver", False),
    "before the paste": (Spool, "stage", True),
    "after the paste": (Terminals, "deliver", True),
    "while it works": (Terminals, "look", False),
    "after the reply": (Settler, "consumed", False),
    "before the closing": (Settler, "consumed", True),
    "during the closing": (Terminals, "kill", False),
    "after the killing": (Terminals, "kill", True),
    "after the closing": (Terminals, "close", True),
}


def is_of_the_worker(kind: type, name: str, arguments: tuple[Any, ...]) -> bool:
    """The spool is everybody's, and to stage a message names its id only."""
    return kind is not Spool or WORKER in arguments or name == "stage"


async def reply(shop: Workshop, replied: list[str]) -> None:
    """Play the worker's part: one reply to each task that it has read."""
    while True:
        for body in shop.prompts("worker"):
            if body not in replied:
                replied.append(body)
                await shop.send("bob", f"done {body}", sender=WORKER, wait=0)
        await anyio.sleep(0.02)


@pytest.mark.parametrize("point", POINTS)
async def test_a_kill_at_this_moment_repeats_and_loses_nothing(
    root: Root, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    async with workshop(root, **WINDOWS) as first, anyio.create_task_group() as tasks:
        first.peer("worker", WakePolicy.EPHEMERAL)
        first.peer("bob")
        sent = [(await first.send("worker", body, sender=Identity("scripted", "bob"))).message_id for body in TASKS]
        kind, name, is_after = POINTS[point]
        reached = stand_still(monkeypatch, kind, name, is_after, partial(is_of_the_worker, kind, name))
        tasks.start_soon(reply, first, [])
        async with first.supervised():
            with anyio.fail_after(30):
                await reached.wait()
        # The kernel does this for a process that is killed.
        await first.deck.terminals.aclose()
        async with workshop(root, **WINDOWS) as second, second.supervised():

            async def is_done() -> bool:
                return await second.deck.spool.depth(WORKER) == 0 and second.deck.sessions.load(WORKER) is None

            await until(is_done, 40)
            records = [await second.deck.spool.message(message_id) for message_id in sent]
            assert [record and record.state for record in records] == ["consumed"] * 3
            assert [record and record.attempts for record in records] == [0] * 3
            assert second.prompts("worker") == TASKS
            await until(lambda: len(second.prompts("bob")) >= len(TASKS))
            assert second.prompts("bob") == [f"done {body}" for body in TASKS]
        tasks.cancel_scope.cancel()
