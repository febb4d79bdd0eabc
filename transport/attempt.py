"""One attempt to get one message into one pane: paste, verify, submit, receipt; and looking back at an earlier one."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, assert_never

from transport.clock import Clock
from transport.gate import Gate, Target, check_alive, gate
from transport.hold import hold_of_state
from transport.pace import Pace, await_receipt, nap
from transport.screen import Reading, Screen, Shown, compare, read_screen
from transport.tmux.pane import PaneChanged, PaneInMode, PasteMark, Stance, stance_of
from transport.vocabulary import Hold, Receipt, ScreenState, Stage

OnStage = Callable[[Stage], Awaitable[None]]

LOOKS: Final = 20
INPUT_STATES: Final = (ScreenState.READY, ScreenState.DRAFT, ScreenState.BUSY)


@dataclass(frozen=True, slots=True)
class HandOver:
    """What is known after an attempt.

    `typed` says that keys may have reached the terminal in this attempt and may yet have an effect: the
    next one must look for it (`again`, or `resume_hand_over`). `evidence` is one line for the log,
    `excerpt` the last lines of the screen, `submits` how often the submit keys were pressed, 0 while the client has
    perhaps not read them. `is_spent`: it was typed as often as it may be, and an idle client shows no trace of it.
    """

    receipt: Receipt | None
    hold: Hold | None
    typed: bool
    evidence: str
    excerpt: str
    submits: int = 0
    is_spent: bool = False

    @property
    def has_failed(self) -> bool:
        """Tell whether what was typed came to nothing; what was not submitted because of the screen is waited for."""
        return self.hold is None or (self.hold is Hold.UNKNOWN and self.submits > 0)


class Before(StrEnum):
    """What came before an attempt: nothing was typed, an earlier lease was settled, or this one was looked back at."""

    NEVER = "never"
    LEASED = "leased"
    PASTING = "pasting"


@dataclass(slots=True)
class Attempt:
    """One message, one pane, one attempt; `times` counts how often it was pasted and not seen to be gone."""

    target: Target
    text: str
    message_id: str
    on_stage: OnStage
    clock: Clock
    pace: Pace
    since: float | None = None
    before: Before = Before.NEVER
    times: int = 0

    async def run(self) -> HandOver:
        passed = await gate(self.target, self.clock)
        if passed.quiet and self._stands(passed.reading, whole=True) is Shown.OURS:
            await self.on_stage(Stage.PASTING)
            return await self._submit("our text already stood in the composer", passed)
        if passed.hold is not None:
            return _held(passed, "nothing typed")
        if self.before is Before.NEVER:
            await self.target.transcript.mark(self.message_id)
        await self.on_stage(Stage.PASTING)
        found = await self._found_before()
        if found is not None:
            return await self._settled(found, passed.reading.excerpt, "found before it was typed again", 0)
        repeats = await self.target.pane.times_pasted(self.message_id) if self.before is Before.PASTING else 0
        self.times = repeats + 1
        # The last look, as late as possible: a dialog may have come up meanwhile.
        passed = await self._paste()
        if passed.hold is not None:
            await self.on_stage(Stage.HELD)
            return _held(passed, "the screen changed before the paste, nothing typed")
        return await self._verify(passed) if self.target.has_composer else await self._submit_unseen(passed)

    async def _found_before(self) -> Receipt | None:
        """Return what an earlier attempt has left by now; what a client had queued went with the lease of that time."""
        match self.before:
            case Before.NEVER:
                return None
            case Before.LEASED:
                return await self.target.transcript.again(self.message_id)
            case Before.PASTING:
                return await self.target.transcript.find(self.message_id)
            case _:
                assert_never(self.before)

    async def _paste(self) -> Gate:
        """Paste into the very screen that passed the gate; a client that draws all the time is busy."""
        started = self.clock.monotonic()
        for _ in range(LOOKS):
            passed, is_still = await self._try_paste()
            if is_still:
                return passed
            await nap(self.clock, started, self.pace)
        return replace(passed, hold=Hold.BUSY)

    async def _try_paste(self) -> tuple[Gate, bool]:
        """Return the gate, holding when nothing was pasted, and whether the cursor stayed where it was."""
        passed = await gate(self.target, self.clock)
        stance = stance_of(passed.screen, passed.screen.people)
        mark = PasteMark(self.message_id, self.times, passed.screen)
        try:
            if passed.hold is None:
                await self.target.pane.paste(self.text, stance=stance, mark=mark)
        except PaneInMode:
            passed = replace(passed, hold=Hold.UNKNOWN)
        except PaneChanged as changed:
            return replace(passed, hold=Hold.DRAFT), changed.is_person
        return passed, True

    async def look_back(self) -> HandOver:
        """Look for the trace of an earlier attempt: transcript, composer, and both again after a grace."""
        self.times = await self.target.pane.times_pasted(self.message_id)
        has_read = False
        for is_last in (False, True):
            found = await self._receipt_within(self.pace.grace_seconds if is_last else 0.0)
            has_read = is_last and await self._has_read()
            passed = await gate(self.target, self.clock)
            if found is Receipt.CONSUMED:
                return await self._settled(found, passed.reading.excerpt, "found", 0)
            # A client's queue can be emptied into its composer: then it has not got the message any more.
            if passed.quiet and await self._is_ours(passed.reading):
                return await self._submit("our text stood in the composer", passed)
            if found is not None:
                return await self._settled(found, passed.reading.excerpt, "found", 0)
            if passed.hold is not None or passed.reading.state is not ScreenState.READY:
                held = _held(passed, "no trace of the earlier attempt yet")
                return replace(held, typed=True)
        if self.target.has_composer and not has_read:
            evidence = "the client has perhaps not yet read the earlier attempt"
            return HandOver(None, Hold.UNKNOWN, True, evidence, passed.reading.excerpt)
        # Without a composer a program may have read it and not have acknowledged it yet.
        typed = not self.target.has_composer
        return HandOver(None, None, typed, "no trace of the earlier attempt in an idle client", passed.reading.excerpt)

    async def _is_ours(self, reading: Reading) -> bool:
        """Tell whether the composer holds what an earlier attempt pasted, and nothing a person added or put there."""
        if self._stands(reading, whole=True) is Shown.OURS:
            return True
        if self.since is None or self._stands(reading, counted=True) not in (Shown.OURS, Shown.COLLAPSED):
            return False
        return await self.target.pane.visited_at() <= self.since

    async def _has_read(self) -> bool:
        """Wait a while for the client to have dealt with all that was typed: only then its composer tells anything."""
        if not self.target.has_composer:
            return False
        started = self.clock.monotonic()
        while not await self.target.pane.has_read(self.message_id):
            if self.clock.monotonic() >= started + self.pace.grace_seconds:
                return False
            await nap(self.clock, started, self.pace)
        # What the client drew before it fell asleep is on the screen when tmux answers once more.
        await self._look()
        return True

    def _stands(self, reading: Reading, *, counted: bool = False, whole: bool = False) -> Shown:
        """Say what the composer of a screen that takes input holds; what follows an earlier paste is seen strictly."""
        if not self.target.has_composer or not (reading.state in INPUT_STATES or reading.window_text):
            return Shown.NONE
        is_again = self.times > 1
        return compare(reading, self.text, self.target.rules, counted=counted or is_again, whole=whole or is_again)

    async def _verify(self, passed: Gate) -> HandOver:
        """Wait until the composer shows our text and nothing else, then submit it; else press nothing."""
        started = self.clock.monotonic()
        while True:
            reading = await self._read()
            shown = self._stands(reading)
            if shown in (Shown.OURS, Shown.COLLAPSED):
                return await self._submit("pasted", replace(passed, reading=reading), is_fresh=True)
            if self.clock.monotonic() >= started + self.pace.paste_seconds:
                return await self._unverified(reading, shown)
            await nap(self.clock, started, self.pace)

    async def _submit_unseen(self, passed: Gate) -> HandOver:
        """The program has read what was typed already: end the line, once."""
        reading = passed.reading
        try:
            await self.target.pane.press(*self.target.submit_keys, stance=Stance(people=passed.screen.people))
        except PaneInMode:
            return HandOver(None, Hold.UNKNOWN, True, "typed, but copy mode was entered before Enter", reading.excerpt)
        except PaneChanged:
            return _touched("typed", reading, 0)
        found = await self._receipt_within(self.pace.receipt_seconds)
        if found is not None:
            return await self._settled(found, reading.excerpt, "typed", 1)
        return HandOver(None, None, True, "typed, not acknowledged", reading.excerpt, 1)

    async def _unverified(self, reading: Reading, shown: Shown) -> HandOver:
        """The paste did not show: say why nothing was submitted, unless the client took it all the same."""
        found = await self.target.transcript.find(self.message_id)
        if found is not None:
            return await self._settled(found, reading.excerpt, "taken without Enter", 0)
        hold = hold_of_state(reading.state)
        if shown is Shown.EMPTY:
            hold = None if await self._has_read() else Hold.UNKNOWN
        evidence = f"pasted, but the screen is {reading.state} and the composer holds {shown}; Enter was not pressed"
        return HandOver(None, hold, True, evidence, reading.excerpt)

    async def _submit(self, how: str, passed: Gate, *, is_fresh: bool = False) -> HandOver:
        """Press the submit keys until the composer lets go of our text or the transcript has it.

        They are pressed again, or behind what is not `is_fresh`, only when the client has read all earlier ones. Once
        a person has pressed a key since the pane `passed` as quiet, nothing more is pressed.
        """
        verified = passed.reading
        settle, presses, moves = self.pace.settle_seconds, 0, 0
        look = await (self._look() if is_fresh else self._look_when_read(verified))
        while look is not None and presses < self.pace.submits and moves < LOOKS and self._is_still(verified, look[1]):
            screen, reading = look
            try:
                stance = stance_of(screen, passed.screen.people)
                await self.target.pane.press(*self.target.submit_keys, stance=stance)
            except PaneInMode:
                break
            except PaneChanged as changed:
                if changed.is_person:
                    return _touched(how, reading, presses)
                moves += 1
                look = await self._look()
                continue
            presses += 1
            found = await self._receipt_within(settle)
            if found is not None:
                return await self._settled(found, reading.excerpt, how, presses)
            settle *= 2
            look = await self._look_when_read(verified)
        return await self._await_late(how, presses, verified, is_fresh=is_fresh, is_read=look is not None)

    async def _look_when_read(self, verified: Reading) -> tuple[Screen, Reading] | None:
        """Look; where our text still stands, once the client has read all keys, None if it perhaps has not."""
        look = await self._look()
        if not self._is_still(verified, look[1]):
            return look
        return await self._look() if await self._has_read() else None

    def _is_still(self, verified: Reading, reading: Reading) -> bool:
        """Our text as it was when verified: another collapsed paste is not ours."""
        shown = self._stands(reading)
        return (shown is Shown.OURS and reading.window_text == verified.window_text) or (
            shown is Shown.COLLAPSED and reading.input_text == verified.input_text
        )

    async def _receipt_within(self, seconds: float) -> Receipt | None:
        transcript = self.target.transcript
        wanted, pace = Receipt.INJECTED, self.pace
        return await await_receipt(
            transcript, self.message_id, seconds=seconds, clock=self.clock, wanted=wanted, pace=pace
        )

    async def _await_late(
        self, how: str, presses: int, verified: Reading, *, is_fresh: bool, is_read: bool
    ) -> HandOver:
        """The composer let go of our text, or every Enter was in vain: only the transcript can tell now.

        What is not `is_fresh` an earlier attempt may have submitted.
        """
        reading = await self._read()
        was_taken = (presses or not is_fresh) and not self._is_still(verified, reading)
        found = await self._receipt_within(self.pace.receipt_seconds if was_taken else 0.0)
        if found is not None:
            return await self._settled(found, reading.excerpt, how, presses)
        reading = await self._read()
        if self._is_still(verified, reading):
            hold, where = None, "our text still stands in the composer"
        else:
            hold, where = hold_of_state(reading.state), f"the screen is {reading.state}"
        if hold is None and not (is_read and await self._has_read()):
            evidence = f"{how}, {presses} times submitted, which the client has perhaps not read yet: {where}"
            return HandOver(None, Hold.UNKNOWN, True, evidence, reading.excerpt)
        evidence = f"{how}, {presses} times submitted, no receipt: {where}"
        return HandOver(None, hold, True, evidence, reading.excerpt, presses)

    async def _settled(self, found: Receipt, excerpt: str, how: str, presses: int) -> HandOver:
        if found is Receipt.INJECTED:
            await self.on_stage(Stage.INJECTED)
            later = await await_receipt(
                self.target.transcript,
                self.message_id,
                seconds=self.pace.consumed_seconds,
                clock=self.clock,
                pace=self.pace,
            )
            found = later or found
        return HandOver(found, None, True, f"{how}, {found} according to the transcript", excerpt, presses)

    async def _read(self) -> Reading:
        _, reading = await self._look()
        return reading

    async def _look(self) -> tuple[Screen, Reading]:
        screen = await self.target.pane.capture()
        check_alive(self.target.pane, screen)
        return screen, read_screen(screen, self.target.rules)


def _touched(how: str, reading: Reading, presses: int) -> HandOver:
    evidence = f"{how}, but a person pressed a key before Enter was"
    return HandOver(None, Hold.DRAFT, True, evidence, reading.excerpt, presses)


def _held(passed: Gate, evidence: str) -> HandOver:
    hold = passed.hold or Hold.BUSY
    return HandOver(None, hold, False, f"{evidence}: {hold}", passed.reading.excerpt)
