"""What happens to an accepted message: leased, handed over step by step, settled. Check, then write."""

import sqlite3
from dataclasses import replace
from typing import Final

from transport.identity import OPERATOR, SYSTEM, Identity
from transport.message import Draft, accept, notice_text
from transport.spool.accept import insert
from transport.spool.records import (
    AHEAD_SECONDS,
    BATCH,
    DROPPED,
    FROM,
    MESSAGE,
    MESSAGE_WIDTH,
    WAS_TYPED,
    Buried,
    Lease,
    LeaseLost,
    MessageSettled,
    MessageUnknown,
    Row,
    to_identity,
    to_message,
)
from transport.vocabulary import Kind, MessageState, Stage

EVENT_DETAIL: Final = 500

_HEAD = """
    SELECT seq, state, not_before FROM messages
    WHERE recipient = ? AND state IN ('queued', 'leased') ORDER BY seq LIMIT 1
"""
_OPEN = """
    SELECT seq, queued_at, state FROM messages WHERE recipient = ? AND state IN ('queued', 'leased') ORDER BY seq
"""
_PUT_BACK = "SELECT max(last_at) FROM events WHERE seq = ? AND event = 'attempted'"
_PARTIES = "SELECT id, sender, recipient, kind, topic FROM messages WHERE seq = ?"
_LEASE = """
    UPDATE messages SET state = 'leased', stage = 'held', fence = ?, leased_at = ?
    WHERE seq = ? AND NOT EXISTS (SELECT 1 FROM messages WHERE recipient = ? AND state = 'leased')
"""
_STAGE = "UPDATE messages SET stage = ? WHERE seq = ?"
_HAND_OVER = "UPDATE messages SET stage = ?, handed_after = (SELECT max(seq) FROM messages) WHERE seq = ?"
_RELEASE = """
    UPDATE messages SET state = 'queued', stage = NULL, fence = NULL, leased_at = NULL,
        reason = ?, not_before = ?, attempts = attempts + ? WHERE seq = ?
"""
_SETTLE = """
    UPDATE messages SET state = ?, stage = NULL, reason = ?, settled_at = ? WHERE seq = ?
"""
_EVENT = """
    INSERT INTO events (seq, event, detail, at, last_at, number)
    VALUES (?1, ?2, ?3, ?4, ?4, (SELECT count(*) FROM events WHERE seq = ?1))
    ON CONFLICT DO UPDATE SET times = times + 1, last_at = excluded.last_at
"""


def lease(db: sqlite3.Connection, recipient: Identity, fence: str, now: float) -> Lease | None:
    """Lease the head of a queue; None when it is empty, its head must wait, or one is leased already.

    A head that was put back later than now must not wait: the clock was set back since.
    """
    name = str(recipient)
    head = db.execute(_HEAD, (name,)).fetchone()
    if head is None or head[1] == MessageState.LEASED or (head[2] > now and not _is_set_back(db, head[0], now)):
        return None
    seq = head[0]
    if db.execute(_LEASE, (fence, now, seq, name)).rowcount == 0:
        return None
    note(db, seq, "leased", "", now)
    row = db.execute(f"SELECT {MESSAGE}, m.attempts, {WAS_TYPED} {FROM} WHERE m.seq = ?", (seq,)).fetchone()
    attempts, was_typed = row[MESSAGE_WIDTH:]
    return Lease(to_message(row), Stage.HELD, attempts, fence, now, bool(was_typed))


def _is_set_back(db: sqlite3.Connection, seq: int, now: float) -> bool:
    (put_back,) = db.execute(_PUT_BACK, (seq,)).fetchone()
    return put_back is not None and put_back > now


def stage(db: sqlite3.Connection, message_id: str, reached: Stage, now: float, fence: str | None = None) -> None:
    """Write how far the hand-over of a leased message went; raises MessageUnknown, LeaseLost."""
    seq, _ = _leased(db, message_id, fence)
    db.execute(_HAND_OVER if reached is Stage.PASTING else _STAGE, (reached.value, seq))
    note(db, seq, reached.value, "", now)


def consume(db: sqlite3.Connection, message_id: str, evidence: str, now: float, fence: str | None = None) -> bool:
    """Settle a message whose receipt was seen, leased or put back meanwhile; False if it was settled so before.

    Raises MessageUnknown, LeaseLost, MessageSettled (it is a dead letter).
    """
    seq, state = _standing(db, message_id)
    match state:
        case MessageState.CONSUMED:
            return False
        case MessageState.LEASED:
            _leased(db, message_id, fence)
        case MessageState.QUEUED:
            pass
        case _:
            raise MessageSettled(f"{message_id} is a dead letter; nothing was changed")
    db.execute(_SETTLE, (MessageState.CONSUMED.value, evidence, now, seq))
    db.execute(
        "UPDATE queues SET last_receipt_at = ? WHERE recipient = (SELECT recipient FROM messages WHERE seq = ?)",
        (now, seq),
    )
    note(db, seq, "consumed", evidence, now)
    return True


def release(
    db: sqlite3.Connection,
    message_id: str,
    reason: str,
    now: float,
    not_before: float,
    attempted: bool,
    fence: str | None = None,
) -> int:
    """Put a leased message back to the head of its queue, not to be leased before wall time `not_before`, if later.

    Returns its attempts, counting this one if `attempted`. Raises MessageUnknown, LeaseLost.
    """
    seq, attempts = _leased(db, message_id, fence)
    # What may be leased at once may be so by any clock, also one that is set back.
    db.execute(_RELEASE, (str(reason), not_before if not_before > now else 0, attempted, seq))
    note(db, seq, "attempted" if attempted else "held back", str(reason), now)
    return attempts + attempted


def bury(db: sqlite3.Connection, message_id: str, reason: str, now: float, fence: str | None = None) -> Buried:
    """Give a message up and queue the notice to its sender in the same transaction.

    No notice follows a notice, a message of the operator, of peerwake itself or of a sender that was
    removed, or one that was given up before: each message causes one notice at most.
    Raises MessageUnknown, LeaseLost, MessageSettled.
    """
    seq, state = _standing(db, message_id)
    match state:
        case MessageState.QUEUED:
            pass
        case MessageState.LEASED:
            _leased(db, message_id, fence)
        case _:
            raise MessageSettled(f"{message_id} is {state}; only a waiting or leased message can be given up")
    return _give_up(db, seq, reason, now, MessageState.DEAD.value)


def expire_some(db: sqlite3.Connection, now: float, ttl: float, wall: float) -> list[Buried]:
    """Bury up to 500 messages that have been waiting for more than `ttl` seconds and are not leased.

    `now` is the time to measure with. What was queued by a clock that was far ahead of `wall`, what the clock
    says, has waited since now: it would keep what stands behind it for as long as the clock was wrong.
    """
    cutoff, reason = now - ttl, f"it waited longer than {_hours(ttl)}"
    overdue: list[int] = []
    ahead: list[tuple[float, int]] = []
    for (recipient,) in db.execute("SELECT recipient FROM queues WHERE depth > 0").fetchall():
        for seq, queued_at, state in db.execute(_OPEN, (recipient,)):
            if queued_at > wall + AHEAD_SECONDS:
                ahead.append((wall, seq))
            elif queued_at >= cutoff or len(overdue) + len(ahead) >= BATCH:
                break
            elif state == MessageState.QUEUED:
                overdue.append(seq)
    db.executemany("UPDATE messages SET queued_at = ? WHERE seq = ?", ahead)
    return [_give_up(db, seq, reason, now, MessageState.DEAD.value) for seq in overdue]


def retry(db: sqlite3.Connection, message_id: str, now: float) -> None:
    """Put a dead letter to the tail of its queue, with fresh attempts and a fresh time to live.

    Raises MessageUnknown, MessageSettled.
    """
    seq, state = _standing(db, message_id)
    if state != MessageState.DEAD:
        raise MessageSettled(f"{message_id} is {state}; only a dead letter can be repeated")
    db.execute("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'messages'")
    (tail,) = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'messages'").fetchone()
    db.execute(
        "UPDATE messages SET seq = ?, born = coalesce(born, seq), state = 'queued', attempts = 0, fence = NULL,"
        " leased_at = NULL, not_before = 0, reason = NULL, settled_at = NULL, handed_after = NULL, queued_at = ?"
        " WHERE seq = ?",
        (tail, now, seq),
    )
    db.execute("UPDATE bodies SET seq = ? WHERE seq = ?", (tail, seq))
    db.execute("UPDATE events SET seq = ? WHERE seq = ?", (tail, seq))
    note(db, tail, "retried", "", now)


def drop(db: sqlite3.Connection, message_id: str, now: float) -> Buried:
    """Remove a dead letter or a waiting message for good; its history stays until it is purged.

    A sender that was told once that its message is dead knows; that of another gets its notice.
    Raises MessageUnknown, MessageSettled.
    """
    seq, state = _standing(db, message_id)
    match state:
        case MessageState.QUEUED | MessageState.DEAD:
            return _give_up(db, seq, "an operator dropped it", now, DROPPED)
        case MessageState.LEASED:
            raise MessageSettled(
                f"{message_id} is being delivered or worked on; wait until it is settled,"
                " or stop its recipient first, which puts it back into the queue"
            )
        case _:
            raise MessageSettled(f"{message_id} is {state} already; there is nothing to drop")


def note(db: sqlite3.Connection, seq: int, event: str, detail: str, at: float) -> None:
    """Add an event to a message's history; the same event with the same detail is counted, not repeated."""
    db.execute(_EVENT, (seq, event, detail[:EVENT_DETAIL], at))


def _give_up(db: sqlite3.Connection, seq: int, reason: str, now: float, state: str) -> Buried:
    message_id, sender, recipient, kind, topic = db.execute(_PARTIES, (seq,)).fetchone()
    dead = Buried(message_id, to_identity(sender), to_identity(recipient), Kind(kind), reason, None)
    was_told = db.execute("SELECT 1 FROM events WHERE seq = ? AND event = 'dead' LIMIT 1", (seq,)).fetchone()
    db.execute(_SETTLE, (state, reason, now, seq))
    note(db, seq, state, reason, now)
    if was_told or dead.kind is Kind.NOTICE or dead.sender in (OPERATOR, SYSTEM) or dead.sender.is_gone:
        return dead
    text = _dropped_text(dead) if state == DROPPED else notice_text(dead.id, dead.recipient, reason)
    draft = Draft(text, topic=topic, reply_to=dead.id)
    notice = accept(draft, SYSTEM, dead.sender, hops=0, now=now, kind=Kind.NOTICE)
    insert(db, notice)
    return replace(dead, notice=notice)


def _dropped_text(dead: Buried) -> str:
    to = dead.recipient
    return f"Your message {dead.id} to {to.personality} ({to.runtime}) was dropped by an operator, undelivered."


def _standing(db: sqlite3.Connection, message_id: str) -> Row:
    row: Row | None = db.execute("SELECT seq, state FROM messages WHERE id = ?", (message_id,)).fetchone()
    if row is None:
        raise MessageUnknown(f"no message has the id {message_id!r:.60}; ids are listed by: peerwake queue")
    return row


def _leased(db: sqlite3.Connection, message_id: str, fence: str | None) -> tuple[int, int]:
    """Return seq and attempts of a message leased under `fence` (None: under any)."""
    seq, state = _standing(db, message_id)
    if state != MessageState.LEASED:
        raise LeaseLost(f"{message_id} is {state}, not leased; nothing was changed")
    held, attempts = db.execute("SELECT fence, attempts FROM messages WHERE seq = ?", (seq,)).fetchone()
    if fence is not None and held != fence:
        raise LeaseLost(f"{message_id} is leased to {held}, not to {fence}; nothing was changed")
    return seq, attempts


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds:g} s"
