"""Keys that an operator has pressed: a turn ended, a conversation compacted. Nothing is pressed unseen."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

import anyio

from lifecycle.requests import Refused
from lifecycle.session import Session
from lifecycle.terminals import Terminals
from transport.clock import Clock
from transport.errors import PeerwakeError
from transport.gate import Gate, Target, check_alive, gate
from transport.screen import Reading, Screen, Shown, compare, read_screen
from transport.tmux.control import TmuxGone
from transport.tmux.pane import PaneChanged, PaneInMode, Stance, stance_of
from transport.vocabulary import Hold, ScreenState

TURN_SECONDS: Final = 30.0
INTERRUPT_SECONDS: Final = 10.0
COMPOSER_SECONDS: Final = 8.0
STEADY_SECONDS: Final = 0.3
SUBMIT_SECONDS: Final = (0.8, 1.6, 3.2)
POLL_SECONDS: Final = 0.02
SETTLED: Final = (ScreenState.READY, ScreenState.DRAFT, ScreenState.ASKS)


class NoKeys(Refused):
    """The runtime does not say how this is done; its TOML file can."""

    code = "no-keys"


class NotBusy(Refused):
    """There is no turn to interrupt; nothing was pressed."""

    code = "not-busy"


class HeldBack(Refused):
    """Nothing may be typed into the terminal now, for the reason that the text names; nothing was."""

    code = "held"


class KeysUnanswered(PeerwakeError):
    """The keys were pressed and the client does not show what they should have done; look at its screen."""

    code = "keys-unanswered"


@dataclass(frozen=True, slots=True)
class Pressed:
    """What the screen shows after the keys; `draft` is what stands in the composer now, None when it is empty."""

    state: ScreenState
    draft: str | None
    excerpt: str


@dataclass(frozen=True, slots=True)
class Keys:
    """Presses keys in the terminals of live sessions; never while a message is being handed over there."""

    terminals: Terminals
    clock: Clock

    async def interrupt(self, session: Session) -> Pressed:
        """End the turn that a client is busy with, and see that it has ended.

        Raises NoKeys, NotBusy, HeldBack, KeysUnanswered, TmuxGone or TmuxUnknown.
        """
        runtime, target = await self.terminals.opened(session)
        name, keys = session.identity.personality, runtime.interrupt_keys
        if not keys:
            raise NoKeys(_missing(runtime.name, "interrupt_keys", "interrupted"))
        async with self._turn(target, name):
            passed = await gate(target, self.clock)
            _check_busy(passed, name)
            try:
                await target.pane.press(*keys, stance=Stance(people=passed.screen.people))
            except PaneInMode as error:
                raise HeldBack(f"{name} is in copy mode; nothing was pressed") from error
            except PaneChanged as error:
                raise HeldBack(_typing(name)) from error
            reading = await self._steady(target, INTERRUPT_SECONDS, SETTLED)
        if reading.state is ScreenState.BUSY:
            raise KeysUnanswered(
                f"{' '.join(keys)} was pressed, and {name} is busy {INTERRUPT_SECONDS:g} s later, still or with what"
                f" stood in its own queue; look at it: peerwake watch {name}"
            )
        return self._pressed("interrupt", session, reading)

    async def compact(self, session: Session) -> Pressed:
        """Have an idle client summarise its conversation; returns when it has taken the command.

        The very command that an earlier call was cut off after typing is submitted, when nobody types there.
        Raises NoKeys, HeldBack, KeysUnanswered, TmuxGone or TmuxUnknown.
        """
        runtime, target = await self.terminals.opened(session)
        name, text = session.identity.personality, runtime.compact_text
        if not text or not target.has_composer:
            raise NoKeys(_missing(runtime.name, "compact_text", "compacted"))
        target = replace(target, takes_input_while_busy=False)
        async with self._turn(target, name):
            passed = await gate(target, self.clock)
            is_typed = _is_typed(passed, text, target)
            if passed.hold is not None and not is_typed:
                raise HeldBack(f"{_held(name, passed)}; nothing was typed")
            try:
                if not is_typed:
                    await target.pane.paste(text, stance=stance_of(passed.screen, passed.screen.people))
                    await self._until_shown(target, text, name)
                await self._submit(target, text, passed.screen.people, name)
            except PaneInMode as error:
                raise HeldBack(f"{name} is in copy mode; look at it: peerwake attach {name}") from error
            except PaneChanged as error:
                who = "somebody types" if error.is_person else "something is being drawn"
                raise HeldBack(
                    f"{who} in the terminal of {name}; Enter was not pressed, look at it: peerwake attach {name}"
                ) from error
            reading = await self._steady(target, INTERRUPT_SECONDS)
        return self._pressed("compact", session, reading)

    def _pressed(self, what: str, session: Session, reading: Reading) -> Pressed:
        draft = reading.input_text or None
        self.terminals.logs.lifecycle.write(
            what, identity=session.identity, screen=reading.state, draft="left" if draft else None
        )
        return Pressed(reading.state, draft, reading.excerpt)

    @asynccontextmanager
    async def _turn(self, target: Target, name: str) -> AsyncIterator[None]:
        """Have the pane to oneself; raises HeldBack when a hand-over takes too long."""
        lock = target.pane.exclusive
        try:
            with anyio.fail_after(TURN_SECONDS):
                await lock.acquire()
        except TimeoutError:
            raise HeldBack(f"a message is being handed over to {name}; nothing was pressed, try again soon") from None
        try:
            yield
        except TmuxGone as error:
            raise TmuxGone(f"the session of {name} ended in the meantime ({error})") from error
        finally:
            lock.release()

    async def _look(self, target: Target) -> Reading:
        _, reading = await self._seen(target)
        return reading

    async def _seen(self, target: Target) -> tuple[Screen, Reading]:
        """Read the screen; a client that says itself that it is busy is busy."""
        screen = await target.pane.capture()
        check_alive(target.pane, screen)
        reading = read_screen(screen, target.rules)
        said = None if target.status is None else await target.status()
        is_busy = said is ScreenState.BUSY and reading.state is ScreenState.READY
        return screen, replace(reading, state=ScreenState.BUSY) if is_busy else reading

    async def _steady(
        self, target: Target, seconds: float, wanted: tuple[ScreenState, ...] = tuple(ScreenState)
    ) -> Reading:
        """Return a reading that stayed the same for a moment, or the last one after `seconds`."""
        until = self.clock.monotonic() + seconds
        reading = await self._look(target)
        since = self.clock.monotonic()
        while (now := self.clock.monotonic()) < until:
            if reading.state in wanted and now - since >= STEADY_SECONDS:
                break
            await self.clock.sleep(POLL_SECONDS)
            before, reading = reading, await self._look(target)
            if (before.state, before.input_text) != (reading.state, reading.input_text):
                since = self.clock.monotonic()
        return reading

    async def _until_shown(self, target: Target, text: str, name: str) -> None:
        """Wait until the composer holds exactly `text`; else nothing is submitted."""
        until = self.clock.monotonic() + COMPOSER_SECONDS
        while True:
            reading = await self._look(target)
            if compare(reading, text, target.rules) is Shown.OURS:
                return
            if self.clock.monotonic() >= until:
                raise KeysUnanswered(
                    f"{text} was typed, and the composer of {name} does not show it ({reading.state});"
                    f" Enter was not pressed; look at it: peerwake attach {name}"
                )
            await self.clock.sleep(POLL_SECONDS)

    async def _submit(self, target: Target, text: str, people: str | None, name: str) -> None:
        """Press the submit keys until the composer lets go of `text`; not once a person has pressed a key."""
        for patience in SUBMIT_SECONDS:
            screen, reading = await self._seen(target)
            if compare(reading, text, target.rules) is not Shown.OURS:
                return
            await target.pane.press(*target.submit_keys, stance=stance_of(screen, people))
            until = self.clock.monotonic() + patience
            while self.clock.monotonic() < until:
                if compare(await self._look(target), text, target.rules) is not Shown.OURS:
                    return
                await self.clock.sleep(POLL_SECONDS)
        raise KeysUnanswered(f"{text} stands in the composer of {name} and is not taken: peerwake attach {name}")


def _check_busy(passed: Gate, name: str) -> None:
    """Raise NotBusy or HeldBack unless the screen shows a turn under way and nobody types."""
    reading = passed.reading
    if reading.state is not ScreenState.BUSY:
        raise NotBusy(f"{name} is not busy, its screen is {reading.state}; nothing was pressed{_hint(reading, name)}")
    if reading.input_text or not passed.quiet:
        raise HeldBack(_typing(name))


def _typing(name: str) -> str:
    return f"{Hold.DRAFT}: somebody types into the terminal of {name}; nothing was pressed"


def _is_typed(passed: Gate, text: str, target: Target) -> bool:
    """Tell whether exactly the command stands in the composer, and nobody has typed there for a while."""
    return passed.hold is Hold.DRAFT and passed.quiet and compare(passed.reading, text, target.rules) is Shown.OURS


def _hint(reading: Reading, name: str) -> str:
    return "" if reading.state is ScreenState.READY else f"; look at it: peerwake attach {name}"


def _held(name: str, passed: Gate) -> str:
    state = passed.reading.state
    if not passed.quiet:
        return f"{passed.hold}: somebody types into the terminal of {name}"
    if state is ScreenState.READY:
        return f"{passed.hold}: the screen of {name} is {state}, but the client says itself that it is {passed.hold}"
    return f"{passed.hold}: the screen of {name} is {state}"


def _missing(runtime: str, field: str, what: str) -> str:
    return (
        f"peerwake does not know how {runtime} is {what}; put {field} into runtimes/{runtime}.toml, or: peerwake attach"
    )
