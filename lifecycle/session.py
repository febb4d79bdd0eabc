"""The record of a session we own: written before it starts, adopted by the next server."""

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from lifecycle.states import Mode
from transport.errors import PeerwakeError
from transport.files import sync_directory, write_atomic
from transport.identity import Identity, parse_identity
from transport.paths import Root
from transport.process import ProcessId


class SessionUnreadable(PeerwakeError):
    """A session record cannot be read: whether there is a session is unknown."""

    code = "session-unreadable"


@dataclass(frozen=True, slots=True)
class Session:
    """One session; `tmux` is None between the intent to start it and the start.

    `woke_at` is wall seconds, `fence` a token no other session ever had, `session_id` the name we
    gave the client's conversation, `session_ref` the client's own where it chooses one; `client_env`
    are the variables that tell where the client keeps its files.
    """

    identity: Identity
    host: str
    tenant_id: str
    cwd: str
    fence: str
    woke_at: float
    mode: Mode
    session_id: str
    session_ref: str | None = None
    tmux: ProcessId | None = None
    pane: ProcessId | None = None
    pane_id: str = ""
    is_ready: bool = False
    task: str | None = None
    client_env: dict[str, str] = field(default_factory=dict)

    def is_alive(self) -> bool:
        """Tell whether exactly the tmux server we started is still running."""
        return self.tmux is not None and self.tmux.is_alive()


def _process(value: dict[str, object] | None) -> ProcessId | None:
    return None if value is None else ProcessId(int(str(value["pid"])), str(value["started"]))


def dump(session: Session) -> str:
    """Return a session as the text of its record."""
    return json.dumps(asdict(session) | {"version": 1, "identity": str(session.identity)}, indent=1) + "\n"


def parse(text: str) -> Session:
    """Return the session that a record's text describes; raises SessionUnreadable."""
    try:
        data = json.loads(text)
        if data.pop("version") != 1:
            raise SessionUnreadable("the record was written by another version of peerwake; upgrade, or stop the peer")
        data["identity"] = parse_identity(data["identity"])
        data["mode"] = Mode(data["mode"])
        data["tmux"] = _process(data["tmux"])
        data["pane"] = _process(data["pane"])
        return Session(**data)
    except SessionUnreadable:
        raise
    except (PeerwakeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise SessionUnreadable(f"the record is damaged ({type(error).__name__}: {error})") from error


class Sessions:
    """The session records of one root."""

    def __init__(self, root: Root) -> None:
        self._root = root

    def path(self, identity: Identity) -> Path:
        return self._root.flag(identity, "session")

    def save(self, session: Session) -> Session:
        """Write a record durably; returns the session for chaining."""
        write_atomic(self.path(session.identity), dump(session))
        return session

    def update(self, session: Session, **changes: object) -> Session:
        """Write a changed record durably; returns the changed session."""
        return self.save(replace(session, **changes))  # type: ignore[arg-type]

    def load(self, identity: Identity) -> Session | None:
        """Return the record of an identity, None if there is none; raises SessionUnreadable."""
        return self._load(identity, self.path(identity))

    def _load(self, identity: Identity, path: Path) -> Session | None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SessionUnreadable(f"{path}: {error.strerror}") from error
        with os.fdopen(descriptor, "rb") as file:
            text = file.read(1 << 16).decode("utf-8", "replace")
        try:
            session = parse(text)
        except SessionUnreadable as error:
            raise SessionUnreadable(f"{path}: {error}") from error
        if session.identity != identity:
            raise SessionUnreadable(f"{path}: the record is of {session.identity}")
        return session

    def live(self, identity: Identity) -> Session | None:
        """Return the session of an identity if its tmux server is alive; raises SessionUnreadable."""
        session = self.load(identity)
        return session if session is not None and session.is_alive() else None

    def last(self, identity: Identity) -> Session | None:
        """Return the current record or, without one, that of the last session; raises SessionUnreadable."""
        return self.load(identity) or self._load(identity, self._root.flag(identity, "last"))

    def retire(self, session: Session) -> None:
        """Keep the record of a session that is over as the identity's last one."""
        write_atomic(self._root.flag(session.identity, "last"), dump(session))
        self.remove(session.identity)

    def remove(self, identity: Identity) -> None:
        """Remove a record durably."""
        self.path(identity).unlink(missing_ok=True)
        sync_directory(self._root.state)

    def identities(self) -> list[Identity]:
        """Return the identities that have a record, readable or not, sorted."""
        found = []
        for name in os.listdir(self._root.state):
            stem, dot, suffix = name.rpartition(".")
            if dot and suffix == "session":
                try:
                    found.append(parse_identity(stem))
                except PeerwakeError:
                    continue
        return sorted(found)
