"""When something may be typed, according to the screen, the client and the people at it."""

from dataclasses import replace

import pytest

from tests.terminal import Person, Terminal, envelope, terminal, until
from transport.clock import SystemClock
from transport.gate import gate
from transport.vocabulary import Hold, ScreenState

pytestmark = pytest.mark.live


@pytest.mark.parametrize(
    ("said", "hold"),
    [
        (None, None),
        (ScreenState.READY, None),
        (ScreenState.BUSY, Hold.BUSY),
        (ScreenState.ASKS, Hold.ASKS),
        (ScreenState.UNKNOWN, Hold.UNKNOWN),
    ],
)
async def test_the_clients_own_word_holds_a_message(said: ScreenState | None, hold: Hold | None) -> None:
    async def status() -> ScreenState | None:
        return said

    async with terminal() as term:
        target = replace(term.target, status=status)
        assert (await gate(target, SystemClock())).hold is hold
    async with terminal(DRAFT="mine") as term:
        target = replace(term.target, status=status)
        assert (await gate(target, SystemClock())).hold is not None


async def test_ready_according_to_the_client_does_not_overrule_the_screen() -> None:
    async def status() -> ScreenState | None:
        return ScreenState.READY

    async with terminal(DIALOG="Do you want to proceed?") as term:
        assert (await gate(replace(term.target, status=status), SystemClock())).hold is Hold.ASKS


async def test_a_person_who_types_holds_a_message() -> None:
    async with terminal() as term:
        person = Person(term)
        try:
            await until(lambda: len(term.tmux("list-clients").splitlines()) == 2)
            person.type("x\r")
            await until(lambda: term.keys == ["x", "\r"])
            outcome = await term.hand_over(envelope("x"))
            assert (outcome.hold, outcome.typed) == (Hold.DRAFT, False)
            quiet = replace(term.target, human_quiet_seconds=0.0)
            assert (await gate(quiet, SystemClock())).hold is None
        finally:
            person.leave()


async def test_a_window_too_small_for_the_composer_holds_a_message() -> None:
    async with terminal() as term:
        term.tmux("resize-window", "-x", "12", "-y", "3")
        await until(lambda: held(term))


async def held(term: Terminal) -> bool:
    return (await gate(term.target, SystemClock())).hold is Hold.UNKNOWN
