"""Whether something may be typed into what a screen shows, and if not, why (I5): pure functions of what was seen."""

from typing import assert_never

from transport.screen import Reading, Screen
from transport.vocabulary import Hold, ScreenState


def hold_of(
    screen: Screen,
    reading: Reading,
    said: ScreenState | None,
    quiet: bool,
    *,
    has_composer: bool,
    takes_input_while_busy: bool,
) -> Hold | None:
    """Return why nothing may be typed now, None when it may.

    `reading` is what the screen was read as, `said` what the client itself says it is doing, `quiet` that no person
    types. In copy mode, or where no paste would be marked as one, the screen is not asked; else it decides, with
    the client's own word.
    """
    if screen.in_mode and not quiet:
        return Hold.DRAFT
    if screen.in_mode or (screen.bracketed is False and has_composer):
        return Hold.UNKNOWN
    return _hold(_overruled(reading.state, said), reading, quiet, takes_input_while_busy)


def _overruled(shown: ScreenState, said: ScreenState | None) -> ScreenState:
    """A client's own word counts where the screen shows an input line, and never makes one ready."""
    if said is None or said is ScreenState.READY or shown in (ScreenState.ASKS, ScreenState.UNKNOWN):
        return shown
    return shown if shown is ScreenState.DRAFT and said is ScreenState.BUSY else said


def _hold(state: ScreenState, reading: Reading, quiet: bool, takes_input_while_busy: bool) -> Hold | None:
    if state is ScreenState.READY:
        return None if quiet else Hold.DRAFT
    if state is not ScreenState.BUSY:
        return hold_of_state(state)
    if reading.input_text or not quiet:
        return Hold.DRAFT
    return None if takes_input_while_busy and reading.input_text == "" else Hold.BUSY


def hold_of_state(state: ScreenState) -> Hold | None:
    """Return the reason that a screen alone gives, None for a ready one."""
    match state:
        case ScreenState.ASKS:
            return Hold.ASKS
        case ScreenState.DRAFT:
            return Hold.DRAFT
        case ScreenState.BUSY:
            return Hold.BUSY
        case ScreenState.UNKNOWN:
            return Hold.UNKNOWN
        case ScreenState.READY:
            return None
        case _:
            assert_never(state)
