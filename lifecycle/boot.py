"""From a started client to its ready input line: known dialogs are answered, unknown ones reported."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import anyio.to_thread

from lifecycle.limits import Limits
from lifecycle.runtimes.base import Reader, Runtime, SessionFacts
from lifecycle.runtimes.dialog import Dialog, Step
from transport.clock import Clock
from transport.screen import Reading, Screen, read_screen
from transport.tmux.control import TmuxGone
from transport.tmux.pane import Pane
from transport.vocabulary import ScreenState

POLL: Final = (0.005, 0.01, 0.02, 0.05)
STEADY_SECONDS: Final = 0.02
STEADY_WITHOUT_STATUS_SECONDS: Final = 1.0


class BootEnd(StrEnum):
    """How a boot ended; `blocked` leaves the session as it is, for a person to look at."""

    READY = "ready"
    BLOCKED = "blocked"
    DIED = "died"


@dataclass(frozen=True, slots=True)
class Boot:
    """The end of a boot, and what the screen showed then."""

    end: BootEnd
    excerpt: str


@dataclass(slots=True)
class Booter:
    """One boot: looks at the screen, answers the dialogs of the runtime, each at most `times` times."""

    pane: Pane
    runtime: Runtime
    reader: Reader
    facts: SessionFacts
    clock: Clock
    limits: Limits
    answered: dict[str, int] = field(default_factory=dict)

    async def run(self) -> Boot:
        """Return when the client is ready, dead, or shows for a while what nobody recognises."""
        started = self.clock.monotonic()
        seen: tuple[str, ...] = ()
        since = started
        polls = iter(POLL)
        while True:
            screen = await self._look()
            if screen is None:
                return Boot(BootEnd.DIED, "\n".join(line for line in seen if line.strip())[-2000:])
            now = self.clock.monotonic()
            if screen.lines != seen:
                seen, since = screen.lines, now
            reading = read_screen(screen, self.runtime.screen)
            if screen.dead:
                return Boot(BootEnd.DIED, reading.excerpt)
            step = self._step("\n".join(screen.lines))
            if step is not None:
                await self.pane.press(*step.keys)
                await self._changed(screen)
                continue
            if await self._is_ready(reading, now - since):
                return Boot(BootEnd.READY, reading.excerpt)
            if now - since > self.limits.blocked_seconds and any(seen):
                return Boot(BootEnd.BLOCKED, reading.excerpt)
            if now - started > self.limits.boot_seconds:
                return Boot(BootEnd.BLOCKED, reading.excerpt)
            await self.clock.sleep(next(polls, POLL[-1]))

    async def _look(self) -> Screen | None:
        try:
            return await self.pane.capture()
        except TmuxGone:
            return None

    def _step(self, text: str) -> Step | None:
        for dialog in self.runtime.dialogs:
            if self.answered.get(dialog.name, 0) >= dialog.times:
                continue
            step = dialog.step(text)
            if step is not None:
                self._count(dialog, step)
                return step
        return None

    def _count(self, dialog: Dialog, step: Step) -> None:
        if step.answers:
            self.answered[dialog.name] = self.answered.get(dialog.name, 0) + 1

    async def _changed(self, before: Screen) -> None:
        """Wait until the keys show, so that no dialog is answered twice."""
        deadline = self.clock.monotonic() + 2
        while self.clock.monotonic() < deadline:
            await self.clock.sleep(POLL[1])
            screen = await self._look()
            if screen is None or screen.lines != before.lines:
                return

    async def _is_ready(self, reading: Reading, steady: float) -> bool:
        if reading.state is not ScreenState.READY:
            return False
        status = await anyio.to_thread.run_sync(self.reader.status, self.facts)
        match status:
            case ScreenState.READY | ScreenState.BUSY:
                return steady >= STEADY_SECONDS
            case None:
                patient = self.reader.has_status
                return steady >= (STEADY_WITHOUT_STATUS_SECONDS if patient else STEADY_SECONDS)
            case _:
                return False
