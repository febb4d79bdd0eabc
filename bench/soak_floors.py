"""What the machine itself could do in each minute of a soak, so that latency is told apart from other load."""

import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from bench.bare import START, bare_agent, start_to_line
from bench.ground import bare_python, seconds_of
from bench.physical import APPEND, ROUND_TRIP, appender, echo
from bench.raw import paste_to_line
from tests.live.world import World

PASTE: Final = "paste + Enter → transcript"
PYTHON: Final = "python -I -S -c pass"
PAUSE_SECONDS: Final = 1.5
SELDOM: Final = 4
"""Starts cost more than the rest: one in so many turns."""
UNDER: Final = {
    "mcp": (PASTE,),
    "http": (PASTE,),
    "bridge": (PASTE,),
    "command": (PYTHON, PASTE),
    "wake": (START,),
}
"""What each way of sending stands on; of more than one the sum."""
SHOWN: Final = (APPEND, ROUND_TRIP, PASTE, PYTHON, START)


@dataclass(frozen=True, slots=True)
class Floor:
    """One floor, measured once: `at` is seconds of the soak, `seconds` how long it took."""

    kind: str
    at: float
    seconds: float


@dataclass(slots=True)
class Floors:
    """Measures all floors again and again, in a directory and a tmux that are no part of the root under load."""

    world: World
    began: float
    found: list[Floor] = field(default_factory=list)

    def run(self, over: threading.Event) -> None:
        """Measure until told to stop."""
        with tempfile.TemporaryDirectory(prefix="pwb-", dir="/tmp") as name:
            anyio.run(self._turns, Path(name), over)

    async def _turns(self, directory: Path, over: threading.Event) -> None:
        # Without our root in its environment: what carries it counts as the server's.
        env = {key: value for key, value in self.world.env.items() if key != "PEERWAKE_HOME"}
        with ExitStack() as stack:
            append, trip = stack.enter_context(appender(directory)), stack.enter_context(echo())
            async with bare_agent(directory, directory, env, 0) as agent:
                turn = 0
                while not over.is_set():
                    self._note(APPEND, seconds_of(append))
                    self._note(ROUND_TRIP, seconds_of(trip))
                    self._note(PASTE, await paste_to_line(agent.pane, agent.transcript))
                    if turn % SELDOM == 0:
                        self._note(PYTHON, seconds_of(lambda: bare_python("-I", "-S")))
                        self._note(START, await start_to_line(directory, directory, env, turn + 1))
                    turn += 1
                    await anyio.to_thread.run_sync(over.wait, PAUSE_SECONDS)

    def _note(self, kind: str, seconds: float) -> None:
        self.found.append(Floor(kind, time.monotonic() - self.began, seconds))


def medians(floors: Sequence[Floor], since: float, until: float) -> dict[str, float]:
    """Return the median of each kind that was measured in a window, in seconds."""
    kinds: dict[str, list[float]] = {}
    for floor in floors:
        if since <= floor.at <= until:
            kinds.setdefault(floor.kind, []).append(floor.seconds)
    return {kind: statistics.median(seconds) for kind, seconds in kinds.items()}


def under(way: str, window: dict[str, float]) -> float | None:
    """Return what a way of sending stands on in a window, None where that was not measured."""
    kinds = UNDER[way]
    return sum(window[kind] for kind in kinds) if all(kind in window for kind in kinds) else None
