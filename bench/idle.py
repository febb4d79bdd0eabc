"""Fifty live sessions and nothing to do: processor time and memory of everything of ours."""

import time
from typing import Final

from bench.ground import ground, processes_of
from bench.memory import descendants, memory_of, processor_seconds
from bench.rows import Row, answer
from bench.terms import TERMS
from lifecycle.session import parse
from tests.live.control import Control
from tests.live.world import World, until
from transport.profile import Profile, host, make_profile, tenant
from transport.registry import Registry

SESSIONS: Final = 50
SETTLE_SECONDS: Final = 60.0
FLOOR: Final = "a server without sessions"


def run(quick: bool) -> list[Row]:
    """Measure right after the wakes and again when the server has let go of what it does not need."""
    sessions, seconds = (10, 5.0) if quick else (SESSIONS, 30.0)
    settings = {"control_idle_seconds": 5} if quick else {}
    with ground(**settings) as world:
        world.serve()
        alone = memory_of(ours(world))
        wake(world, sessions)
        fresh = Measured(world, seconds)
        (server,) = world.servers
        until(lambda: len(descendants(server.pid)) == 1, SETTLE_SECONDS, "the end of the control clients")
        settled = Measured(world, seconds)
    note = f"{sessions} sessions, {settled.processes} processes, over {seconds:g} s"
    after = f"{sessions} sessions, {fresh.processes} processes, over {seconds:g} s"
    name = "right after the wakes"
    processor, memory = TERMS["idle.processor"], TERMS["idle.memory"]
    rows = [
        answer("idle.processor", settled.percent, note=note),
        Row(f"{name}: processor", fresh.percent, processor.unit, processor.bound, note=after),
    ]
    if settled.memory and fresh.memory:
        value, floor = settled.megabytes, megabytes(alone)
        rows.append(answer("idle.memory", value, ratio=value / floor, of=FLOOR, note=note))
        value = fresh.megabytes
        rows.append(Row(f"{name}: memory", value, memory.unit, memory.bound, value / floor, FLOOR, after))
    return rows


def megabytes(memory: dict[str, float]) -> float:
    """Return the proportional share in MB of a million bytes, of what `memory_of` tells in MiB."""
    return memory["Pss"] * 1.048576


class Measured:
    """What ours cost over a while: processor in per cent of one core, memory in MiB at its end."""

    def __init__(self, world: World, seconds: float) -> None:
        pids = ours(world)
        before = {pid: processor_seconds(pid) for pid in pids}
        began = time.monotonic()
        time.sleep(seconds)
        used = sum(max(0.0, processor_seconds(pid) - before[pid]) for pid in pids)
        self.processes = len(pids)
        self.percent = used / (time.monotonic() - began) * 100
        self.memory = memory_of(pids)

    @property
    def megabytes(self) -> float:
        return megabytes(self.memory)


def ours(world: World) -> list[int]:
    """Return the server, its children, and what is attached to sessions, without tmux servers, agents and bridges."""
    (server,) = world.servers
    theirs: set[int] = set()
    for path in world.root.state.glob("*.session"):
        session = parse(path.read_text())
        if session.tmux is not None and session.pane is not None:
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
