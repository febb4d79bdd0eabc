"""A message to a sleeping scripted peer: from the send to its receipt, beside the same agent in a bare tmux."""

import re
from typing import Final

import anyio

from bench.bare import START, start_to_line
from bench.ground import ground, live_peer, median_ms, seconds_of, spread
from bench.rows import Row, answer
from tests.live.control import Control
from tests.live.world import World, until

SECONDS: Final = re.compile(r" ev=boot identity=scripted-alice end=ready seconds=(\S+)")


def run(quick: bool) -> list[Row]:
    """Wakes and bare starts take turns."""
    count = 4 if quick else 20
    with ground() as world, live_peer(world, "alice") as control:
        wakes: list[float] = []
        floor: list[float] = []
        for number in range(count):
            put_to_sleep(world, control, "alice")
            wakes.append(seconds_of(lambda: _wake(control)))
            floor.append(anyio.run(start_to_line, world.root.run, world.root.peers / "alice", world.env, number))
        boots = [float(found) for found in SECONDS.findall(world.log("lifecycle"))][-count:]
    value, bare_value = median_ms(wakes), median_ms(floor)
    return [
        Row(START, bare_value, "ms", note=spread(floor)),
        answer("wake", value, ratio=value / bare_value, of=START, note=spread(wakes)),
        Row("of that, start → ready", median_ms(boots), "ms", note=spread(boots)),
    ]


def put_to_sleep(world: World, control: Control, name: str) -> None:
    """Close a peer's session and let it be woken again."""
    tmux = world.tmux(f"scripted-{name}")
    assert control.call("stop", name=name)["ok"]
    until(lambda: not tmux.is_alive(), 10, "the end of the session")
    assert control.call("start", name=name)["ok"]


def _wake(control: Control) -> None:
    result = control.send("alice", "x" * 200, wait_seconds=60)
    assert (result["status"], result["woke"]) == ("delivered", True), result
