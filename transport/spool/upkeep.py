"""Keeping the tables small, and following a peer that got another name."""

import sqlite3
from typing import Final

from transport.identity import Identity
from transport.spool.records import KEY_WINDOW_SECONDS, MessageSettled
from transport.spool.settle import note

PURGE_ROWS: Final = 500

_PURGEABLE: Final = """
    SELECT seq FROM messages
    WHERE state IN ('consumed', 'dropped') AND settled_at < ?
        AND (idempotency_key IS NULL OR accepted_at < ?)
    ORDER BY settled_at LIMIT ?
"""
_COUNT: Final = """
    INSERT INTO queues (recipient, depth, dead)
    SELECT ?1,
        (SELECT count(*) FROM messages WHERE recipient = ?1 AND state IN ('queued', 'leased')),
        (SELECT count(*) FROM messages WHERE recipient = ?1 AND state = 'dead')
    WHERE TRUE
    ON CONFLICT (recipient) DO UPDATE SET depth = excluded.depth, dead = excluded.dead
"""


def purge(db: sqlite3.Connection, older_than: float, now: float) -> int:
    """Delete up to 500 messages consumed or dropped before wall time `older_than`; return how many.

    Dead letters stay until they are retried or dropped. A message with an idempotency key stays for
    the 24 h in which the key counts.
    """
    rows = db.execute(_PURGEABLE, (older_than, now - KEY_WINDOW_SECONDS, PURGE_ROWS)).fetchall()
    for table in ("events", "bodies", "messages"):
        db.executemany(f"DELETE FROM {table} WHERE seq = ?", rows)
    return len(rows)


def rename(db: sqlite3.Connection, old: Identity, new: Identity, now: float) -> int:
    """Move waiting messages and dead letters to another identity, in their order; return how many.

    What the old identity sent counts as sent by the new one. Raises MessageSettled while one of the
    messages is being delivered.
    """
    lease = db.execute("SELECT id FROM messages WHERE recipient = ? AND state = 'leased'", (str(old),)).fetchone()
    if lease:
        raise MessageSettled(f"{lease[0]} is being delivered to {old}; wait until it is settled, then repeat")
    where = "recipient = ? AND state IN ('queued', 'dead')"
    rows = db.execute(f"SELECT seq FROM messages WHERE {where}", (str(old),)).fetchall()
    for (seq,) in rows:
        note(db, seq, "renamed", f"{old} is now {new}", now)
    db.execute(f"UPDATE messages SET recipient = ? WHERE {where}", (str(new), str(old)))
    db.execute("UPDATE messages SET sender = ? WHERE sender = ?", (str(new), str(old)))
    for identity in (old, new):
        db.execute(_COUNT, (str(identity),))
    return len(rows)
