"""What grows with the messages in the spool: those that wait for one worker, and those that were settled."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

from bench.cli import command
from bench.fit import Figure, Growth
from bench.ground import fastest_ms, ground
from bench.idle import a_profile
from bench.server_cost import held, percent, restart
from tests.live.control import Control
from tests.live.world import World
from transport.identity import OPERATOR, Identity
from transport.message import Draft, accept
from transport.registry import Registry
from transport.spool.spool import Spool
from transport.vocabulary import WakePolicy

FIGURES: Final = {
    "ready": Figure("server start → answering", "ms", 0),
    "resident": Figure("resident memory of the server", "MiB", 0),
    "idle": Figure("processor of the server with a tick each second", "% of a core", 0),
    "send": Figure("send → consumed, to a live peer", "ms", 0),
    "accept": Figure("send → accepted, to the worker", "ms", 0),
    "queue": Figure("queue of the worker, control connection", "ms", 0),
    "command": Figure("peerwake queue", "ms", 0),
    "why": Figure("peerwake why", "ms", 0),
    "doctor": Figure("peerwake doctor", "ms", 1, "it reads the whole spool to tell that it is whole"),
}
CAP: Final = 10**7
WRITERS: Final = 64
BATCH: Final = 10_000
DRAFT: Final = Draft("x" * 300, topic="release")
LIVE: Final = "alice"
WORKER: Final = Identity("scripted", "worker")
AFTER_FILL: Final = "UPDATE messages SET state = 'consumed', stage = NULL, settled_at = ? WHERE state = 'queued'"


def waiting(sizes: Sequence[int], *, seconds: float, count: int) -> Growth:
    """Measure while so many tasks wait for a worker that never ends its first."""
    return _measure("messages that wait", sizes, lambda path: None, seconds, count)


def settled(sizes: Sequence[int], *, seconds: float, count: int) -> Growth:
    """Measure while so many messages were consumed and are still kept."""
    return _measure("settled messages", sizes, settle, seconds, count)


def _measure(of: str, sizes: Sequence[int], after: Callable[[Path], None], seconds: float, count: int) -> Growth:
    growth = Growth(of, FIGURES)
    for size in sizes:
        with ground() as world:
            register(world)
            asyncio.run(fill(world.root.spool, size))
            after(world.root.spool)
            growth.add(size, _at(world, seconds, count))
        print(f"  {size:,} {of} measured", flush=True)
    return growth


def register(world: World) -> None:
    """Register both without an MCP configuration: a bridge would start a server of its own between two of ours."""
    live = a_profile(world, LIVE)
    worker = a_profile(world, WORKER.personality).model_copy(update={"wake_policy": WakePolicy.EPHEMERAL})
    for profile in (live, worker):
        profile.cwd.mkdir()
    (worker.cwd / "scripted.json").write_text('[{"sleep_forever": true}]')
    Registry(world.root).add(live, worker)


async def fill(path: Path, size: int) -> None:
    """Put so many messages into the queue of the worker, many in one commit."""
    async with Spool(path) as spool:
        for start in range(0, size, BATCH):
            numbers = range(start, min(start + BATCH, size))
            async with asyncio.TaskGroup() as tasks:
                for writer in range(WRITERS):
                    tasks.create_task(_write(spool, numbers[writer::WRITERS]))


async def _write(spool: Spool, numbers: range) -> None:
    for _ in numbers:
        message = accept(DRAFT, OPERATOR, WORKER, hops=0, now=time.time())
        await spool.enqueue(message, cap=CAP, hop_limit=20)


def settle(path: Path) -> None:
    """Have everything that waits been consumed."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(AFTER_FILL, (time.time(),))


def _at(world: World, seconds: float, count: int) -> dict[str, float]:
    settings = {"queue_cap": CAP, "sends_per_minute": 1_000_000}
    restart(world, tick_seconds=1, **settings)
    with Control(world.root) as control:
        _delivered(control)
    found = {"idle": percent([world.servers[0].pid], seconds)}
    found["ready"] = restart(world, **settings) * 1e3
    with Control(world.root) as control:
        _delivered(control)
        found["send"] = fastest_ms(lambda: _delivered(control), count)
        worker = WORKER.personality
        found["accept"] = fastest_ms(lambda: control.send(worker, "x" * 200, wait_seconds=0), count)
        found["queue"] = fastest_ms(lambda: control.call("queue", personality=worker), count)
    words = {"command": ("queue",), "why": ("why", worker), "doctor": ("doctor",)}
    found |= {key: fastest_ms(partial(command, world, *each), 3) for key, each in words.items()}
    return found | {"resident": held(world.servers[0].pid).resident}


def _delivered(control: Control) -> None:
    result = control.send(LIVE, "x" * 200, wait_seconds=60)
    assert result["status"] == "delivered", result
