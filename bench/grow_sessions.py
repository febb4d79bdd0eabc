"""What grows with the number of live sessions: each of them a real tmux server with a scripted agent."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from bench.cli import command
from bench.fit import Figure, Growth
from bench.ground import fastest_ms, ground, seconds_of
from bench.idle import a_profile, ours
from bench.memory import descendants
from bench.server_cost import held, percent, restart
from bench.wake import put_to_sleep
from tests.live.control import Control
from tests.live.world import World, until
from transport.registry import Registry

FIGURES: Final = {
    "ready": Figure("server start → adopted and answering", "ms", 1),
    "resident": Figure("resident memory of the server", "MiB", 0),
    "descriptors": Figure("descriptors of the server", "", 1),
    "threads": Figure("threads of the server, those of the last seconds included", "", 0.25),
    "idle": Figure("processor of everything of ours between two ticks", "% of a core", 1),
    "tick": Figure("processor of the server with a tick each second", "% of a core", 1),
    "send": Figure("send → consumed, to one of them", "ms", 0),
    "wake": Figure("send → consumed, one more that sleeps", "ms", 0),
    "list": Figure("peerwake list --json", "ms", 1),
    "page": Figure("list of at most 20, control connection", "ms", 1),
    "cold": Figure("list of at most 20 whose control clients are closed", "ms", 1),
    "doctor": Figure("peerwake doctor", "ms", 1),
}
AT_ONCE: Final = 8
EXTRA: Final = "extra"
SETTLE_SECONDS: Final = 90.0


def measure(sizes: Sequence[int], *, seconds: float, count: int) -> Growth:
    """Wake more and more peers in one root and measure at each size."""
    growth = Growth("live sessions", FIGURES)
    with ground() as world:
        restart(world)
        register(world, [EXTRA])
        with Control(world.root) as control:
            assert control.send(EXTRA, "good morning", wait_seconds=60)["status"] == "delivered"
            put_to_sleep(world, control, EXTRA)
        for before, size in pairwise([0, *sizes]):
            wake(world, [f"peer{number}" for number in range(before, size)])
            growth.add(size, _at(world, seconds, count))
            print(f"  {size} live sessions measured", flush=True)
    return growth


def register(world: World, names: Sequence[str]) -> None:
    """Register scripted peers without an MCP configuration: their agents start no bridge."""
    for name in names:
        (world.root.peers / name).mkdir()
    Registry(world.root).add(*(a_profile(world, name) for name in names))


def wake(world: World, names: Sequence[str]) -> None:
    """Give each a live session, some at the same time."""
    register(world, names)
    with Control(world.root) as control:
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            for name in some:
                control.send(name, "good morning", wait_seconds=0)
            until(lambda: _are_told(control, some), 120, f"the wake of {', '.join(some)}")  # noqa: B023


def _are_told(control: Control, names: Sequence[str]) -> bool:
    rows = control.call("queue")["result"]["rows"]
    return not any(row["depth"] for row in rows if row["identity"].partition("-")[2] in names)


def _at(world: World, seconds: float, count: int) -> dict[str, float]:
    """Restart the server for each kind of figure: sessions outlive it."""
    found: dict[str, float] = {}
    restart(world, tick_seconds=1, control_idle_seconds=1)
    (server,) = world.servers
    _until_alone(world)
    found["tick"] = percent([server.pid], seconds)
    found["ready"] = restart(world, control_idle_seconds=5) * 1e3
    (server,) = world.servers
    with Control(world.root) as control:
        _sent(control, "peer0")
        found["send"] = fastest_ms(lambda: _sent(control, "peer0"), count)
        wakes = []
        for _ in range(3):
            wakes.append(seconds_of(lambda: _sent(control, EXTRA)))
            put_to_sleep(world, control, EXTRA)
        found["wake"] = min(wakes) * 1e3
        found["page"] = fastest_ms(lambda: control.call("list", limit=20), count)
    _until_alone(world)
    with Control(world.root) as control:
        found["cold"] = seconds_of(lambda: control.call("list", limit=20)) * 1e3
    found["list"] = fastest_ms(lambda: command(world, "list", "--json"), 5)
    found["doctor"] = fastest_ms(lambda: command(world, "doctor"), 3)
    _until_alone(world)
    found["idle"] = percent(ours(world), seconds)
    now = held(server.pid)
    return found | {"resident": now.resident, "descriptors": now.descriptors, "threads": now.threads}


def _until_alone(world: World) -> None:
    (server,) = world.servers
    until(lambda: len(descendants(server.pid)) == 1, SETTLE_SECONDS, "the end of the control clients")


def _sent(control: Control, name: str) -> None:
    result = control.send(name, "x" * 200, wait_seconds=60)
    assert result["status"] == "delivered", result
