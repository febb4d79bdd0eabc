"""Keeping the tables small, and following a peer that got another name or is no more."""

import json
import os
import sqlite3
from typing import Final

from transport.identity import GONE, Identity
from transport.spool.records import BATCH, KEY_WINDOW_SECONDS, Buried, MessageSettled, Row, to_identity
from transport.spool.settle import bury, note

PURGE_ROWS: Final = 500

_PURGEABLE: Final = """
    SELECT seq, id, recipient FROM messages
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
_QUEUES: Final = "SELECT recipient FROM queues WHERE substr(recipient, instr(recipient, '-') + 1) = ?"
_SENDERS: Final = "SELECT DISTINCT sender FROM messages WHERE substr(sender, instr(sender, '-') + 1) = ?"
_ATTACHED: Final = """
    SELECT seq, attachments FROM messages
    WHERE attachments IS NOT NULL AND state IN ('queued', 'leased', 'dead')
"""


def purge(db: sqlite3.Connection, older_than: float, now: float) -> int:
    """Delete up to 500 messages consumed or dropped before wall time `older_than`; return how many.

    Dead letters stay until they are retried or dropped. A message with an idempotency key stays for
    the 24 h in which the key counts.
    """
    rows = [(seq,) for seq, _, _ in _purgeable(db, older_than, now)]
    for table in ("events", "bodies", "messages"):
        db.executemany(f"DELETE FROM {table} WHERE seq = ?", rows)
    return len(rows)


def purgeable(db: sqlite3.Connection, older_than: float, now: float) -> list[tuple[str, Identity]]:
    """Return the ids and recipients of the messages that `purge` would delete next."""
    return [(message_id, to_identity(recipient)) for _, message_id, recipient in _purgeable(db, older_than, now)]


def _purgeable(db: sqlite3.Connection, older_than: float, now: float) -> list[Row]:
    return db.execute(_PURGEABLE, (older_than, now - KEY_WINDOW_SECONDS, PURGE_ROWS)).fetchall()


def rename(db: sqlite3.Connection, old: str, new: str, now: float, moved: tuple[str, str] | None = None) -> int:
    """Move a peer's waiting messages and dead letters to another name, in their order; return how many.

    What the peer sent counts as sent under the new name. `moved` is its directory before and after: files
    there that are attached to any message not yet read go with it. Raises MessageSettled while one of its
    messages is being delivered.
    """
    _refuse_leased(db, old)
    count = 0
    for (recipient,) in db.execute(_QUEUES, (old,)).fetchall():
        count += _readdress(db, recipient, _under(recipient, new), now)
    for sender in senders(db, old):
        db.execute("UPDATE messages SET sender = ? WHERE sender = ?", (_under(sender, new), sender))
    if moved is not None:
        _move_attachments(db, *moved)
    return count


def bury_some(db: sqlite3.Connection, name: str, reason: str, now: float) -> list[Buried]:
    """Make dead letters of up to 500 messages that wait for a peer, leased or not, with notices to their senders."""
    found: list[Buried] = []
    for (recipient,) in db.execute(_QUEUES, (name,)).fetchall():
        rows = db.execute(
            "SELECT id FROM messages WHERE recipient = ? AND state IN ('queued', 'leased') ORDER BY seq LIMIT ?",
            (recipient, BATCH - len(found)),
        )
        found += [bury(db, message_id, reason, now) for (message_id,) in rows.fetchall()]
    return found


def senders(db: sqlite3.Connection, name: str) -> list[str]:
    """Return the identities under which a peer has sent any message that is still kept."""
    return [sender for (sender,) in db.execute(_SENDERS, (name,))]


def disown_some(db: sqlite3.Connection, sender: str) -> list[int]:
    """Write to up to 500 messages that their sender was removed; return which.

    No later peer of the name is their sender: neither their keys nor their notices nor their histories are its own.
    """
    rows = db.execute("SELECT seq FROM messages WHERE sender = ? LIMIT ?", (sender, BATCH)).fetchall()
    db.executemany("UPDATE messages SET sender = ? WHERE seq = ?", [(sender + GONE, seq) for (seq,) in rows])
    return [seq for (seq,) in rows]


def _refuse_leased(db: sqlite3.Connection, name: str) -> None:
    for (recipient,) in db.execute(_QUEUES, (name,)).fetchall():
        lease = db.execute("SELECT id FROM messages WHERE recipient = ? AND state = 'leased'", (recipient,)).fetchone()
        if lease:
            raise MessageSettled(f"{lease[0]} is being delivered to {recipient}; wait until it is settled, then repeat")


def _readdress(db: sqlite3.Connection, old: str, new: str, now: float) -> int:
    where = "recipient = ? AND state IN ('queued', 'dead')"
    rows = db.execute(f"SELECT seq FROM messages WHERE {where}", (old,)).fetchall()
    for (seq,) in rows:
        note(db, seq, "renamed", f"{old} is now {new}", now)
    db.execute(f"UPDATE messages SET recipient = ? WHERE {where}", (new, old))
    for recipient in (old, new):
        db.execute(_COUNT, (recipient,))
    return len(rows)


def _move_attachments(db: sqlite3.Connection, old: str, new: str) -> None:
    rows = db.execute(_ATTACHED).fetchall()
    for seq, attachments in rows:
        paths = json.loads(attachments)
        kept = [new + path[len(old) :] if path.startswith(f"{old}{os.sep}") else path for path in paths]
        if kept != paths:
            db.execute("UPDATE messages SET attachments = ? WHERE seq = ?", (json.dumps(kept), seq))


def _under(identity: str, name: str) -> str:
    return f"{identity.partition('-')[0]}-{name}"
