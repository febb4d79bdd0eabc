"""Accepting many messages at once: what `accept.enqueue` does for each, in a few statements for all.

Each statement costs the interpreter's lock twice, and the event loop wants it too.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from transport.message import Message
from transport.spool.accept import COLUMNS, PLACES, columns, depth, first_of_key, full, in_its_chain
from transport.spool.faults import SpoolError
from transport.spool.records import Accepted

# The size of a statement is a power of two, so that there are few of them to keep prepared.
LARGEST: Final = 64
WORTHWHILE: Final = 8

_DEPTHS: Final = """
    SELECT json_group_object(recipient, depth) FROM queues
    WHERE recipient IN (SELECT value FROM json_each(?))
"""
_COUNT: Final = """
    INSERT INTO queues (recipient, depth) SELECT key, value FROM json_each(?) WHERE true
    ON CONFLICT (recipient) DO UPDATE SET depth = depth + excluded.depth
"""


class Asked(NamedTuple):
    """What `accept.enqueue` is asked for."""

    message: Message
    cap: int
    hop_limit: int


def enqueue_all(db: sqlite3.Connection, asked: Sequence[Asked]) -> list[Accepted | SpoolError]:
    """Return for each message what `enqueue` would return or raise, having written as much.

    Raises what SQLite raises of any of them; then the transaction must be rolled back.
    """
    outcomes: list[Accepted | SpoolError] = []
    for group in _apart(asked):
        outcomes += _Group(db, group).accept()
    return outcomes


def _apart(asked: Sequence[Asked]) -> Iterator[list[Asked]]:
    """Split where a message must see one before it in the table: its parent, or the first of its key."""
    group: list[Asked] = []
    seen: set[object] = set()
    for one in asked:
        message = one.message
        key = (message.sender, message.idempotency_key)
        if key in seen or message.reply_to in seen:
            yield group
            group, seen = [], set()
        group.append(one)
        seen.add(message.id)
        if message.idempotency_key is not None:
            seen.add(key)
    yield group


class _Group:
    """Messages none of which depends on another one's row."""

    def __init__(self, db: sqlite3.Connection, asked: Sequence[Asked]) -> None:
        self._db = db
        self._asked = asked
        self._rows: list[tuple[Message, str]] = []
        self._added: dict[str, int] = {}
        recipients = {str(one.message.recipient) for one in asked}
        self._depths: dict[str, int] = json.loads(db.execute(_DEPTHS, (json.dumps([*recipients]),)).fetchone()[0])

    def accept(self) -> list[Accepted | SpoolError]:
        outcomes = [self._outcome(one) for one in self._asked]
        if self._rows:
            self._write()
        return outcomes

    def _outcome(self, one: Asked) -> Accepted | SpoolError:
        try:
            if first := first_of_key(self._db, one.message):
                return Accepted(first, True, self._depth_now(str(first.recipient)))
            message = in_its_chain(self._db, one.message, one.hop_limit)
        except SpoolError as refusal:
            return refusal
        recipient = str(message.recipient)
        waiting = self._depths.get(recipient, 0)
        if waiting >= one.cap:
            return full(recipient, waiting, one.cap)
        self._depths[recipient] = waiting + 1
        self._added[recipient] = self._added.get(recipient, 0) + 1
        self._rows.append((message, recipient))
        return Accepted(message, False, waiting + 1)

    def _depth_now(self, recipient: str) -> int:
        if recipient in self._depths:
            return self._depths[recipient]
        return depth(self._db, recipient)

    def _write(self) -> None:
        self._db.execute(_COUNT, (json.dumps(self._added),))
        start = 0
        while start < len(self._rows):
            size = min(LARGEST, 1 << (len(self._rows) - start).bit_length() - 1)
            self._insert(self._rows[start : start + size])
            start += size

    def _insert(self, rows: Sequence[tuple[Message, str]]) -> None:
        values = [value for message, recipient in rows for value in columns(message, recipient)]
        places = ", ".join([PLACES] * len(rows))
        last = self._db.execute(f"INSERT INTO messages ({COLUMNS}) VALUES {places}", values).lastrowid or 0
        first = last - len(rows) + 1
        bodies = [value for seq, (message, _) in enumerate(rows, first) for value in (seq, message.body)]
        self._db.execute(f"INSERT INTO bodies (seq, body) VALUES {', '.join(['(?, ?)'] * len(rows))}", bodies)
