"""The floors under the steps of a profile, measured once after each operation: the machine is the same then."""

import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

import anyio

from bench.bare import bare_agent
from bench.ground import bare_python, seconds_of
from bench.physical import appender
from bench.raw import open_pane, paste_to_line
from bench.steps import CLIENT, COMMIT, PYTHON, READY, RECORD, TRIP, TYPED
from lifecycle.boot import STEADY_SECONDS
from tests.live.world import World
from transport.files import write_atomic
from transport.identity import parse_identity
from transport.tmux import commands
from transport.tmux.program import find_tmux

ALICE: Final = "scripted-alice"
TRIPS: Final = 5


def hand_over_floors(world: World, number: int) -> dict[str, float]:
    """Return the seconds of a commit, a round trip, and what the agent needs from Enter to its transcript."""
    with tempfile.TemporaryDirectory(prefix="pwb-", dir="/tmp") as name, appender(Path(name)) as append:
        return {COMMIT: seconds_of(append)} | anyio.run(_typing, world)


def wake_floors(world: World, number: int) -> dict[str, float]:
    """Return those of a hand-over, and the seconds of a record, of the processes, and of a bare agent to ready."""
    socket = world.root.tmux_socket(parse_identity(ALICE))
    words = commands.client(find_tmux(), socket, commands.hello())
    with tempfile.TemporaryDirectory(prefix="pwb-", dir="/tmp") as name:
        directory = Path(name)
        return hand_over_floors(world, number) | {
            RECORD: seconds_of(lambda: write_atomic(directory / "record", "x" * 500)),
            PYTHON: seconds_of(lambda: bare_python("-I", "-S")),
            CLIENT: seconds_of(lambda: subprocess.run(words, check=True, capture_output=True)),
            READY: anyio.run(_ready, directory, world.env, number) + STEADY_SECONDS,
        }


async def _typing(world: World) -> dict[str, float]:
    record = world.session(ALICE)
    socket = world.root.tmux_socket(parse_identity(ALICE))
    pane = open_pane(socket, ALICE, world.tmux(ALICE), record["pane_id"])
    folder = world.root.peers / "alice/.peerwake/runtimes/scripted"
    transcript = max(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
    try:
        await pane.capture()
        trips = []
        for _ in range(TRIPS):
            began = time.perf_counter()
            await pane.capture()
            trips.append(time.perf_counter() - began)
        trip = statistics.median(trips)
        # Two of it are the round trips of the paste and of Enter.
        return {TRIP: trip, TYPED: max(0.0, await paste_to_line(pane, transcript) - 2 * trip)}
    finally:
        await pane.aclose()


async def _ready(directory: Path, env: dict[str, str], number: int) -> float:
    """Return the seconds from a started tmux to the ready input line of a bare agent."""
    async with bare_agent(directory, directory, env, number) as agent:
        return agent.ready_seconds
