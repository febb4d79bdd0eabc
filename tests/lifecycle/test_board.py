"""Statuses and those who wait for them."""

import anyio

from lifecycle.board import IDLE, Board
from transport.identity import Identity
from transport.vocabulary import Hold, MessageState

ALICE, BOB = Identity("scripted", "alice"), Identity("scripted", "bob")


def test_a_status_that_says_nothing_is_forgotten() -> None:
    board = Board()
    board.update(ALICE, hold=Hold.BUSY, detail="x")
    assert board.status(ALICE).hold is Hold.BUSY
    assert board.status(BOB) == IDLE
    board.clear(ALICE)
    assert board.status(ALICE) == IDLE
    assert board._status == {}


async def test_news_wakes_those_who_wait_for_this_identity_only() -> None:
    board = Board()
    with board.watch("m_1", ALICE) as alice, board.watch("m_2", BOB) as bob:
        before, others = alice.changed, bob.changed
        board.update(ALICE, hold=Hold.BUSY)
        assert before.is_set() and not others.is_set()
        again = alice.changed
        board.update(ALICE, hold=Hold.BUSY)
        assert not again.is_set()
    assert board._watches == {}


async def test_an_outcome_reaches_every_watch_of_its_message() -> None:
    board = Board()
    with board.watch("m_1", ALICE) as one, board.watch("m_1", ALICE) as two, board.watch("m_2", ALICE) as other:
        board.woke(ALICE)
        board.settle(ALICE, "m_1", MessageState.CONSUMED, None)
        assert (one.outcome, two.outcome, other.outcome) == (MessageState.CONSUMED, MessageState.CONSUMED, None)
        assert one.woke and other.woke


async def test_a_waiter_misses_no_news_between_two_looks() -> None:
    board, seen = Board(), []
    with board.watch("m_1", ALICE) as watch:

        async def wait() -> None:
            while watch.outcome is None:
                changed = watch.changed
                seen.append(board.status(ALICE).hold)
                await changed.wait()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            for hold in (Hold.WAKING, Hold.BUSY):
                await anyio.lowlevel.checkpoint()
                board.update(ALICE, hold=hold)
            board.settle(ALICE, "m_1", MessageState.DEAD, "why")
    assert seen[0] is None
    assert (watch.outcome, watch.reason) == (MessageState.DEAD, "why")


def test_a_listener_hears_of_its_own_sender_until_it_leaves() -> None:
    board, heard = Board(), []
    with board.on_send(ALICE, lambda: heard.append(1)):
        board.sent(ALICE)
        board.sent(BOB)
    board.sent(ALICE)
    assert heard == [1]
