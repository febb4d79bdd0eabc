"""The record of a session we own: written before it starts, adopted by the next server."""

import json
import math
import os
import threading
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Final

from lifecycle.states import End, Mode
from lifecycle.topics import TOPICS_KEPT, normal, with_topic
from transport.errors import PeerwakeError
from transport.files import read_regular, sync_directory, write_atomic
from transport.files import replace as replace_file
from transport.identity import Identity, parse_identity
from transport.paths import Root
from transport.process import ProcessId

RECORD_BYTES: Final = 1 << 16
TEXTS: Final = ("host", "tenant_id", "cwd", "fence", "session_id", "pane_id")
OPTIONAL_TEXTS: Final = ("session_ref", "task", "seed", "prompt")
SWITCHES: Final = ("is_ready", "is_closing")
TABLES: Final = ("client_env", "obeys")


class SessionUnreadable(PeerwakeError):
    """A session record cannot be read: whether there is a session is unknown."""

    code = "session-unreadable"


class OtherVersion(SessionUnreadable):
    """Another version of peerwake wrote the record and can read it; the user upgrades, or stops the peer."""


@dataclass(frozen=True, slots=True)
class Session:
    """One session; `tmux` is None between the intent to start it and the start.

    `woke_at` is wall seconds, `fence` a token no other session ever had, `session_id` the name we
    gave the client's conversation, `session_ref` the client's own where it chooses one; `client_env`
    are the variables that tell where the client keeps its files. `task` is the message that an ephemeral
    worker was started for, `seed` what a restarted one is told first, `topics` those of the messages
    it took, `prompt` the edition of the prompt it was given. `obeys` are the flags that it was started for, each
    as its file was: they are cleared once it was told what comes first. `is_closing` is the intent to end it, and
    `end` why: who finds that ends it; an `end` alone is its own wish, for when its turn is over. `foreign`
    is what a newer version of peerwake added to the record: not understood here, and kept.
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
    is_closing: bool = False
    end: End | None = None
    task: str | None = None
    seed: str | None = None
    prompt: str | None = None
    topics: tuple[str, ...] = ()
    client_env: dict[str, str] = field(default_factory=dict)
    obeys: dict[str, str] = field(default_factory=dict)
    foreign: dict[str, object] = field(default_factory=dict)

    def is_alive(self) -> bool:
        """Tell whether exactly the tmux server we started is still running."""
        return self.tmux is not None and self.tmux.is_alive()

    @property
    def takes_messages(self) -> bool:
        """Tell whether it came up and nobody has begun to end it."""
        return self.is_ready and not self.is_closing


OWN: Final = frozenset(each.name for each in fields(Session)) - {"foreign"}


def _process(value: dict[str, object] | None) -> ProcessId | None:
    if value is None:
        return None
    pid = int(str(value["pid"]))
    if pid < 1:
        raise ValueError(f"{pid} is no process")
    return ProcessId(pid, str(value["started"]))


def _end(value: str | None) -> End | None:
    """Return why a session was ended; a reason that only a newer version knows is a deliberate one."""
    if value is None:
        return None
    return End(value) if value in tuple(End) else End.STOPPED


def dump(session: Session) -> str:
    """Return a session as the text of its record."""
    own = asdict(session) | {"version": 1, "identity": str(session.identity)}
    return json.dumps(own.pop("foreign") | own, indent=1) + "\n"


def parse(text: str) -> Session:
    """Return the session that a record's text describes; raises SessionUnreadable."""
    try:
        data = json.loads(text)
        if data.pop("version") != 1:
            raise OtherVersion("the record was written by another version of peerwake; upgrade, or stop the peer")
        data["identity"] = parse_identity(data["identity"])
        data["mode"] = Mode(data["mode"])
        data["woke_at"] = float(data["woke_at"])
        data["tmux"] = _process(data["tmux"])
        data["pane"] = _process(data["pane"])
        data["end"] = _end(data.get("end"))
        data["topics"] = tuple(data.get("topics", ()))
        foreign = {name: data.pop(name) for name in sorted(data.keys() - OWN)}
        session = Session(**data, foreign=foreign)
    except SessionUnreadable:
        raise
    except (PeerwakeError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise SessionUnreadable(f"the record is damaged ({type(error).__name__}: {error})") from error
    if problem := _mistyped(session):
        raise SessionUnreadable(f"the record is damaged ({problem} is not what it should be)")
    return session


def _mistyped(session: Session) -> str | None:
    """Return the first field whose value has another type than it should, None if all are well."""
    kinds: dict[str, type | tuple[type, ...]] = dict.fromkeys(TEXTS, str)
    kinds |= dict.fromkeys(OPTIONAL_TEXTS, (str, type(None))) | dict.fromkeys(SWITCHES, bool)
    wrong = [name for name, kind in kinds.items() if not isinstance(getattr(session, name), kind)]
    if not math.isfinite(session.woke_at):
        wrong.append("woke_at")
    wrong += [name for name in TABLES if not _is_table(getattr(session, name))]
    if not all(isinstance(topic, str) for topic in session.topics):
        wrong.append("topics")
    return wrong[0] if wrong else None


def _is_table(value: object) -> bool:
    """Tell whether it is a table of texts."""
    return isinstance(value, dict) and all(isinstance(text, str) for pair in value.items() for text in pair)


class Sessions:
    """The session records of one root; one process writes them, safe between its threads."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._mutex = threading.Lock()

    def path(self, identity: Identity) -> Path:
        return self._root.flag(identity, "session")

    def save(self, session: Session) -> Session:
        """Write a record durably; returns the session for chaining."""
        with self._mutex:
            write_atomic(self.path(session.identity), dump(session))
        return session

    def update(self, session: Session, **changes: object) -> Session:
        """Change a record as it is now, durably; one that was retired meanwhile stays so. Returns the session."""
        with self._mutex:
            current = self._current(session)
            changed: Session = replace(current or session, **changes)  # type: ignore[arg-type]
            if current is not None:
                write_atomic(self.path(session.identity), dump(changed))
        return changed

    def add_topic(self, session: Session, topic: str | None) -> None:
        """Note the topic of a message that a session took; what is known already costs no write."""
        if with_topic(session.topics, topic) == session.topics:
            return
        with self._mutex:
            current = self._current(session)
            if current is None:
                return
            topics = with_topic(current.topics, topic)
            is_new = set(map(normal, topics)) != set(map(normal, current.topics))
            # The order only matters when the oldest may have to go.
            if is_new or (len(topics) == TOPICS_KEPT and topics != current.topics):
                write_atomic(self.path(session.identity), dump(replace(current, topics=topics)))

    def load(self, identity: Identity) -> Session | None:
        """Return the record of an identity, None if there is none; raises SessionUnreadable."""
        return self._load(identity, self.path(identity))

    def _load(self, identity: Identity, path: Path) -> Session | None:
        try:
            data, _ = read_regular(path, follow=False, limit=RECORD_BYTES)
            session = parse(data.decode("utf-8", "replace"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SessionUnreadable(_hint(path, identity, error.strerror)) from error
        except SessionUnreadable as error:
            raise type(error)(_hint(path, identity, error)) from error
        if session.identity != identity:
            raise SessionUnreadable(_hint(path, identity, f"the record is of {session.identity}"))
        return session

    def live(self, identity: Identity) -> Session | None:
        """Return the session of an identity if its tmux server is alive; raises SessionUnreadable."""
        session = self.load(identity)
        return session if session is not None and session.is_alive() else None

    def last(self, identity: Identity) -> Session | None:
        """Return the current record or, without one, that of the last session; raises SessionUnreadable."""
        return self.load(identity) or self._load(identity, self._root.flag(identity, "last"))

    def find(self, identity: Identity, fence: str) -> Session | None:
        """Return the current or the last session if it has this fence; raises SessionUnreadable."""
        for path in (self.path(identity), self._root.flag(identity, "last")):
            session = self._load(identity, path)
            if session is not None and session.fence == fence:
                return session
        return None

    def retire(self, session: Session) -> bool:
        """Keep the record of a session that is over as the last one; False if that was done already."""
        with self._mutex:
            if self._current(session) is None:
                return False
            write_atomic(self._root.flag(session.identity, "last"), dump(session))
            self._unlink(session.identity)
            return True

    def remember(self, session: Session) -> None:
        """Keep what is known of a session that is over and whose record is lost as the last one."""
        with self._mutex:
            write_atomic(self._root.flag(session.identity, "last"), dump(session))

    def discard(self, session: Session) -> None:
        """Remove the record of a session that never was."""
        with self._mutex:
            if self._current(session) is not None:
                self._unlink(session.identity)

    def set_aside(self, identity: Identity) -> Path | None:
        """Move a record out of the way, for people to look at; returns where it is now."""
        aside = self._root.flag(identity, "damaged")
        with self._mutex:
            try:
                replace_file(self.path(identity), aside)
            except FileNotFoundError:
                return None
            sync_directory(self._root.state)
        return aside

    def _current(self, session: Session) -> Session | None:
        """Return the record as it is now, None if it is not of this session any more."""
        try:
            current = self.load(session.identity)
        except SessionUnreadable:
            return None
        return current if current is not None and current.fence == session.fence else None

    def _unlink(self, identity: Identity) -> None:
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


def _hint(path: Path, identity: Identity, problem: object) -> str:
    return f"{path}: {problem}; what runs there is ended by: peerwake stop {identity.personality}"
