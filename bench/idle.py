"""Fifty live sessions and nothing to do: processor time and memory of everything of ours."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bench.ground import ground, processes_of
from bench.memory import descendants, memory_of, processor_seconds
from bench.rows import Row, answer
from bench.terms import TERMS
from lifecycle.session import Sessions
from tests.live.control import Control
from tests.live.world import World, until
from transport.profile import Profile, host, make_profile, tenant
from transport.registry import Registry

SESSIONS: Final = 50
SETTLE_SECONDS: Final = 60.0
TICK_SECONDS: Final = 60.0
WINDOW_SECONDS: Final = 130.0
"""Two ticks at least."""
WINDOWS: Final = 2
FLOOR: Final = "a server without sessions"
LOOP: Final = "an event loop that wakes once a second and does nothing"
LOOP_CODE: Final = """
import asyncio
async def main():
    while True:
        await asyncio.sleep(1)
asyncio.run(main())
"""


def run(quick: bool) -> list[Row]:
    """Measure right after the wakes and again when the server has let go of what it does not need."""
    sessions, seconds = (10, 5.0) if quick else (SESSIONS, WINDOW_SECONDS)
    settings = {"tick_seconds": 2, "control_idle_seconds": 5} if quick else {"tick_seconds": TICK_SECONDS}
    with ground(**settings) as world, bare_loop() as loop:
        world.serve()
        alone = megabytes(memory_of(ours(world)))
        wake(world, sessions)
        fresh = Measured(world, loop, seconds)
        (server,) = world.servers
        until(lambda: len(descendants(server.pid)) == 1, SETTLE_SECONDS, "the end of the control clients")
        windows = [Measured(world, loop, seconds) for _ in range(WINDOWS)]
    worst = max(windows, key=lambda window: window.percent)
    ticks = f"{int(seconds // float(settings['tick_seconds']))} ticks at least"
    note = f"{sessions} sessions, {worst.processes} processes, the worst of {WINDOWS} windows of {seconds:g} s, {ticks}"
    after = f"{sessions} sessions, {fresh.processes} processes, over {seconds:g} s, {ticks}"
    most = max(window.megabytes for window in windows)
    return [*_rows(worst, most, alone, note), *_fresh_rows(fresh, alone, after)]


def _rows(worst: "Measured", value: float, alone: float, note: str) -> list[Row]:
    found = [answer("idle.processor", worst.percent, ratio=worst.ratio, of=LOOP, note=note)]
    if value:
        found.append(answer("idle.memory", value, ratio=value / alone, of=FLOOR, note=note))
    return found


def _fresh_rows(fresh: "Measured", alone: float, note: str) -> list[Row]:
    name, processor, memory = "right after the wakes", TERMS["idle.processor"], TERMS["idle.memory"]
    found = [Row(f"{name}: processor", fresh.percent, processor.unit, processor.bound, fresh.ratio, LOOP, note)]
    if fresh.memory:
        value = fresh.megabytes
        found.append(Row(f"{name}: memory", value, memory.unit, memory.bound, value / alone, FLOOR, note))
    return found


@contextmanager
def bare_loop() -> Iterator[int]:
    """Run the floor beside what is measured; yields its pid."""
    with subprocess.Popen([sys.executable, "-I", "-c", LOOP_CODE]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def megabytes(memory: dict[str, float]) -> float:
    """Return the proportional share in MB of a million bytes, of what `memory_of` tells in MiB."""
    return memory.get("Pss", 0.0) * 1.048576


class Measured:
    """What ours cost over a while: processor in per cent of one core, also of `loop`; memory in MiB at the start."""

    def __init__(self, world: World, loop: int, seconds: float) -> None:
        pids = ours(world)
        self.memory = memory_of(pids)
        before = {pid: processor_seconds(pid) for pid in (*pids, loop)}
        began = time.monotonic()
        time.sleep(seconds)
        per_cent = 100 / (time.monotonic() - began)
        used = {pid: max(0.0, processor_seconds(pid) - before[pid]) * per_cent for pid in before}
        self.processes = len(pids)
        self.floor = used.pop(loop)
        self.percent = sum(used.values())

    @property
    def ratio(self) -> float | None:
        """Return the processor of ours as a multiple of the bare event loop's."""
        return self.percent / self.floor if self.floor else None

    @property
    def megabytes(self) -> float:
        return megabytes(self.memory)


def ours(world: World) -> list[int]:
    """Return the server, its children, and what is attached to sessions, without tmux servers, agents and bridges."""
    (server,) = world.servers
    theirs: set[int] = set()
    sessions = Sessions(world.root)
    for identity in sessions.identities():
        session = sessions.load(identity)
        if session is not None and session.tmux is not None and session.pane is not None:
            theirs |= {session.tmux.pid, *descendants(session.pane.pid)}
    return sorted({*descendants(server.pid), *processes_of(world.root.home)} - theirs)


def wake(world: World, sessions: int) -> None:
    """Register peers and give each a live session by a message."""
    names = [f"peer{number}" for number in range(sessions)]
    for name in names:
        (world.root.peers / name).mkdir()
    registry = Registry(world.root)
    registry.add(*(a_profile(world, name) for name in names))
    with Control(world.root) as control:
        for name in names:
            assert control.send(name, "good morning", wait_seconds=60)["status"] == "delivered"


def a_profile(world: World, name: str) -> Profile:
    """Return the profile of a scripted peer in its default directory."""
    return make_profile(
        name=name,
        cwd=world.root.peers / name,
        runtimes=("scripted",),
        default_runtime="scripted",
        host=host(),
        tenant_id=tenant(),
        created_at="2026-01-01T00:00:00+00:00",
    )
