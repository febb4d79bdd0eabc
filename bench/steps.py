"""The steps of a hand-over and of a wake, each with the floor it stands on."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bench.rows import markdown
from bench.terms import number

COMMIT: Final = "append + fsync"
RECORD: Final = "file + fsync, rename, fsync of its directory"
TRIP: Final = "tmux round trip"
TYPED: Final = "Enter → transcript, bare"
PYTHON: Final = "python -I -S -c pass"
CLIENT: Final = "one command by a tmux client of its own"
READY: Final = "bare agent to ready, and 20 ms steady"
COLUMNS: Final = ("step", "times", "ms", "floor, ms", "above it, ms", "floor of each")
CAPTURE: Final = "transport.tmux.pane:Pane.capture"
BOOT_LOOKS: Final = "looks of the boot; verify, and once more before Enter"
Lap = tuple[str, float, float]


@dataclass(frozen=True, slots=True)
class Step:
    """Where a step is in the code, what it is, and the floor of one of it, if it has one."""

    place: str
    what: str
    floor: str = ""


POST: Final = Step("transport.spool.spool:Spool.post", "accept (commit)", COMMIT)
DUE: Final = Step("transport.spool.spool:Spool.next_due", "what is due")
LIVE: Final = Step("lifecycle.session:Sessions.live", "does the session live")
TYPING: Final = (
    Step("transport.spool.spool:Spool.lease", "lease (commit)", COMMIT),
    Step("transport.spool.spool:Spool.stage", "stage (commit)", COMMIT),
    Step("transport.tmux.pane:Pane.look", "look: the gate, in the drain, before and after the stage", TRIP),
    Step("transport.tmux.pane:Pane.paste", "paste", TRIP),
    Step(CAPTURE, "look: verify, and once more before Enter", TRIP),
    Step("transport.tmux.pane:Pane.press", "Enter", TRIP),
    Step("transport.attempt:await_receipt", "wait for the receipt", TYPED),
    Step("transport.spool.spool:Spool.consume", "settle (commit)", COMMIT),
)
HAND_OVER: Final = (POST, DUE, LIVE, *TYPING)
WAKE: Final = (
    POST,
    DUE,
    LIVE,
    Step("lifecycle.plan:Planner.plan", "plan"),
    Step("lifecycle.launch:Launcher._server", "prompt, environment, program"),
    Step("lifecycle.session:Sessions.save", "record of the intent", RECORD),
    Step("transport.tmux.server:_launch", "launcher and tmux server", PYTHON),
    Step("transport.tmux.server:_set_up", "configure, start the agent", CLIENT),
    Step("lifecycle.session:Sessions.update", "record: its server, then that it is ready", RECORD),
    Step("lifecycle.canary:ensure", "the canary watches it; it is started where none runs"),
    Step("transport.tmux.control:ControlClient._open", "control client", CLIENT),
    Step("lifecycle.boot:Booter.run", "the agent's own start to ready, between the looks", READY),
    Step("lifecycle.arrivals:Arrivals.wait", "its tools are asked for"),
    *(replace(step, what=BOOT_LOOKS) if step.place == CAPTURE else step for step in TYPING),
)


def breakdown(
    steps: Sequence[Step], laps: Sequence[Lap], windows: Sequence[tuple[float, float]], floors: Mapping[str, float]
) -> str:
    """Return a table: each step of all operations, the median of them, beside its floor; then what no step covers."""
    by_place = {step.place: [lap for lap in laps if lap[0] == step.place] for step in steps}
    lines, covered = [], 0.0
    for step in steps:
        each = [[lap for lap in by_place[step.place] if began <= lap[1] <= ended] for began, ended in windows]
        count = statistics.median(len(found) for found in each)
        took = statistics.median(sum(lap[2] for lap in found) for found in each) * 1e3
        covered += took
        lines.append(_line(step, count, took, floors))
    whole = statistics.median(ended - began for began, ended in windows) * 1e3
    lines.append(
        ("everything else: event loop, threads, the way there and back", "", number(whole - covered), "", "", "")
    )
    lines.append(("all of it", "", number(whole), "", "", f"{len(windows)} times"))
    return markdown(COLUMNS, lines)


def _line(step: Step, count: float, took: float, floors: Mapping[str, float]) -> tuple[str, ...]:
    if not step.floor:
        return (step.what, f"{count:g}", number(took), "", number(took), "")
    floor = floors[step.floor] * count * 1e3
    return (step.what, f"{count:g}", number(took), number(floor), number(took - floor), step.floor)
