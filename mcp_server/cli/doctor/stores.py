"""Settings, registry, profiles, spool, flags and what dead sessions left behind."""

import os
import shlex
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Final
from urllib.parse import quote

from lifecycle.flags import Flag, Flags
from lifecycle.journal import Journal, JournalUnusable
from lifecycle.session import Sessions, SessionUnreadable
from mcp_server import settings
from mcp_server.cli.doctor.finding import Finding, error, ok, warning
from mcp_server.serve.credentials import load_credentials
from transport.errors import PeerwakeError
from transport.paths import Root
from transport.registry import Registry
from transport.spool import views
from transport.spool.schema import APPLICATION_ID, STEPS
from transport.tmux.control import TmuxUnknown
from transport.tmux.listener import answers

BUSY_SECONDS: Final = 2.0
MANY: Final = 1_000


def configuration(root: Root, environ: Mapping[str, str]) -> Iterator[Finding]:
    """config.toml and the variables can be used, and so can the key of the credentials."""
    found = settings.read(root, environ)
    for problem in found.problems:
        yield error("settings", problem, f"edit {root.config}, then: peerwake config --check")
    for text in found.settings.warnings:
        yield warning("settings", text, "peerwake config")
    if not found.problems:
        yield ok("settings", ", ".join(sorted(found.settings.sources)) or "defaults")
    if os.path.lexists(root.secret):
        try:
            load_credentials(root.secret)
        except PeerwakeError as unusable:
            yield error("secret", str(unusable))


def registry(root: Root) -> Iterator[Finding]:
    """The registry is readable and agrees with the profiles."""
    peers = Registry(root)
    problems = peers.verify()
    for problem in problems:
        yield error("registry", problem.text, "peerwake verify --fix")
    if not problems:
        count = len(peers.names())
        yield ok("registry", f"{count} peer{'' if count == 1 else 's'}, registry and profiles agree")


def flags(root: Root) -> Iterator[Finding]:
    """Peers that die again and again are named."""
    known = Flags(root)
    for profile in Registry(root).snapshot().peers.values():
        for identity in profile.identities:
            if known.is_set(identity, Flag.FAILED):
                why = known.text(identity, Flag.FAILED)
                yield warning("peers", f"{identity} died again and again: {why}", f"peerwake start {profile.name}")


def changes(root: Root) -> Iterator[Finding]:
    """A removal or a rename that was cut off is named."""
    try:
        change = Journal(root).load()
    except JournalUnusable as problem:
        yield error("changes", str(problem))
        return
    if change is not None:
        yield warning("changes", f"{change} was cut off", "start the server, or: peerwake verify --fix")


def spool(root: Root) -> Iterator[Finding]:
    """The spool is whole and of a known version, and nothing in it was given up."""
    path = root.spool
    if not path.exists() or path.stat().st_size == 0:
        yield ok("spool", "empty")
        return
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as db:
            damage = _damage(db)
            dead, waiting = (0, 0) if damage else (len(views.dead(db, None, MANY)), sum(views.waiting(db).values()))
    except sqlite3.Error as problem:
        damage, dead, waiting = str(problem), 0, 0
    if damage:
        yield error("spool", f"{path} cannot be used: {damage}", f"stop the server, then: mv {path} {path}.away")
        return
    yield ok("spool", f"whole, {waiting} {'message waits' if waiting == 1 else 'messages wait'}")
    if dead:
        were = "message was" if dead == 1 else "messages were"
        yield warning("dead letters", f"{dead} {were} given up", "peerwake queue")


def _damage(db: sqlite3.Connection) -> str | None:
    application = int(db.execute("PRAGMA application_id").fetchone()[0])
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if application != APPLICATION_ID:
        return "it belongs to another program"
    if version > len(STEPS):
        return f"version {version} is newer than {len(STEPS)}, which this peerwake knows; upgrade it"
    found = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
    return None if found == "ok" else found


def leftovers(root: Root) -> Iterator[Finding]:
    """Session records that cannot be read, and tmux sockets that nobody serves or no record knows."""
    sessions = Sessions(root)
    recorded: set[str] = set()
    if root.state.is_dir():
        for identity in sessions.identities():
            recorded.add(f"{identity}.sock")
            try:
                session = sessions.load(identity)
            except SessionUnreadable as problem:
                yield error("sessions", str(problem), f"rm {shlex.quote(str(sessions.path(identity)))}")
                continue
            if session is not None and session.tmux is not None and not session.is_alive():
                yield warning("leftovers", f"{identity}: its session died unseen", "peerwake serve --background")
    directory = root.run / "tmux"
    for path in sorted(directory.glob("*.sock")) if directory.is_dir() else ():
        try:
            is_answered = answers(path)
        except TmuxUnknown as problem:
            yield error("leftovers", str(problem), f"rm {shlex.quote(str(path))}")
            continue
        if not is_answered:
            yield warning("leftovers", f"{path}: no tmux server behind it", f"rm {shlex.quote(str(path))}")
        elif path.name not in recorded:
            mend = f"tmux -S {shlex.quote(str(path))} kill-server"
            yield warning("leftovers", f"{path}: a tmux server that no session record knows", mend)
