"""Who exchanged messages with a peer lately: read without a server, and without the spool's writer."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from transport.identity import Identity
from transport.spool.records import to_identity
from transport.spool.schema import connect

RECENT_MESSAGES: Final = 2_000
_RECENT: Final = """
    SELECT sender, recipient FROM messages
    WHERE seq > (SELECT MAX(seq) FROM messages) - ? AND (sender IN ({marks}) OR recipient IN ({marks}))
    ORDER BY seq DESC
"""


def contacts(path: Path, identities: Sequence[Identity]) -> tuple[str, ...]:
    """Return the names of those who wrote to or were written by one of `identities`, the latest first.

    Of the host's last 2,000 messages; empty where there is no spool or it cannot be read.
    """
    names = [str(identity) for identity in identities]
    query = _RECENT.format(marks=", ".join("?" * len(names)))
    try:
        with closing(connect(path, reading=True)) as db:
            rows = db.execute(query, (RECENT_MESSAGES, *names, *names)).fetchall()
    except sqlite3.Error:
        return ()
    others = (to_identity(name).personality for row in rows for name in row if name not in names)
    return tuple(dict.fromkeys(others))
