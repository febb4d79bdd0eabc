"""One look at a session's terminal to learn what it does; presses nothing while anybody is there."""

from dataclasses import dataclass, replace

from lifecycle.decide import Activity
from lifecycle.hold import activity_of
from lifecycle.session import Session
from lifecycle.terminals import Terminals
from transport.clock import Clock
from transport.errors import PeerwakeError
from transport.gate import Target, gate
from transport.tmux.control import TmuxGone


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen; `activity` is `quiet` for an empty input line of a client that says it is idle.

    `lines` is the visible text, `output_at` the wall time of the last output, both None while unknown.
    """

    activity: Activity
    detail: str = ""
    lines: tuple[str, ...] | None = None
    output_at: float | None = None


async def look_at(terminals: Terminals, session: Session) -> Sight:
    """Look at a session's terminal; one that gives no answer is unknown, never dead and never idle."""
    try:
        return await see(await terminals.target(session), terminals.clock)
    except TmuxGone as error:
        # Its death is noticed by whoever watches it.
        return Sight(Activity.ACTIVE, str(error))
    except (PeerwakeError, OSError, ValueError, IndexError) as error:
        return Sight(Activity.UNKNOWN, str(error))


async def see(target: Target, clock: Clock) -> Sight:
    """Look at a terminal; raises TmuxGone, TmuxUnknown, TmuxRefused, LockHeld."""
    attendance = await target.pane.attendance()
    if attendance.clients:
        return Sight(Activity.ATTACHED, f"{attendance.clients} clients are attached")
    found = await gate(replace(target, takes_input_while_busy=False), clock)
    activity = Activity.QUIET if found.hold is None else activity_of(found.hold)
    return Sight(activity, found.reading.excerpt, found.screen.lines, attendance.output_at)
