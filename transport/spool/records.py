"""What the spool answers, and how a message is written to and read from its row."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from transport.identity import Identity
from transport.message import Message
from transport.spool.faults import SpoolError
from transport.vocabulary import Kind, MessageState, Stage

KEY_WINDOW_SECONDS: Final = 86_400.0
DROPPED: Final = "dropped"
AHEAD_SECONDS: Final = 3_600.0
"""A time so far in the future was written by a clock that has been set back since."""
BATCH: Final = 500
"""So many messages are given up, repeated or dropped in one transaction: other writers wait for no more."""


class SpoolCapped(SpoolError):
    """The recipient's queue is full; the sender repeats when it has drained."""

    code = "queue-full"


class HopLimitReached(SpoolError):
    """The chain of replies is too long; the sender stops replying."""

    code = "hop-limit"


class MessageUnknown(SpoolError):
    """No message has this id."""

    code = "no-such-message"


class MessageSettled(SpoolError):
    """The message stands where this cannot be done to it; nothing was changed."""

    code = "message-state"


class LeaseLost(MessageSettled):
    """The lease is not, or no longer, the caller's: it leaves the message alone."""

    code = "lease-lost"


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message on disk; `duplicate` is the first message of its key, `depth` counts those not settled."""

    message: Message
    duplicate: bool
    depth: int


@dataclass(frozen=True, slots=True)
class Lease:
    """A message handed out and not yet settled; `attempts` counts those before, `leased_at` is wall seconds.

    `was_typed`: it may have been typed, in this lease or in one before, also before it was queued again.
    """

    message: Message
    stage: Stage
    attempts: int
    fence: str
    leased_at: float
    was_typed: bool = False


@dataclass(frozen=True, slots=True)
class Buried:
    """A message given up, without its body, and the notice to its sender if one was due."""

    id: str
    sender: Identity
    recipient: Identity
    kind: Kind
    reason: str
    notice: Message | None


@dataclass(frozen=True, slots=True)
class QueueView:
    """The queue of one identity; `hold` is why its head was last put back, times are wall seconds.

    `not_before` is the time from which a waiting head can be handed out.
    """

    depth: int
    in_flight: str | None
    head_age_seconds: float | None
    last_receipt_at: float | None
    dead: int
    hold: str | None
    not_before: float | None = None


@dataclass(frozen=True, slots=True)
class Which:
    """Dead letters of some recipients (None: of all) that were given up at wall time `until` or before, or after
    `or_after`.
    """

    recipients: tuple[Identity, ...] | None
    until: float
    or_after: float = math.inf


class Letter(NamedTuple):
    """A dead or waiting message that an operator did something about; `reason` is why it stood there."""

    message_id: str
    sender: Identity
    recipient: Identity
    reason: str | None


@dataclass(frozen=True, slots=True)
class Handled:
    """What was done, in the order of acceptance, and what was refused with why."""

    done: tuple[Letter, ...]
    refused: tuple[tuple[str, SpoolError], ...] = ()


class Event(NamedTuple):
    """Something that happened to a message, at wall seconds; repetitions are counted in `detail`."""

    at: float
    event: str
    detail: str


@dataclass(frozen=True, slots=True)
class Record:
    """Everything known of one message; `reason` is why it waits, or the evidence or cause of its end."""

    message: Message
    state: MessageState
    stage: Stage | None
    attempts: int
    fence: str | None
    leased_at: float | None
    not_before: float
    reason: str | None
    settled_at: float | None
    events: tuple[Event, ...] = ()


Row = Sequence[Any]

_BEFORE: Final = "m.id, m.nonce, m.sender, m.recipient"
_AFTER: Final = (
    "m.topic, m.attachments, m.reply_to, m.idempotency_key, m.hops, m.accepted_at, m.kind, m.removed_controls"
)
_STATE: Final = "m.state, m.stage, m.attempts, m.fence, m.leased_at, m.not_before, m.reason, m.settled_at, m.seq"
MESSAGE: Final = f"{_BEFORE}, b.body, {_AFTER}"
MESSAGE_WIDTH: Final = 13
FROM: Final = "FROM messages AS m JOIN bodies AS b USING (seq)"
WAS_TYPED: Final = f"EXISTS (SELECT 1 FROM events AS e WHERE e.seq = m.seq AND e.event = '{Stage.PASTING}')"
"""Whether a hand-over of `m` ever came as far as the paste; an event outlives its lease."""
RECORD: Final = f"SELECT {MESSAGE}, {_STATE} {FROM}"
LISTED: Final = f"SELECT {_BEFORE}, '', {_AFTER}, {_STATE} FROM messages AS m"
"""The columns of `RECORD` without a body: those of ten thousand letters may be gigabytes."""


def to_message(row: Row) -> Message:
    """Return the message of a row that begins with the columns `MESSAGE`."""
    return Message(
        id=row[0],
        nonce=row[1],
        sender=to_identity(row[2]),
        recipient=to_identity(row[3]),
        body=row[4],
        topic=row[5],
        attachments=tuple(json.loads(row[6])) if row[6] else (),
        reply_to=row[7],
        idempotency_key=row[8],
        hops=row[9],
        accepted_at=row[10],
        kind=Kind(row[11]),
        removed_controls=row[12],
    )


def to_record(row: Row, events: tuple[Event, ...] = ()) -> Record:
    """Return the record of a row with the columns of `RECORD` or `LISTED`."""
    state, stage, attempts, fence, leased_at, not_before, reason, settled_at, _ = row[MESSAGE_WIDTH:]
    return Record(
        message=to_message(row),
        state=to_state(state),
        stage=Stage(stage) if stage else None,
        attempts=attempts,
        fence=fence,
        leased_at=leased_at,
        not_before=not_before,
        reason=reason,
        settled_at=settled_at,
        events=events,
    )


def to_identity(text: str) -> Identity:
    """Return the identity that was written as `text`."""
    runtime, _, personality = text.partition("-")
    return Identity(runtime, personality)


def to_state(text: str) -> MessageState:
    """Return the state of a row; a dropped message is a dead one that nobody lists any more."""
    return MessageState.DEAD if text == DROPPED else MessageState(text)


def from_attachments(paths: tuple[str, ...]) -> str | None:
    """Return the column for `paths`."""
    return json.dumps(paths) if paths else None
