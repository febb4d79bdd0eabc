"""What sessions at work cost the server: busy ones for which a message waits, and workers with a task."""

from collections.abc import Sequence
from typing import Final

from bench.fit import Figure, Growth
from bench.ground import ground
from bench.idle import a_profile
from bench.server_cost import percent
from tests.live.control import Control
from tests.live.world import World, until
from transport.registry import Registry
from transport.vocabulary import WakePolicy

FIGURES: Final = {"processor": Figure("processor of the server", "% of a core", 1)}
BUSY: Final = '{"queue_while_busy": %s, "rules": [{"match": "^begin", "busy_seconds": 3600}, {}]}'
WORKING: Final = '[{"sleep_forever": true}]'
SETTLE_SECONDS: Final = 3.0


def measure(sizes: Sequence[int], *, seconds: float) -> list[Growth]:
    """Measure each kind and each size in a root of its own."""
    kinds = {
        "busy sessions with a message that waits": (BUSY % "false", WakePolicy.WARM),
        "busy sessions with a message in their own queue": (BUSY % "true", WakePolicy.WARM),
        "ephemeral workers with a task": (WORKING, WakePolicy.EPHEMERAL),
    }
    found = []
    for of, (rules, policy) in kinds.items():
        growth = Growth(of, FIGURES)
        for size in sizes:
            with ground() as world:
                growth.add(size, {"processor": _at(world, size, rules, policy, seconds)})
        print(f"  {of} measured", flush=True)
        found.append(growth)
    return found


def _at(world: World, size: int, rules: str, policy: WakePolicy, seconds: float) -> float:
    names = [f"peer{number}" for number in range(size)]
    for name in names:
        profile = a_profile(world, name).model_copy(update={"wake_policy": policy})
        profile.cwd.mkdir()
        (profile.cwd / "scripted.json").write_text(rules)
        Registry(world.root).add(profile)
    server = world.serve()
    with Control(world.root) as control:
        for name in names:
            for body in ("begin", "wait"):
                control.send(name, body, wait_seconds=0)
        until(lambda: all(world.prompts(name) for name in names), 60 + 2 * size, "the first prompt of each")
        percent([server.pid], SETTLE_SECONDS)
        return percent([server.pid], seconds)
