"""One supervise tick over a thousand sleeping peers: processor time, and the processes it starts."""

import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import anyio

from bench.ground import ground, median_ms, spread
from bench.registry import write
from bench.rows import Row, answer
from lifecycle.session import Session, dump
from lifecycle.states import End, Mode
from lifecycle.supervise import Supervisor
from lifecycle.upkeep import Upkeep
from mcp_server.settings import Settings
from mcp_server.wiring import wired
from transport.identity import Identity
from transport.paths import Root

SLEEPING: Final = 1_000
LISTING: Final = "one listing of the state directory"
HOURS: Final = 5
Figures = tuple[float, list[float], float]
STARTING: Final = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec"})


def run(quick: bool) -> list[Row]:
    """Measure with a thousand sleepers and, for comparison, with none."""
    ticks = 10 if quick else 100
    started = _Started()
    _, few, _ = _measure(0, ticks)
    hourly, many, floor = _measure(SLEEPING, ticks)
    what = f"supervise tick, {SLEEPING:,} sleeping peers"
    return [
        answer("tick", median_ms(many), ratio=median_ms(many) / floor, of=LISTING, note=spread(many)),
        answer("tick.started", started.count, name=f"{what}: processes started"),
        Row(f"{what}, once an hour", hourly * 1e3, "ms of processor", note="with the upkeep of old logs and messages"),
        Row("supervise tick, no peer at all", median_ms(few), "ms of processor", note=spread(few)),
    ]


class _Started:
    """Counts the processes that this one starts from now on; an audit hook cannot be taken away again."""

    def __init__(self) -> None:
        self.count = 0
        sys.addaudithook(self._on)

    def _on(self, event: str, _: tuple[object, ...]) -> None:
        self.count += event in STARTING


def _measure(peers: int, ticks: int) -> Figures:
    """Return the processor seconds of an hourly tick and of the others, and the milliseconds of one listing."""
    with ground() as world:
        put_to_sleep(world.root, peers)
        return anyio.run(_tick_often, world.root, ticks)


def put_to_sleep(root: Root, peers: int) -> None:
    """Leave what peers leave that had sessions once: records, locks, counts of deaths, pane logs."""
    write(root, peers)
    for number in range(peers):
        identity = Identity("scripted", f"peer-{number}")
        cwd = str(root.peers / identity.personality)
        last = Session(identity, "here", "me", cwd, f"{number:016x}", 1.0, Mode.FRESH, "s", end=End.IDLE)
        root.flag(identity, "last").write_text(dump(last))
        for name in ("wake.lock", "pane.lock", "deaths"):
            root.flag(identity, name).touch()
        root.pane_log(identity).write_text("the end of a session\n")


async def _tick_often(root: Root, ticks: int) -> Figures:
    async with supervisor(root) as made:
        await made.tick()
        hourly = statistics.median([await _after_an_hour(made) for _ in range(HOURS)])
        used = [await _processor_seconds(made) for _ in range(ticks)]
        floor = [_listing_seconds(lambda: os.listdir(root.state)) for _ in range(ticks)]
        return hourly, used, statistics.median(floor) * 1e3


@asynccontextmanager
async def supervisor(root: Root) -> AsyncIterator[Supervisor]:
    """A supervisor in this process whose own tick is far away."""
    settings = Settings(systemd_scope=False)
    async with wired(root, settings, operator=dict(os.environ)) as parts, anyio.create_task_group() as tasks:
        await tasks.start(parts.supervisor.run)
        yield parts.supervisor
        tasks.cancel_scope.cancel()


async def _after_an_hour(supervisor: Supervisor) -> float:
    """Return the processor seconds of a tick in which everything is due."""
    supervisor.upkeep = Upkeep(supervisor.deck, supervisor.logs, lambda: supervisor.watched)
    return await _processor_seconds(supervisor)


async def _processor_seconds(supervisor: Supervisor) -> float:
    before = time.process_time()
    await supervisor.tick()
    return time.process_time() - before


def _listing_seconds(action: Callable[[], object]) -> float:
    before = time.process_time()
    action()
    return time.process_time() - before
