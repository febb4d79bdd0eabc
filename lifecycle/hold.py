"""Why a queue waits, and what such a reason says of the session it waits for: pure functions of what is known."""

from dataclasses import dataclass
from typing import assert_never

from lifecycle.board import Status
from lifecycle.decide import Activity
from transport.spool.records import QueueView
from transport.vocabulary import Hold


@dataclass(frozen=True, slots=True)
class Around:
    """What is known of an identity beside its queue; `refusal` is why nobody may wake it."""

    refusal: Hold | None
    is_supervised: bool
    is_ephemeral: bool
    is_live: bool


def why_it_waits(view: QueueView, status: Status, around: Around, now: float) -> Hold | None:
    """Return why a queue's head is not settled yet, None for an empty queue; the books go before the board."""
    if view.depth == 0:
        return None
    if around.refusal is not None:
        return around.refusal
    if not around.is_supervised:
        return Hold.NO_SUPERVISOR
    if view.not_before is not None and view.not_before > now:
        return Hold.BACKOFF
    if status.hold is not None and status.hold is not Hold.BACKOFF:
        return status.hold
    if around.is_ephemeral:
        return Hold.EPHEMERAL
    return Hold.HANDING_OVER if around.is_live or view.in_flight is not None else Hold.WAKING


def detail_of(hold: Hold | None, view: QueueView, status: Status) -> str | None:
    """Return what more is known of a hold: what the board says of it, or why the last attempt failed."""
    if hold is None:
        return None
    if hold is Hold.BACKOFF:
        return view.hold
    return status.detail if hold is status.hold else None


def activity_of(hold: Hold) -> Activity:
    """Return what the reason that holds a message back says of the session."""
    match hold:
        case Hold.BUSY:
            return Activity.BUSY
        case Hold.ASKS:
            return Activity.BLOCKED
        case Hold.DRAFT:
            return Activity.DRAFT
        case Hold.UNKNOWN | Hold.BLOCKED:
            return Activity.UNKNOWN
        case Hold.WAKING | Hold.HANDING_OVER | Hold.EPHEMERAL | Hold.BACKOFF:
            return Activity.ACTIVE
        case Hold.STOPPED | Hold.CRASH_LOOPING | Hold.NO_SUPERVISOR:
            return Activity.ACTIVE
        case _:
            assert_never(hold)
