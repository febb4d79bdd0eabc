"""Why a queue waits, of all that may be so at once, and what each reason says of a session."""

from itertools import product

import pytest

from lifecycle.board import Status
from lifecycle.decide import Activity
from lifecycle.hold import Around, activity_of, detail_of, why_it_waits
from transport.spool.records import QueueView
from transport.vocabulary import Hold

NOW = 1_000.0
EMPTY = QueueView(0, None, None, None, 0, None)
WAITING = QueueView(2, None, 5.0, None, 0, None, 0.0)
BACKING_OFF = QueueView(2, None, 5.0, None, 0, "no receipt", NOW + 1)
DUE = QueueView(2, None, 5.0, None, 0, "no receipt", NOW)
IN_HAND = QueueView(2, "m_1", 5.0, None, 0, None)


@pytest.mark.parametrize(
    ("view", "held", "around", "expected"),
    [
        (EMPTY, Hold.BUSY, Around(Hold.STOPPED, False, True, True), None),
        (WAITING, Hold.BUSY, Around(Hold.STOPPED, False, True, True), Hold.STOPPED),
        (WAITING, None, Around(Hold.CRASH_LOOPING, True, False, False), Hold.CRASH_LOOPING),
        (WAITING, Hold.BUSY, Around(None, False, False, True), Hold.NO_SUPERVISOR),
        (BACKING_OFF, Hold.EPHEMERAL, Around(None, True, True, False), Hold.BACKOFF),
        (DUE, None, Around(None, True, False, False), Hold.WAKING),
        (WAITING, Hold.BACKOFF, Around(None, True, True, False), Hold.EPHEMERAL),
        (WAITING, Hold.BACKOFF, Around(None, True, False, False), Hold.WAKING),
        (IN_HAND, Hold.BACKOFF, Around(None, True, False, False), Hold.HANDING_OVER),
        (WAITING, None, Around(None, True, False, True), Hold.HANDING_OVER),
        (IN_HAND, Hold.ASKS, Around(None, True, True, True), Hold.ASKS),
        (IN_HAND, None, Around(None, True, True, True), Hold.EPHEMERAL),
    ],
)
def test_why_a_queue_waits(view: QueueView, held: Hold | None, around: Around, expected: Hold | None) -> None:
    assert why_it_waits(view, Status(hold=held), around, NOW) is expected


def test_a_reason_is_given_exactly_while_something_waits_and_the_books_go_first() -> None:
    for view, held, refusal, *facts in product(
        (EMPTY, WAITING, BACKING_OFF, DUE, IN_HAND), (None, *Hold), (None, Hold.STOPPED), *[(False, True)] * 3
    ):
        hold = why_it_waits(view, Status(hold=held), Around(refusal, *facts), NOW)
        assert (hold is None) == (view.depth == 0)
        assert hold is not Hold.BACKOFF or view is BACKING_OFF
        assert view.depth == 0 or refusal is None or hold is refusal


@pytest.mark.parametrize(
    ("hold", "view", "status", "detail"),
    [
        (None, EMPTY, Status(Hold.DRAFT, "half a line"), None),
        (Hold.BACKOFF, BACKING_OFF, Status(Hold.BACKOFF, "of the board"), "no receipt"),
        (Hold.BACKOFF, WAITING, Status(), None),
        (Hold.DRAFT, WAITING, Status(Hold.DRAFT, "half a line"), "half a line"),
        (Hold.DRAFT, WAITING, Status(Hold.DRAFT), None),
        (Hold.STOPPED, WAITING, Status(Hold.DRAFT, "half a line"), None),
        (Hold.WAKING, WAITING, Status(), None),
    ],
)
def test_what_the_board_or_the_books_know_of_a_reason_is_told(
    hold: Hold | None, view: QueueView, status: Status, detail: str | None
) -> None:
    assert detail_of(hold, view, status) == detail


SAYS = {
    Hold.BUSY: Activity.BUSY,
    Hold.ASKS: Activity.BLOCKED,
    Hold.DRAFT: Activity.DRAFT,
    Hold.UNKNOWN: Activity.UNKNOWN,
    Hold.BLOCKED: Activity.UNKNOWN,
    Hold.WAKING: Activity.ACTIVE,
    Hold.HANDING_OVER: Activity.ACTIVE,
    Hold.EPHEMERAL: Activity.ACTIVE,
    Hold.BACKOFF: Activity.ACTIVE,
    Hold.STOPPED: Activity.ACTIVE,
    Hold.CRASH_LOOPING: Activity.ACTIVE,
    Hold.NO_SUPERVISOR: Activity.ACTIVE,
}


@pytest.mark.parametrize("hold", Hold)
def test_what_each_reason_says_of_a_session_and_none_that_it_is_quiet(hold: Hold) -> None:
    assert activity_of(hold) is SAYS[hold]
    assert SAYS[hold] not in (Activity.QUIET, Activity.IDLE)
