"""Dead letters, one or thousands: listed by peer and age, queued again or dropped, each in its own right."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from transport.spool import settle
from transport.spool.faults import SpoolError
from transport.spool.records import (
    BATCH,
    LISTED,
    Handled,
    Letter,
    MessageSettled,
    MessageUnknown,
    Record,
    Which,
    to_identity,
    to_record,
)
from transport.vocabulary import MessageState

Verb = Callable[[sqlite3.Connection, str, float], object]


def listed(db: sqlite3.Connection, which: Which, limit: int) -> tuple[list[Record], int]:
    """Return the newest of these dead letters without body and history, and how many there are in all."""
    where, values = _where(which)
    rows = db.execute(f"{LISTED} WHERE {where} ORDER BY m.settled_at DESC, m.seq DESC LIMIT ?", (*values, limit))
    (total,) = db.execute(f"SELECT count(*) FROM messages AS m WHERE {where}", values).fetchone()
    return [to_record(row) for row in rows], total


def retry_these(db: sqlite3.Connection, message_ids: Sequence[str], now: float) -> Handled:
    """Put dead letters to the tails of their queues, in the order of their acceptance; the others are refused."""
    return _handle(db, settle.retry, message_ids, now)


def drop_these(db: sqlite3.Connection, message_ids: Sequence[str], now: float) -> Handled:
    """Remove dead letters and waiting messages for good; the others are refused."""
    return _handle(db, settle.drop, message_ids, now)


def retry_some(db: sqlite3.Connection, which: Which, now: float) -> tuple[Letter, ...]:
    """Queue up to 500 of these dead letters again, those accepted first first; return which."""
    return _handle(db, settle.retry, _oldest(db, which), now).done


def drop_some(db: sqlite3.Connection, which: Which, now: float) -> tuple[Letter, ...]:
    """Remove up to 500 of these dead letters for good; return which."""
    return _handle(db, settle.drop, _oldest(db, which), now).done


def _oldest(db: sqlite3.Connection, which: Which) -> list[str]:
    where, values = _where(which)
    oldest = f"SELECT m.id FROM messages AS m WHERE {where} ORDER BY m.accepted_at, m.id LIMIT ?"
    return [message_id for (message_id,) in db.execute(oldest, (*values, BATCH))]


def _handle(db: sqlite3.Connection, verb: Verb, message_ids: Sequence[str], now: float) -> Handled:
    done: list[Letter] = []
    refused: list[tuple[str, SpoolError]] = []
    for message_id in _in_order(db, message_ids):
        row = db.execute("SELECT sender, recipient, reason FROM messages WHERE id = ?", (message_id,)).fetchone()
        try:
            verb(db, message_id, now)
        except (MessageSettled, MessageUnknown) as error:
            refused.append((message_id, error))
        else:
            done.append(Letter(message_id, to_identity(row[0]), to_identity(row[1]), row[2]))
    return Handled(tuple(done), tuple(refused))


def _in_order(db: sqlite3.Connection, message_ids: Sequence[str]) -> list[str]:
    """Return the ids, each once, in the order of acceptance; unknown ones come last."""
    known: dict[str, tuple[float, str]] = {}
    for message_id in message_ids:
        row = db.execute("SELECT accepted_at, id FROM messages WHERE id = ?", (message_id,)).fetchone()
        known[message_id] = row or (float("inf"), message_id)
    return sorted(known, key=known.__getitem__)


def _where(which: Which) -> tuple[str, tuple[Any, ...]]:
    where = f"m.state = '{MessageState.DEAD.value}' AND (m.settled_at <= ? OR m.settled_at > ?)"
    values: tuple[Any, ...] = (which.until, which.or_after)
    if which.recipients is None:
        return where, values
    names = tuple(str(identity) for identity in which.recipients)
    return f"{where} AND m.recipient IN ({', '.join('?' * len(names))})", (*values, *names)
