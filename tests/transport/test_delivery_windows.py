"""What comes between a look at the pane and the keys that follow it: tmux itself sees it and types nothing (I5)."""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.terminal import CLOCK, Person, Terminal, envelope, terminal, until
from transport.clock import SystemClock
from transport.pace import Pace
from transport.tmux.pane import Pane
from transport.vocabulary import Hold, Receipt, ScreenState, Stage

pytestmark = pytest.mark.live

QUIET_SECONDS = 1.2
PATIENT = Pace(paste_seconds=1.0, settle_seconds=0.3, receipt_seconds=0.6, grace_seconds=0.3)


def just_before(pane: Pane, action: str, strike: Callable[[], Awaitable[None]]) -> None:
    """Have `strike` done once, after the last look and before the next call of a pane's `action`."""
    original = getattr(pane, action)

    async def late(*args: Any, **options: Any) -> None:
        setattr(pane, action, original)
        await strike()
        await original(*args, **options)

    setattr(pane, action, late)


@asynccontextmanager
async def with_a_person(**env: str) -> AsyncIterator[tuple[Terminal, Person]]:
    """A test client with somebody attached who has not touched a key for a while."""
    async with terminal(**env) as term:
        person = Person(term)
        try:
            await until(lambda: len(term.tmux("list-clients").splitlines()) == 2)
            term.changes = {"human_quiet_seconds": QUIET_SECONDS}
            await until(lambda: _is_quiet(term))
            yield term, person
        finally:
            person.leave()


async def _is_quiet(term: Terminal) -> bool:
    at = (await term.pane.look()).human_at
    return at is not None and CLOCK.wall() - at >= QUIET_SECONDS


def typed(term: Terminal, person: Person, *, drawn: bool = True) -> Callable[[], Awaitable[None]]:
    """Have a person press `x`, and wait until tmux has it, or until the client has it too."""

    async def strike() -> None:
        before = _touched(term)
        person.type("x")
        await until(lambda: _touched(term) != before)
        await until(lambda: term.keys == ["x"] or not drawn)

    return strike


def _touched(term: Terminal) -> str:
    return term.tmux("list-sessions", "-F", "#{session_activity}")


async def test_a_key_between_the_last_look_and_the_paste_keeps_the_paste_back() -> None:
    async with with_a_person() as (term, person):
        just_before(term.pane, "paste", typed(term, person))
        outcome = await term.hand_over(envelope("a"))
        assert (outcome.receipt, outcome.hold, outcome.typed) == (None, Hold.DRAFT, False), outcome
        assert (term.keys, term.pastes) == (["x"], [])
        assert term.stages == [Stage.PASTING, Stage.HELD]
        assert term.tmux("list-buffers") == ""


@pytest.mark.parametrize("action", ["paste", "press"])
async def test_somebody_who_attaches_between_the_last_look_and_the_keys_is_seen(action: str) -> None:
    """Also in the very second of an earlier attach: tmux tells such times in whole seconds."""
    async with terminal() as term:
        people: list[Person] = []

        async def come() -> None:
            before = len(term.tmux("list-clients").splitlines())
            people.append(Person(term))
            await until(lambda: len(term.tmux("list-clients").splitlines()) > before)

        try:
            await until(lambda: CLOCK.wall() % 1 < 0.1)
            await come()
            people[0].leave()
            await until(lambda: len(term.tmux("list-clients").splitlines()) == 1)
            just_before(term.pane, action, come)
            outcome = await term.hand_over(envelope("a"), pace=PATIENT)
            assert (outcome.receipt, outcome.hold, outcome.submits) == (None, Hold.DRAFT, 0), outcome
            assert term.said() == []
        finally:
            for person in people[1:]:
                person.leave()


@pytest.mark.parametrize("slow", ["0", "0.4"])
async def test_a_key_between_the_last_look_and_enter_is_not_submitted(slow: str) -> None:
    """Nor one that a slow client has not drawn yet."""
    async with with_a_person(SLOW=slow) as (term, person):
        just_before(term.pane, "press", typed(term, person, drawn=slow == "0"))
        outcome = await term.hand_over(envelope("a"), pace=PATIENT)
        assert (outcome.receipt, outcome.hold, outcome.typed, outcome.submits) == (None, Hold.DRAFT, True, 0), outcome
        await until(lambda: term.keys == ["x"])
        assert (term.pastes, term.said()) == ([envelope("a")], [])


async def test_a_key_before_a_repeated_enter_is_not_submitted() -> None:
    async with with_a_person(SWALLOW="1") as (term, person):
        original = term.pane.press

        async def press(*keys: str, **options: Any) -> None:
            await original(*keys, **options)
            just_before(term.pane, "press", typed(term, person, drawn=False))

        term.pane.press = press  # type: ignore[method-assign]
        outcome = await term.hand_over(envelope("a"), pace=PATIENT)
        assert (outcome.receipt, outcome.hold, outcome.submits) == (None, Hold.DRAFT, 1), outcome
        await until(lambda: term.keys == ["\r", "x"])
        assert term.said() == []


@pytest.mark.parametrize("action", ["paste", "press"])
async def test_a_dialog_between_the_last_look_and_the_keys_gets_none(action: str) -> None:
    async with terminal() as term:

        async def ask() -> None:
            os.kill(term.started.pane.pid, signal.SIGUSR1)
            await until(lambda: term.is_in(ScreenState.ASKS))

        just_before(term.pane, action, ask)
        outcome = await term.hand_over(envelope("a"))
        assert (outcome.receipt, outcome.hold) == (None, Hold.ASKS), outcome
        assert term.keys == []
        assert term.pastes == ([] if action == "paste" else [envelope("a")])


async def test_a_cursor_that_moved_before_enter_is_looked_at_again() -> None:
    async with terminal() as term:

        async def narrow() -> None:
            before = (await term.pane.capture()).cursor_y
            term.tmux("resize-window", "-x", "40")
            await term.pane.press("C-g")  # the client draws at a key
            await until(lambda: _cursor_left(term, before))
            await until(lambda: term.is_in(ScreenState.DRAFT))

        just_before(term.pane, "press", narrow)
        outcome = await term.hand_over(envelope("a"))
        assert (outcome.receipt, outcome.submits) == (Receipt.CONSUMED, 1), outcome
        assert term.said() == [envelope("a")]


async def test_a_cursor_that_moved_before_the_paste_is_looked_at_again() -> None:
    async with terminal(BUSY="2") as term:

        async def work_ends() -> None:
            before = (await term.pane.capture()).cursor_y
            await until(lambda: _cursor_left(term, before))

        term.takes_input_while_busy = True
        just_before(term.pane, "paste", work_ends)
        outcome = await term.hand_over(envelope("a"))
        assert (outcome.receipt, outcome.submits) == (Receipt.CONSUMED, 1), outcome
        assert (term.pastes, term.said()) == ([envelope("a")], [envelope("a")])


async def _cursor_left(term: Terminal, row: int) -> bool:
    return (await term.pane.capture()).cursor_y != row


async def test_a_key_pressed_before_the_clock_was_set_back_is_long_ago() -> None:
    async with with_a_person() as (term, person):
        await typed(term, person)()
        assert (await term.pane.look()).human_at is not None
        term.tmux("set-option", "-s", "@peerwake-now", str(int(CLOCK.wall()) - 3600))
        assert (await term.pane.look()).human_at is None


async def test_the_age_of_a_key_does_not_depend_on_the_clock_of_this_process() -> None:
    async with with_a_person() as (term, person):
        await typed(term, person)()
        for shift in (-7200.0, 7200.0):
            clock = _Shifted(shift)
            pane = Pane(term.control(), term.started.pane_id, clock)
            at = (await pane.look()).human_at
            assert at is not None and 0 <= clock.wall() - at < 30
            await pane.press("C-g")
            await pane.aclose()
        await until(lambda: term.keys.count("\x07") == 2)


class _Shifted(SystemClock):
    """A wall clock that is wrong by some seconds."""

    def __init__(self, by: float) -> None:
        self.by = by

    def wall(self) -> float:
        return super().wall() + self.by


@pytest.mark.parametrize("mode", ["copy-mode", "choose-tree", "choose-buffer", "choose-client", "clock-mode"])
async def test_a_mode_that_somebody_left_behind_is_ended(mode: str) -> None:
    async with terminal() as term:
        term.tmux("set-buffer", "something")
        await term.pane.capture()
        term.tmux(mode, "-t", term.started.pane_id)
        assert (await term.pane.capture()).in_mode
        assert (await term.hand_over(envelope("a"))).receipt is Receipt.CONSUMED
        assert term.keys == ["\r"]


async def test_who_reads_in_copy_mode_is_not_thrown_out() -> None:
    async with with_a_person() as (term, person):
        person.type("\x02[")
        await until(lambda: _is_in_mode(term))
        outcome = await term.hand_over(envelope("a"))
        assert (outcome.receipt, outcome.hold, outcome.typed) == (None, Hold.DRAFT, False), outcome
        assert (await term.pane.capture()).in_mode
        await until(lambda: _is_quiet(term))
        assert (await term.hand_over(envelope("a"))).receipt is Receipt.CONSUMED


async def _is_in_mode(term: Terminal) -> bool:
    return (await term.pane.capture()).in_mode
