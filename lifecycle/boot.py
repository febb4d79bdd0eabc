"""From a started client to its ready input line: known dialogs are answered, unknown ones reported."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from lifecycle.limits import Limits
from lifecycle.runtimes.base import Reader, Runtime, SessionFacts
from lifecycle.runtimes.dialog import Dialog, Step
from transport.clock import Clock
from transport.gate import Status, out_of_mode
from transport.screen import Reading, Screen, read_screen
from transport.tmux.control import TmuxGone
from transport.tmux.pane import Pane, PaneChanged, PaneInMode, stance_of
from transport.vocabulary import ScreenState

POLL: Final = (0.005, 0.01, 0.02, 0.03)
STEADY_SECONDS: Final = 0.02
STEADY_WITHOUT_STATUS_SECONDS: Final = 1.0
REFUSED_SECONDS: Final = 1.0
SLOWEST_SETTLE: Final = 4
SLOW_SECONDS: Final = 5.0


class BootEnd(StrEnum):
    """How a boot ended; `blocked` leaves the session as it is, for a person to look at.

    `refused`: the client runs, and says that it cannot do what it was started for.
    """

    READY = "ready"
    BLOCKED = "blocked"
    DIED = "died"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Boot:
    """The end of a boot, what the screen showed then, and the dialogs that were answered, in order."""

    end: BootEnd
    excerpt: str
    dialogs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Planned:
    """A step that is due once the screen has asked for it all the time since then."""

    dialog: Dialog
    step: Step
    since: float


@dataclass(slots=True)
class Booter:
    """One boot: looks at the screen, answers the dialogs of the runtime, each at most `times` times."""

    pane: Pane
    runtime: Runtime
    reader: Reader
    facts: SessionFacts
    status: Status
    clock: Clock
    limits: Limits
    answered: dict[str, int] = field(default_factory=dict)

    async def run(self, on_slow: Callable[[], None] | None = None) -> Boot:
        """Return when the client is ready, dead, or shows for a while what nobody recognises.

        `on_slow` is called, again and again, once it takes longer than a client that only has to load.
        """
        started = self.clock.monotonic()
        seen: tuple[str, ...] = ()
        since = started
        planned: _Planned | None = None
        lag: float | None = None
        polls = iter(POLL)
        while True:
            look = await self._look()
            if look is None:
                return self._end(BootEnd.DIED, "\n".join(line for line in seen if line.strip())[-2000:])
            screen, is_quiet = look
            now = self.clock.monotonic()
            if screen.lines != seen:
                seen, since = screen.lines, now
            reading = read_screen(screen, self.runtime.screen)
            if screen.dead:
                return self._end(BootEnd.DIED, reading.excerpt)
            is_history = reading.state is ScreenState.READY and self.facts.session_ref is not None
            planned = None if is_history else self._plan("\n".join(screen.lines), planned, now)
            if planned is not None:
                lag = self.clock.wall() - self.facts.woke_at if lag is None else lag
                if is_quiet and now - planned.since >= self._settle(planned, lag):
                    await self._press(planned, screen)
                    planned = None
            elif await self._is_ready(reading, now - since):
                return self._end(BootEnd.READY, reading.excerpt)
            elif now - since >= REFUSED_SECONDS and self._is_refused(reading, screen):
                return self._end(BootEnd.REFUSED, reading.excerpt)
            elif now - since > self.limits.blocked_seconds and any(seen):
                return self._end(BootEnd.BLOCKED, reading.excerpt)
            if on_slow is not None and now - started > SLOW_SECONDS:
                on_slow()
            if now - started > self.limits.boot_seconds:
                return self._end(BootEnd.BLOCKED, reading.excerpt)
            # What looks ready has only to stay so: look again as soon as that can be told.
            await self.clock.sleep(STEADY_SECONDS / 2 if reading.state is ScreenState.READY else next(polls, POLL[-1]))

    def _end(self, end: BootEnd, excerpt: str) -> Boot:
        return Boot(end, excerpt, tuple(self.answered))

    async def _look(self) -> tuple[Screen, bool] | None:
        """Return the screen, and whether no person types; None when the client is gone."""
        try:
            look, is_quiet = await out_of_mode(self.pane, self.limits.human_quiet_seconds, self.clock)
        except TmuxGone:
            return None
        return look.screen, is_quiet

    def _plan(self, text: str, planned: _Planned | None, now: float) -> _Planned | None:
        """Return the step that the screen asks for, with the time since when it has been the same one."""
        for dialog in self.runtime.dialogs:
            if self.answered.get(dialog.name, 0) >= dialog.times:
                continue
            step = dialog.step(text)
            if step is not None:
                is_same = planned is not None and (planned.dialog, planned.step) == (dialog, step)
                return planned if is_same else _Planned(dialog, step, now)
        return None

    def _settle(self, planned: _Planned, lag: float) -> float:
        """Return how long a step must stay the same; a client that was slow to show its first dialog draws slowly."""
        seconds = planned.dialog.settle_seconds
        return max(seconds, min(lag, seconds * SLOWEST_SETTLE))

    async def _press(self, planned: _Planned, screen: Screen) -> None:
        dialog, step = planned.dialog, planned.step
        try:
            await self.pane.press(*step.keys, stance=stance_of(screen, screen.people))
        except (PaneInMode, PaneChanged, TmuxGone):
            return
        if step.answers:
            self.answered[dialog.name] = self.answered.get(dialog.name, 0) + 1
        await self._changed(screen)

    async def _changed(self, before: Screen) -> None:
        """Wait until the keys show, so that no dialog is answered twice."""
        deadline = self.clock.monotonic() + 2
        while self.clock.monotonic() < deadline:
            await self.clock.sleep(POLL[1])
            look = await self._look()
            if look is None or look[0].lines != before.lines:
                return

    def _is_refused(self, reading: Reading, screen: Screen) -> bool:
        text = "\n".join(screen.lines)
        return reading.state is not ScreenState.READY and any(
            re.search(refusal, text, re.MULTILINE) for refusal in self.runtime.refusals
        )

    async def _is_ready(self, reading: Reading, steady: float) -> bool:
        if reading.state is not ScreenState.READY:
            return False
        match await self.status():
            case ScreenState.READY:
                return steady >= STEADY_SECONDS
            case ScreenState.BUSY:
                return self.runtime.takes_input_while_busy and steady >= STEADY_SECONDS
            case None:
                patient = self.reader.has_status
                return steady >= (STEADY_WITHOUT_STATUS_SECONDS if patient else STEADY_SECONDS)
            case _:
                return False
