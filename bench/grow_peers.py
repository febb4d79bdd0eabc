"""What grows with the number of peers that sleep: their directories, profiles and the registry are real."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Final

import anyio

from bench.cli import command
from bench.fit import Figure, Growth
from bench.ground import fastest_ms, ground, mcp_caller, median_ms, seconds_of
from bench.idle import a_profile
from bench.server_cost import held, percent, restart
from bench.tick import supervisor
from bench.wake import put_to_sleep
from lifecycle.flags import Flags
from lifecycle.resolve import Resolver
from tests.live.control import Control
from tests.live.world import World
from transport.profile import save_profile
from transport.registry import Registry
from transport.snapshot import snapshot_from

FIGURES: Final = {
    "ready": Figure("server start → answering", "ms", 1),
    "resident": Figure("resident memory of the server", "MiB", 1),
    "idle": Figure("processor of the server with a tick each second", "% of a core", 0),
    "tick": Figure("tick", "ms of processor", 0),
    "resolve": Figure("resolve", "ms", 0),
    "page": Figure("list_peers, first page, through MCP", "ms", 0),
    "send": Figure("send → consumed, to a live one", "ms", 0),
    "wake": Figure("send → consumed, one that sleeps", "ms", 0),
    "send_command": Figure("peerwake send", "ms", 0),
    "list": Figure("peerwake list", "ms", 1),
    "verify": Figure("peerwake verify", "ms", 1),
    "doctor": Figure("peerwake doctor", "ms", 1),
    "create": Figure("peerwake create, one more", "ms", 1),
}
TICKS: Final = 20
LIVE: Final = "peer0"
SLEEPER: Final = "peer1"


def measure(sizes: Sequence[int], *, seconds: float, count: int) -> Growth:
    """Measure each size in a root of its own."""
    growth = Growth("peers", FIGURES)
    for size in sizes:
        with ground() as world:
            populate(world, size)
            growth.add(size, _at(world, size, seconds, count))
        print(f"  {size:,} peers measured", flush=True)
    return growth


def populate(world: World, size: int) -> None:
    """Write directories, profiles and the registry of scripted peers."""
    profiles = []
    for number in range(size):
        profile = a_profile(world, f"peer{number}")
        profile.cwd.mkdir()
        profiles.append(save_profile(profile))
    world.root.registry.write_bytes(snapshot_from(profiles).encode())


def _at(world: World, size: int, seconds: float, count: int) -> dict[str, float]:
    found = {"tick": anyio.run(_ticks, world), "resolve": _resolve(world, size, count)}
    restart(world, tick_seconds=1)
    found["idle"] = percent([world.servers[0].pid], seconds)
    found["ready"] = restart(world, control_idle_seconds=5) * 1e3
    with mcp_caller(world) as caller:
        found["page"] = fastest_ms(lambda: caller.call("list_peers"), count)
    with Control(world.root) as control:
        _sent(control, LIVE)
        found["send"] = fastest_ms(lambda: _sent(control, LIVE), count)
        _sent(control, SLEEPER)
        wakes = []
        for _ in range(3):
            put_to_sleep(world, control, SLEEPER)
            wakes.append(seconds_of(lambda: _sent(control, SLEEPER)))
        found["wake"] = min(wakes) * 1e3
    found |= _commands(world)
    found["resident"] = held(world.servers[0].pid).resident
    return found


async def _ticks(world: World) -> float:
    """Return the least processor time of a tick, in milliseconds."""
    used = []
    async with supervisor(world.root) as made:
        await made.tick()
        for _ in range(TICKS):
            before = time.process_time()
            await made.tick()
            used.append(time.process_time() - before)
    return min(used) * 1e3


def _resolve(world: World, size: int, count: int) -> float:
    resolver = Resolver(Registry(world.root), Flags(world.root))
    resolver.registry.names()
    names = [f"peer{number * 7919 % size}" for number in range(10 * count)]
    return median_ms([seconds_of(lambda name=name: resolver.identity(name, None)) for name in names])  # type: ignore[misc]


def _commands(world: World) -> dict[str, float]:
    words: dict[str, Sequence[str]] = {
        "send_command": ("send", LIVE, "hello"),
        "list": ("list",),
        "verify": ("verify",),
        "doctor": ("doctor",),
    }
    found = {key: fastest_ms(partial(command, world, *each), 3) for key, each in words.items()}
    names = iter(range(100))
    create = fastest_ms(lambda: command(world, "create", f"new{next(names)}", "--runtime", "scripted"), 3)
    return found | {"create": create}


def _sent(control: Control, name: str) -> None:
    result = control.send(name, "x" * 200, wait_seconds=60)
    assert result["status"] == "delivered", result
