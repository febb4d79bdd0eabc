"""Accepting a message: duplicates, hops, the cap, and its place at the tail."""

import dataclasses
import sqlite3
from typing import Final

from transport.identity import Identity
from transport.message import Message
from transport.spool.records import (
    FROM,
    KEY_WINDOW_SECONDS,
    MESSAGE,
    Accepted,
    HopLimitReached,
    SpoolCapped,
    from_attachments,
    to_message,
)

NO_CAP: Final = 2**62

_COUNT: Final = """
    INSERT INTO queues (recipient, depth) VALUES (?, 1)
    ON CONFLICT (recipient) DO UPDATE SET depth = depth + 1 WHERE depth < ? RETURNING depth
"""
COLUMNS: Final = """
    id, nonce, sender, recipient, topic, attachments, reply_to, idempotency_key,
    hops, accepted_at, kind, removed_controls, queued_at
"""
PLACES: Final = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT: Final = f"INSERT INTO messages ({COLUMNS}) VALUES {PLACES}"
_SAME_KEY: Final = f"""
    SELECT {MESSAGE} {FROM}
    WHERE m.sender = ? AND m.idempotency_key = ? AND m.accepted_at > ? ORDER BY m.seq DESC LIMIT 1
"""


def enqueue(db: sqlite3.Connection, message: Message, cap: int, hop_limit: int) -> Accepted:
    """Put a message at the tail of its recipient's queue, or return the first one of its key.

    Raises SpoolCapped when `cap` messages wait already, HopLimitReached when it answers a chain of
    `hop_limit` messages; both before anything is written.
    """
    if first := first_of_key(db, message):
        return Accepted(first, True, depth(db, str(first.recipient)))
    message = in_its_chain(db, message, hop_limit)
    return Accepted(message, False, insert(db, message, cap))


def insert(db: sqlite3.Connection, message: Message, cap: int = NO_CAP) -> int:
    """Write a message to the tail of its recipient's queue and return the depth.

    Raises SpoolCapped before anything is written.
    """
    recipient = str(message.recipient)
    counted = db.execute(_COUNT, (recipient, cap)).fetchone() if cap > 0 else None
    if counted is None:
        raise full(recipient, depth(db, recipient), cap)
    written = db.execute(_INSERT, columns(message, recipient))
    db.execute("INSERT INTO bodies (seq, body) VALUES (?, ?)", (written.lastrowid, message.body))
    return int(counted[0])


def columns(message: Message, recipient: str) -> tuple[object, ...]:
    """Return the values of `COLUMNS`."""
    return (
        message.id,
        message.nonce,
        str(message.sender),
        recipient,
        message.topic,
        from_attachments(message.attachments),
        message.reply_to,
        message.idempotency_key,
        message.hops,
        message.accepted_at,
        message.kind.value,
        message.removed_controls,
        message.accepted_at,
    )


def full(recipient: str, waiting: int, cap: int) -> SpoolCapped:
    """Return the refusal of a message to a queue that holds `waiting` already."""
    return SpoolCapped(
        f"the queue of {recipient} holds {waiting:,} messages, its limit is {cap:,};"
        " wait until it has drained, then send again"
    )


def depth(db: sqlite3.Connection, recipient: str) -> int:
    """Return how many messages to `recipient` are not settled."""
    row = db.execute("SELECT depth FROM queues WHERE recipient = ?", (recipient,)).fetchone()
    return row[0] if row else 0


def first_of_key(db: sqlite3.Connection, message: Message) -> Message | None:
    """Return the message that this one repeats, None when it has no key or is the first of it."""
    if message.idempotency_key is None:
        return None
    return _under(db, message.sender, message.idempotency_key, message.accepted_at)


def repeated(db: sqlite3.Connection, sender: Identity, key: str, now: float) -> Accepted | None:
    """Return the message of a sender that was accepted under this key in the 24 h before `now`."""
    first = _under(db, sender, key, now)
    return None if first is None else Accepted(first, True, depth(db, str(first.recipient)))


def _under(db: sqlite3.Connection, sender: Identity, key: str, now: float) -> Message | None:
    row = db.execute(_SAME_KEY, (str(sender), key, now - KEY_WINDOW_SECONDS)).fetchone()
    return to_message(row) if row else None


def in_its_chain(db: sqlite3.Connection, message: Message, hop_limit: int) -> Message:
    """Return the message with the hops of the chain it goes on; raises HopLimitReached."""
    if message.reply_to is not None:
        parent = db.execute("SELECT hops FROM messages WHERE id = ?", (message.reply_to,)).fetchone()
        message = dataclasses.replace(message, hops=parent[0] + 1) if parent else message
    if message.hops > hop_limit:
        raise HopLimitReached(
            f"this would be reply {message.hops} in one chain, the limit is {hop_limit};"
            " stop answering, or start anew without reply_to"
        )
    return message
