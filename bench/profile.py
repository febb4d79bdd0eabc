"""`scripts/bench profile [PATH …]`: where a send, a hand-over and a wake spend their time, beside their floors.

A step is timed in the server itself, without the steps inside it; shares are of processor time, all threads. Both
cost something: the whole is somewhat longer than what `delivery` and `wake` measure.
"""

import json
import re
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.ground import ground
from bench.mcp_calls import CALLERS, SEND, at_work, load
from bench.profile_floors import hand_over_floors, wake_floors
from bench.rows import markdown
from bench.steps import HAND_OVER, WAKE, Step, breakdown
from bench.wake import put_to_sleep
from tests.live.control import Control
from tests.live.world import World

TOP_ROWS: Final = 14
OURS: Final = ("transport/", "lifecycle/", "mcp_server/")
FRAME: Final = ("mcp_server/cli/", "mcp_server/app.py", "mcp_server/__main__.py")
"""What is under everything else says nothing."""
WAITS: Final = re.compile(r"^selectors\.py:|^threading\.py:Condition|^queue\.py:")
BODY: Final = "x" * 200
REST_SECONDS: Final = 0.05
Window = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Found:
    """What a profiled server wrote when it ended."""

    laps: list[tuple[str, float, float]]
    samples: list[tuple[float, float, int]]
    stacks: list[list[str]]


def prefix(out: Path, steps: Sequence[Step]) -> tuple[str, ...]:
    """Return the words before a command line that have it run profiled."""
    places = json.dumps(list(dict.fromkeys(step.place for step in steps)))
    return (sys.executable, "-m", "bench.profiled", str(out), places)


def read(out: Path) -> Found:
    """Return what a profiled server found."""
    return Found(**json.loads(out.read_text()))


def shares(found: Found, windows: Sequence[Window]) -> str:
    """Return two tables of the processor time in these windows: ours with what they call, and each by itself.

    What is seen waiting has just gone to sleep, or has just woken: it is told apart.
    """
    whole, own, waiting = defaultdict[str, float](float), defaultdict[str, float](float), 0.0
    for at, used, stack in found.samples:
        names = found.stacks[stack]
        if not any(began <= at <= ended for began, ended in windows):
            continue
        if WAITS.match(names[0]):
            waiting += used
            continue
        own[names[0]] += used
        for name in set(names):
            if name.startswith(OURS) and not name.startswith(FRAME):
                whole[name] += used
    total = sum(own.values())
    told = f"{total * 1e3:.0f} ms of processor at work, {waiting * 1e3:.0f} ms around waits, {len(windows)} times"
    return "\n\n".join([told, _top("ours, with what it calls", whole, total), _top("by itself", own, total)])


def _top(title: str, seconds: Mapping[str, float], total: float) -> str:
    ordered = sorted(seconds.items(), key=lambda item: -item[1])[:TOP_ROWS]
    return markdown(("share", title), [(f"{100 * used / total:.0f} %", name) for name, used in ordered])


def send(quick: bool) -> str:
    """Profile a server that accepts what 32 callers send."""
    with tempfile.TemporaryDirectory(prefix="pwb-", dir="/tmp") as name:
        out = Path(name) / "profile.json"
        with at_work(prefix(out, ())) as world:
            began = time.monotonic()
            measured = load(str(world.root.server_socket), SEND, CALLERS, 1.0 if quick else 5.0)
            window = (began, time.monotonic())
            (process,) = world.servers
            process.terminate()
            process.wait(60)
        return f"{measured.rate:,.0f} sends a second while profiled\n\n{shares(read(out), [window])}"


def hand_over(quick: bool) -> str:
    """Profile messages to an idle session, one at a time."""

    def act(world: World, control: Control) -> Window:
        time.sleep(REST_SECONDS)
        return _sent(control)

    return _profiled(HAND_OVER, 10 if quick else 100, act, hand_over_floors)


def wake(quick: bool) -> str:
    """Profile messages to a sleeping peer."""

    def act(world: World, control: Control) -> Window:
        put_to_sleep(world, control, "alice")
        return _sent(control)

    return _profiled(WAKE, 4 if quick else 25, act, wake_floors)


def _profiled(
    steps: Sequence[Step],
    count: int,
    act: Callable[[World, Control], Window],
    measure: Callable[[World, int], dict[str, float]],
) -> str:
    with tempfile.TemporaryDirectory(prefix="pwb-", dir="/tmp") as name, ground() as world:
        out = Path(name) / "profile.json"
        world.create("alice")
        world.prefix = prefix(out, steps)
        process = world.serve()
        world.prefix = ()
        with Control(world.root) as control:
            _sent(control)
            windows = []
            floors: dict[str, list[float]] = {}
            for _ in range(count):
                windows.append(act(world, control))
                for kind, seconds in measure(world, len(windows)).items():
                    floors.setdefault(kind, []).append(seconds)
        process.terminate()
        process.wait(60)
        found = read(out)
    table = breakdown(steps, found.laps, windows, {kind: statistics.median(each) for kind, each in floors.items()})
    return f"{table}\n\n{shares(found, windows)}"


def _sent(control: Control) -> Window:
    began = time.monotonic()
    result = control.send("alice", BODY, wait_seconds=60)
    assert result["status"] == "delivered", result
    return began, time.monotonic()


PATHS: Final[dict[str, Callable[[bool], str]]] = {"send": send, "hand-over": hand_over, "wake": wake}


def profile(names: Sequence[str], *, quick: bool) -> None:
    """Profile these paths, all of them without a name, and print what was found."""
    for name in names or PATHS:
        print(f"profile: {name}\n\n{PATHS[name](quick)}\n", flush=True)
