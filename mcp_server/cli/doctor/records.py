"""What several checks read: the sessions that live, and the pid of the server that listens."""

import json
from collections.abc import Iterator

from lifecycle.session import Session, Sessions, SessionUnreadable
from transport.paths import Root


def live_sessions(root: Root) -> Iterator[Session]:
    """Yield the live sessions whose records can be read; of the others another check tells."""
    sessions = Sessions(root)
    for identity in sessions.identities() if root.state.is_dir() else ():
        try:
            session = sessions.live(identity)
        except SessionUnreadable:
            continue
        if session is not None:
            yield session


def server_pid(root: Root) -> int | None:
    """Return the pid that the last server wrote down, None when that cannot be read."""
    try:
        return int(json.loads(root.discovery.read_text("utf-8"))["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
