"""Looking at the spool: every question is answered from an index and one snapshot."""

import sqlite3
from typing import Final

from transport.clock import iso
from transport.identity import Identity
from transport.spool.records import (
    FROM,
    MESSAGE,
    MESSAGE_WIDTH,
    Event,
    Lease,
    QueueView,
    Record,
    Row,
    to_identity,
    to_message,
    to_state,
)
from transport.vocabulary import MessageState, Stage

_LEASE: Final = f"SELECT {MESSAGE}, m.stage, m.attempts, m.fence, m.leased_at {FROM} WHERE m.state = 'leased'"
_RECORD: Final = f"""
    SELECT {MESSAGE}, m.state, m.stage, m.attempts, m.fence, m.leased_at, m.not_before, m.reason,
        m.settled_at, m.seq {FROM}
"""
_SENT_SINCE: Final = """
    SELECT EXISTS (
        SELECT 1 FROM messages AS task JOIN events USING (seq)
        JOIN messages AS sent ON sent.seq > task.seq AND sent.sender = task.recipient
        WHERE task.id = ? AND events.event = 'pasting' AND sent.accepted_at >= events.last_at
    )
"""
_HEAD: Final = """
    SELECT id, queued_at, not_before, state, reason FROM messages
    WHERE recipient = ? AND state IN ('queued', 'leased') ORDER BY seq LIMIT 1
"""
_HEAD_TOPIC: Final = """
    SELECT topic FROM messages WHERE recipient = ? AND state IN ('queued', 'leased') ORDER BY seq LIMIT 1
"""


def leased(db: sqlite3.Connection, recipient: Identity) -> Lease | None:
    """Return the lease of a recipient, None when it has none."""
    row = db.execute(f"{_LEASE} AND m.recipient = ?", (str(recipient),)).fetchone()
    return _to_lease(row) if row else None


def all_leased(db: sqlite3.Connection) -> list[Lease]:
    """Return every lease, oldest message first."""
    return sorted(map(_to_lease, db.execute(_LEASE)), key=lambda lease: lease.message.accepted_at)


def waiting(db: sqlite3.Connection) -> dict[Identity, int]:
    """Return how many messages are not settled, for each recipient that has any."""
    return {
        to_identity(name): depth for name, depth in db.execute("SELECT recipient, depth FROM queues WHERE depth > 0")
    }


def depth(db: sqlite3.Connection, recipient: Identity) -> int:
    """Return how many messages to a recipient are not settled."""
    row = db.execute("SELECT depth FROM queues WHERE recipient = ?", (str(recipient),)).fetchone()
    return row[0] if row else 0


def queue(db: sqlite3.Connection, recipient: Identity, now: float) -> QueueView:
    """Return the queue of one identity at wall time `now`."""
    name = str(recipient)
    counts = db.execute("SELECT depth, dead, last_receipt_at FROM queues WHERE recipient = ?", (name,)).fetchone()
    if counts is None:
        return QueueView(0, None, None, None, 0, None)
    head = db.execute(_HEAD, (name,)).fetchone()
    return QueueView(
        depth=counts[0],
        in_flight=head[0] if head and head[3] == MessageState.LEASED else None,
        head_age_seconds=max(now - head[1], 0.0) if head else None,
        last_receipt_at=counts[2],
        dead=counts[1],
        hold=head[4] if head else None,
    )


def next_due(db: sqlite3.Connection, recipient: Identity) -> float | None:
    """Return the wall time from which the head can be leased; None when there is none or it is leased."""
    head = db.execute(_HEAD, (str(recipient),)).fetchone()
    return head[2] if head and head[3] == MessageState.QUEUED else None


def head_topic(db: sqlite3.Connection, recipient: Identity) -> str | None:
    """Return the topic of the first message to a recipient that is not settled, None when it has none."""
    row = db.execute(_HEAD_TOPIC, (str(recipient),)).fetchone()
    return row[0] if row else None


def message(db: sqlite3.Connection, message_id: str) -> Record | None:
    """Return everything known of a message with its history, None when no message has this id."""
    row = db.execute(f"{_RECORD} WHERE m.id = ?", (message_id,)).fetchone()
    return _to_record(row, _events(db, row)) if row else None


def dead(db: sqlite3.Connection, recipient: Identity | None, limit: int) -> list[Record]:
    """Return the newest dead letters of a recipient, or of all, without their history."""
    where, values = ("", ()) if recipient is None else ("AND m.recipient = ?", (str(recipient),))
    rows = db.execute(f"{_RECORD} WHERE m.state = 'dead' {where} ORDER BY m.seq DESC LIMIT ?", (*values, limit))
    return [_to_record(row) for row in rows]


def sent_since(db: sqlite3.Connection, message_id: str) -> bool:
    """Return whether the recipient of a message has sent any since this one was last handed over."""
    return bool(db.execute(_SENT_SINCE, (message_id,)).fetchone()[0])


def data_version(db: sqlite3.Connection) -> int:
    """Return a number that changes when another connection, of any process, has committed."""
    return int(db.execute("PRAGMA data_version").fetchone()[0])


def _events(db: sqlite3.Connection, row: Row) -> tuple[Event, ...]:
    rows = db.execute("SELECT at, event, detail, times, last_at FROM events WHERE seq = ? ORDER BY number", (row[-1],))
    history = [Event(at, event, _repeated(detail, times, last)) for at, event, detail, times, last in rows]
    return (Event(row[10], "accepted", ""), *history)


def _repeated(detail: str, times: int, last_at: float) -> str:
    return detail if times == 1 else f"{detail} ({times} times, last at {iso(last_at)})".lstrip()


def _to_lease(row: Row) -> Lease:
    stage, attempts, fence, leased_at = row[MESSAGE_WIDTH:]
    return Lease(to_message(row), Stage(stage), attempts, fence, leased_at)


def _to_record(row: Row, events: tuple[Event, ...] = ()) -> Record:
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
