"""What there is of a session, of all that its record and the kernel can say, and whom a renewal is for."""

from itertools import product

import pytest

from lifecycle.decide import Presence, Wish
from lifecycle.presence import presence_of, wish_of
from lifecycle.renewal import Renewal
from lifecycle.session import Session
from lifecycle.states import Mode
from transport.identity import Identity
from transport.process import ProcessId

SERVER, AGENT = ProcessId(7, "1"), ProcessId(8, "1")
RUNS, DEAD = True, False

# Of a record that nobody has begun to end: the tmux server, the agent.
OPEN = {
    (None, None): Presence.STARTING,
    (None, RUNS): Presence.STARTING,
    (None, DEAD): Presence.STARTING,
    (DEAD, None): Presence.SERVER_DEAD,
    (DEAD, RUNS): Presence.SERVER_DEAD,
    (DEAD, DEAD): Presence.SERVER_DEAD,
    (RUNS, None): Presence.ALIVE,
    (RUNS, RUNS): Presence.ALIVE,
    (RUNS, DEAD): Presence.SESSION_GONE,
}


def session(tmux: bool | None = RUNS, pane: bool | None = RUNS, *, is_closing: bool = False) -> Session:
    return Session(
        Identity("scripted", "alice"),
        *("here", "me", "/tmp", "f-1", 1.0, Mode.FRESH, "s-1"),
        tmux=None if tmux is None else SERVER,
        pane=None if pane is None else AGENT,
        is_closing=is_closing,
    )


@pytest.mark.parametrize(("tmux", "pane"), [*product((None, RUNS, DEAD), repeat=2)])
def test_what_a_record_and_the_kernel_say(tmux: bool | None, pane: bool | None) -> None:
    def is_alive(process: ProcessId) -> bool:
        return {SERVER: tmux, AGENT: pane}[process] is RUNS

    assert presence_of(session(tmux, pane), is_alive) is OPEN[tmux, pane]
    assert presence_of(session(tmux, pane, is_closing=True), is_alive) is Presence.CLOSING


def test_no_record_is_no_session() -> None:
    assert presence_of(None, lambda _: True) is Presence.NONE


def test_the_kernel_is_asked_of_no_more_than_decides() -> None:
    asked: list[ProcessId] = []
    for one in (None, session(is_closing=True), session(None), session(DEAD)):
        presence_of(one, lambda process: bool(asked.append(process)))
    assert asked == [SERVER]


@pytest.mark.parametrize(
    ("renewal", "is_there", "wish"),
    [
        (None, False, Wish.NONE),
        (None, True, Wish.NONE),
        (Renewal(None), False, Wish.NEXT),
        (Renewal(None), True, Wish.NEXT),
        (Renewal("f-1"), False, Wish.NEXT),
        (Renewal("f-1"), True, Wish.THIS),
        (Renewal("f-2"), True, Wish.NEXT),
        (Renewal("f-1", at_turn_end=True), False, Wish.NEXT),
        (Renewal("f-1", at_turn_end=True), True, Wish.AFTER_TURN),
        (Renewal("f-2", at_turn_end=True), True, Wish.NEXT),
        (Renewal(None, at_turn_end=True), True, Wish.NEXT),
    ],
)
def test_whom_a_renewal_is_for(renewal: Renewal | None, is_there: bool, wish: Wish) -> None:
    assert wish_of(renewal, session() if is_there else None) is wish
