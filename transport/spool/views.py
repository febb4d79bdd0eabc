"""Looking at the spool: every question is answered from an index and one snapshot."""

import sqlite3
from typing import Final

from transport.clock import iso
from transport.identity import Identity
from transport.spool.records import (
    FROM,
    LISTED,
    MESSAGE,
    MESSAGE_WIDTH,
    RECORD,
    WAS_TYPED,
    Event,
    Lease,
    QueueView,
    Record,
    Row,
    to_identity,
    to_message,
    to_record,
)
from transport.vocabulary import MessageState, Stage

_LEASE: Final = f"""
    SELECT {MESSAGE}, m.stage, m.attempts, m.fence, m.leased_at, {WAS_TYPED} {FROM} WHERE m.state = 'leased'
"""
_SENT: Final = """
    SELECT 1 FROM messages AS task CROSS JOIN messages AS sent
    ON sent.sender = task.recipient AND sent.seq > task.handed_after
        AND coalesce(sent.born, sent.seq) > task.handed_after
    WHERE task.id = ?
"""
_REPLIED: Final = f"""{_SENT}
    AND (sent.reply_to = task.id
        OR substr(sent.recipient, instr(sent.recipient, '-')) = substr(task.sender, instr(task.sender, '-')))
"""
_HEAD: Final = """
    SELECT id, queued_at, not_before, state, reason FROM messages
    WHERE recipient = ? AND state IN ('queued', 'leased') ORDER BY seq LIMIT 1
"""
_COUNTS: Final = "SELECT recipient, depth, dead, last_receipt_at FROM queues"
_IN_FLIGHT: Final = "SELECT id FROM messages WHERE recipient = ? AND state = 'leased'"
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
    row = db.execute(f"{_COUNTS} WHERE recipient = ?", (str(recipient),)).fetchone()
    return _view(db, row, now) if row else QueueView(0, None, None, None, 0, None)


def queues(db: sqlite3.Connection, now: float) -> dict[Identity, QueueView]:
    """Return every queue with messages or dead letters, as they stand at one moment."""
    rows = db.execute(f"{_COUNTS} WHERE depth > 0 OR dead > 0 ORDER BY recipient").fetchall()
    return {to_identity(row[0]): _view(db, row, now) for row in rows}


def _view(db: sqlite3.Connection, counts: Row, now: float) -> QueueView:
    recipient, depth, dead, last_receipt_at = counts
    head = db.execute(_HEAD, (recipient,)).fetchone() if depth else None
    lease = db.execute(_IN_FLIGHT, (recipient,)).fetchone() if depth else None
    return QueueView(
        depth=depth,
        in_flight=lease[0] if lease else None,
        head_age_seconds=max(now - head[1], 0.0) if head else None,
        last_receipt_at=last_receipt_at,
        dead=dead,
        hold=head[4] if head else None,
        not_before=head[2] if head and not lease else None,
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
    row = db.execute(f"{RECORD} WHERE m.id = ?", (message_id,)).fetchone()
    return to_record(row, _events(db, row)) if row else None


def dead(db: sqlite3.Connection, recipient: Identity | None, limit: int) -> list[Record]:
    """Return the newest dead letters of a recipient, or of all, without body and history."""
    where, values = ("", ()) if recipient is None else ("AND m.recipient = ?", (str(recipient),))
    rows = db.execute(f"{LISTED} WHERE m.state = 'dead' {where} ORDER BY m.seq DESC LIMIT ?", (*values, limit))
    return [to_record(row) for row in rows]


def sent_since(db: sqlite3.Connection, message_id: str) -> bool:
    """Return whether the recipient of a message has sent any since this one was last handed over."""
    return db.execute(f"{_SENT} LIMIT 1", (message_id,)).fetchone() is not None


def replied_since(db: sqlite3.Connection, message_id: str) -> bool:
    """Return whether one of these is a reply to it, or went to its sender in whatever runtime."""
    return db.execute(f"{_REPLIED} LIMIT 1", (message_id,)).fetchone() is not None


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
    stage, attempts, fence, leased_at, was_typed = row[MESSAGE_WIDTH:]
    return Lease(to_message(row), Stage(stage), attempts, fence, leased_at, bool(was_typed))
