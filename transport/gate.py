"""Whether something may be typed into a terminal now: what is seen of it, for `transport.hold` to decide (I5)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from transport.clock import Clock
from transport.hold import hold_of
from transport.receipt import Transcript
from transport.screen import Reading, Screen, ScreenRules, read_screen
from transport.tmux.control import TmuxGone
from transport.tmux.pane import Look, Pane
from transport.vocabulary import Hold, ScreenState

Status = Callable[[], Awaitable[ScreenState | None]]


@dataclass(frozen=True, slots=True)
class Target:
    """An agent's terminal: its pane, how its screen is read, where its evidence is.

    `status` is what the client itself says it is doing: other than READY it holds a message whatever
    the screen shows, READY never overrules the screen. Without a composer (`has_composer` False) a
    program takes each line as it comes, so nothing can be verified before it is submitted.
    """

    pane: Pane
    rules: ScreenRules
    transcript: Transcript
    status: Status | None = None
    submit_keys: tuple[str, ...] = ("Enter",)
    has_composer: bool = True
    takes_input_while_busy: bool = False
    human_quiet_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Gate:
    """Why nothing may be typed now (`hold` None: it may), and the screen that says so, read and as it is.

    `quiet` is False while a person types.
    """

    hold: Hold | None
    reading: Reading
    screen: Screen
    quiet: bool = True


async def gate(target: Target, clock: Clock) -> Gate:
    """Say whether a message may be typed now; leaves copy mode first, unless somebody is using it.

    Raises TmuxUnknown, TmuxGone (also for a pane whose process ended), LockHeld.
    """
    said = None if target.status is None else await target.status()
    look, quiet = await out_of_mode(target.pane, target.human_quiet_seconds, clock)
    check_alive(target.pane, look.screen)
    reading = read_screen(look.screen, target.rules)
    hold = hold_of(
        look.screen,
        reading,
        said,
        quiet,
        has_composer=target.has_composer,
        takes_input_while_busy=target.takes_input_while_busy,
    )
    return Gate(hold, reading, look.screen, quiet)


async def out_of_mode(pane: Pane, quiet_seconds: float, clock: Clock) -> tuple[Look, bool]:
    """Return a look at a pane, out of copy mode unless somebody is using it, and whether no person types.

    Raises TmuxUnknown, TmuxGone, LockHeld.
    """
    look = await pane.look()
    for _ in range(3):
        if not look.screen.in_mode or not _is_quiet(look, quiet_seconds, clock):
            break
        await pane.leave_mode()
        look = await pane.look()
    return look, _is_quiet(look, quiet_seconds, clock)


def _is_quiet(look: Look, quiet_seconds: float, clock: Clock) -> bool:
    return look.human_at is None or clock.wall() - look.human_at >= quiet_seconds


def check_alive(pane: Pane, screen: Screen) -> None:
    """Raise TmuxGone when the agent's process has ended."""
    if screen.dead:
        raise TmuxGone(f"the process in pane {pane.pane_id} has ended")
