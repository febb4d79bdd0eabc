"""Settings, registry, profiles, spool, flags and what dead sessions left behind."""

import os
import shlex
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from lifecycle.flags import Flag, Flags
from lifecycle.journal import Journal, JournalUnusable
from lifecycle.session import OtherVersion, Sessions, SessionUnreadable
from mcp_server import settings
from mcp_server.cli.doctor.finding import Finding, error, ok, warning
from mcp_server.serve.credentials import load_credentials
from transport.errors import PeerwakeError
from transport.identity import Identity, parse_identity
from transport.paths import Root
from transport.registry import Registry
from transport.spool import views
from transport.spool.faults import SpoolBusy, SpoolCorrupt, SpoolError, SpoolTooNew, corrupt, moving, translated
from transport.spool.schema import examine
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
    try:
        with translated(path):
            counts = _counts(path)
    except SpoolCorrupt as problem:
        yield error("spool", str(problem), f"stop the server, then: {moving(path)}")
    except SpoolTooNew as problem:
        yield error("spool", str(problem), "upgrade peerwake")
    except SpoolBusy as problem:
        yield error("spool", str(problem), "close the program that holds it, then: peerwake doctor")
    except SpoolError as problem:
        mend = f"see to the disk and to the permissions of {path.parent}, then: peerwake doctor"
        yield error("spool", str(problem), mend)
    else:
        yield from _counted(counts)


def _counts(path: Path) -> tuple[int, int] | None:
    """Return how many messages of a whole spool were given up and how many wait, None where there is nothing yet.

    Raises SpoolTooNew, SpoolCorrupt, sqlite3.Error or OSError.
    """
    if not path.exists() or path.stat().st_size == 0:
        return None
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as db:
        examine(db, path)
        try:
            return len(views.dead(db, None, MANY)), sum(views.waiting(db).values())
        except sqlite3.OperationalError as problem:
            # What SQLite says of a table or a column that is not there.
            if problem.sqlite_errorname == "SQLITE_ERROR":
                raise corrupt(path, str(problem)) from problem
            raise


def _counted(counts: tuple[int, int] | None) -> Iterator[Finding]:
    dead, waiting = counts or (0, 0)
    whole = f"whole, {waiting} {'message waits' if waiting == 1 else 'messages wait'}"
    yield ok("spool", "empty" if counts is None else whole)
    if dead:
        were = "message was" if dead == 1 else "messages were"
        yield warning("dead letters", f"{dead} {were} given up", "peerwake queue")


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
                mend = _stop(identity)
                is_other = isinstance(problem, OtherVersion)
                yield error("sessions", str(problem), f"upgrade, or: {mend}" if is_other else mend)
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
            owner = _declared(root, path)
            mend = _stop(owner) if owner is not None else f"tmux -S {shlex.quote(str(path))} kill-server"
            yield warning("leftovers", f"{path}: a tmux server that no session record knows", mend)


def _stop(identity: Identity) -> str:
    """Return what ends whatever runs in the place of an identity, as no death, and lets it be woken again."""
    return f"peerwake stop {identity.personality} && peerwake start {identity.personality}"


def _declared(root: Root, socket: Path) -> Identity | None:
    """Return the identity of a tmux socket's name, None for one that `stop` does not know."""
    try:
        identity = parse_identity(socket.stem)
    except PeerwakeError:
        return None
    profile = Registry(root).get(identity.personality)
    return identity if profile is not None and identity in profile.identities else None
