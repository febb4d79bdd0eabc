"""One message into one pane: gate, paste, verify, submit, and the receipt that proves it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, assert_never

from transport.clock import Clock
from transport.receipt import TranscriptTail
from transport.screen import Reading, ScreenRules, Shown, compare, read_screen
from transport.tmux.pane import Look, Pane, PaneInMode
from transport.vocabulary import Hold, Receipt, ScreenState, Stage

SHOW_SECONDS: Final = 3.0
SETTLE_SECONDS: Final = 0.6
SUBMITS: Final = 4
GRACE_SECONDS: Final = 2.0
POLL: Final = (0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05)

OnStage = Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Target:
    """A pane and what is known of the client in it; `status` is what the client itself says it is doing."""

    pane: Pane
    rules: ScreenRules
    transcript: TranscriptTail
    status: Callable[[], Awaitable[ScreenState | None]]
    submit: tuple[str, ...] = ("Enter",)
    has_composer: bool = True
    takes_input_while_busy: bool = False
    human_quiet_seconds: float = 5.0
    receipt_seconds: float = 15.0


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether something may be typed now: `hold` None, or why not."""

    hold: Hold | None
    reading: Reading


@dataclass(frozen=True, slots=True)
class HandOver:
    """How a hand-over ended; `typed` says whether keys may have reached the terminal."""

    receipt: Receipt | None
    hold: Hold | None
    typed: bool
    evidence: str
    excerpt: str


async def gate(target: Target, clock: Clock) -> Gate:
    """Look at the pane, out of copy mode, and say whether something may be typed; raises TmuxGone, TmuxUnknown."""
    look = await target.pane.look()
    if look.screen.in_mode:
        await target.pane.leave_mode()
        look = await target.pane.look()
    reading = read_screen(look.screen, target.rules)
    hold = _hold(target, look, reading, clock)
    if hold is None:
        hold = _said(target, await target.status())
    return Gate(hold, reading)


def _hold(target: Target, look: Look, reading: Reading, clock: Clock) -> Hold | None:
    if look.screen.dead or look.screen.in_mode:
        return Hold.UNKNOWN
    match reading.state:
        case ScreenState.ASKS:
            return Hold.ASKS
        case ScreenState.DRAFT:
            return Hold.DRAFT
        case ScreenState.UNKNOWN:
            return Hold.UNKNOWN
        case ScreenState.BUSY:
            if not target.takes_input_while_busy or reading.input_text is None:
                return Hold.BUSY
            if reading.input_text:
                return Hold.DRAFT
        case ScreenState.READY:
            pass
        case _:
            assert_never(reading.state)
    is_typing = look.human_at is not None and clock.wall() - look.human_at < target.human_quiet_seconds
    return Hold.DRAFT if is_typing else None


def _said(target: Target, status: ScreenState | None) -> Hold | None:
    match status:
        case ScreenState.ASKS:
            return Hold.ASKS
        case ScreenState.BUSY if not target.takes_input_while_busy:
            return Hold.BUSY
        case _:
            return None


async def hand_over(
    target: Target, text: str, message_id: str, *, on_stage: OnStage, clock: Clock, again: bool = False
) -> HandOver:
    """Type one message and wait for its receipt; `again` says that an earlier attempt may have typed it.

    `on_stage` is awaited before the step it names. Raises TmuxGone, TmuxUnknown, LockHeld: then what was
    typed is unknown, and `resume_hand_over` finds out.
    """
    if again and (receipt := await target.transcript.find(message_id)) is not None:
        return HandOver(receipt, None, True, "transcript", "")
    found = await gate(target, clock)
    left = _is_left(target, found.reading, text, typed_before=again)
    if found.hold is not None and not left:
        return HandOver(None, found.hold, False, "", found.reading.excerpt)
    await on_stage(Stage.PASTING)
    if not left:
        refused = await _paste(target, text, clock)
        if refused is not None:
            return refused
    return await _submit(target, text, message_id, clock)


async def resume_hand_over(target: Target, text: str, message_id: str, *, clock: Clock) -> HandOver:
    """Settle what a server that died left half done: taken, still in the composer, or not there at all.

    Not there at all, after a grace: nothing was typed, and the message can be handed over anew.
    """
    until = clock.monotonic() + GRACE_SECONDS
    while True:
        receipt = await target.transcript.find(message_id)
        if receipt is not None:
            return HandOver(receipt, None, True, "transcript", "")
        found = await gate(target, clock)
        if _is_left(target, found.reading, text):
            return await _submit(target, text, message_id, clock)
        if clock.monotonic() > until:
            return HandOver(None, found.hold, False, "no trace of it", found.reading.excerpt)
        await clock.sleep(POLL[-1])


def _is_left(target: Target, reading: Reading, text: str, *, typed_before: bool = True) -> bool:
    """Tell whether the composer holds exactly our text; a collapsed paste is ours only if we may have typed it."""
    if not target.has_composer or reading.state in (ScreenState.ASKS, ScreenState.UNKNOWN):
        return False
    shown = compare(reading, text, target.rules, counted=True)
    return shown is Shown.OURS or (typed_before and shown is Shown.COLLAPSED)


async def _paste(target: Target, text: str, clock: Clock) -> HandOver | None:
    """Paste, and return None when the composer shows our text and nothing else; else why Enter is not pressed."""
    # The last look, as late as possible: a dialog may have come up since the gate.
    look = await target.pane.look()
    reading = read_screen(look.screen, target.rules)
    hold = _hold(target, look, reading, clock)
    if hold is not None:
        return HandOver(None, hold, False, "", reading.excerpt)
    try:
        await target.pane.paste(text)
    except PaneInMode:
        return HandOver(None, Hold.UNKNOWN, False, "", reading.excerpt)
    if not target.has_composer:
        return None
    until = clock.monotonic() + SHOW_SECONDS
    polls = iter(POLL)
    while True:
        reading = read_screen(await target.pane.capture(), target.rules)
        if reading.state is not ScreenState.ASKS:
            shown = compare(reading, text, target.rules)
            if shown in (Shown.OURS, Shown.COLLAPSED):
                return None
        if clock.monotonic() > until:
            return HandOver(None, _unshown(reading), True, "the pasted text did not show", reading.excerpt)
        await clock.sleep(next(polls, POLL[-1]))


def _unshown(reading: Reading) -> Hold:
    match reading.state:
        case ScreenState.ASKS:
            return Hold.ASKS
        case ScreenState.DRAFT:
            return Hold.DRAFT
        case _:
            return Hold.UNKNOWN


async def _submit(target: Target, text: str, message_id: str, clock: Clock) -> HandOver:
    """Press Enter while the composer is ours, at most four times, and wait for the receipt."""
    started = clock.monotonic()
    reading: Reading | None = None
    for attempt in range(1, SUBMITS + 1):
        if attempt > 1 or not target.has_composer:
            reading = read_screen(await target.pane.capture(), target.rules)
            if target.has_composer and not _is_left(target, reading, text):
                break
        try:
            await target.pane.press(*target.submit)
        except PaneInMode:
            return HandOver(None, Hold.UNKNOWN, True, "the pane went into copy mode", "")
        receipt = await _await_receipt(target, message_id, clock, SETTLE_SECONDS * attempt)
        if receipt is not None:
            return HandOver(receipt, None, True, "transcript", "")
        if not target.has_composer:
            break
    left = target.receipt_seconds - (clock.monotonic() - started)
    receipt = await _await_receipt(target, message_id, clock, max(left, 0.0))
    if receipt is not None:
        return HandOver(receipt, None, True, "transcript", "")
    reading = read_screen(await target.pane.capture(), target.rules)
    return HandOver(None, _unshown(reading), True, "", reading.excerpt)


async def _await_receipt(target: Target, message_id: str, clock: Clock, seconds: float) -> Receipt | None:
    until = clock.monotonic() + seconds
    polls = iter(POLL)
    while True:
        receipt = await target.transcript.find(message_id)
        if receipt is not None or clock.monotonic() > until:
            return receipt
        await clock.sleep(next(polls, POLL[-1]))
