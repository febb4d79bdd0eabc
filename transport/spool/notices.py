"""Telling those whose messages wait that they will wait for long, once each."""

import sqlite3
from typing import Final

from transport.identity import OPERATOR, SYSTEM, Identity
from transport.message import CONTROLS, Draft, Message, accept
from transport.spool.accept import insert
from transport.spool.records import to_identity
from transport.vocabulary import Kind

IDS_SHOWN: Final = 5

_WAITING: Final = """
    SELECT sender, id FROM messages
    WHERE recipient = ? AND state IN ('queued', 'leased') AND kind = ? AND sender NOT IN (?, ?, ?) ORDER BY seq
"""


def tell_waiting(db: sqlite3.Connection, recipient: Identity, reason: str, now: float) -> list[Message]:
    """Queue one notice for each sender with messages waiting for `recipient`; return them.

    Nobody is told of a notice, nor are the operator, peerwake itself, the recipient and a sender that was removed
    told of anything.
    """
    values = (str(recipient), Kind.MESSAGE.value, str(OPERATOR), str(SYSTEM), str(recipient))
    waiting: dict[str, list[str]] = {}
    for sender, message_id in db.execute(_WAITING, values).fetchall():
        waiting.setdefault(sender, []).append(message_id)
    notices = []
    for sender, ids in waiting.items():
        if to_identity(sender).is_gone:
            continue
        draft = Draft(_text(recipient, ids, reason), reply_to=ids[0])
        notices.append(accept(draft, SYSTEM, to_identity(sender), hops=0, now=now, kind=Kind.NOTICE))
        insert(db, notices[-1])
    return notices


def _text(recipient: Identity, ids: list[str], reason: str) -> str:
    why = CONTROLS.sub("", " ".join(reason.split())) or "no reason is known"
    count = len(ids)
    shown = ", ".join(ids[:IDS_SHOWN]) + (f" and {count - IDS_SHOWN} more" if count > IDS_SHOWN else "")
    what = "Your message" if count == 1 else f"Your {count} messages"
    return (
        f"{what} ({shown}) to {recipient.personality} ({recipient.runtime}) must wait: it dies again and again"
        f" ({why}) and is not woken any more. Nothing is lost; when its cause is mended, an operator starts it"
        f" with: peerwake start {recipient.personality}"
    )
