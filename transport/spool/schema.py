"""The tables of the spool, and the steps that lead from each version of the file to the next."""

import os
import sqlite3
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

from transport.files import sync_directory
from transport.spool.faults import SpoolFailed, SpoolTooNew, corrupt
from transport.spool.handle import Handle

APPLICATION_ID: Final = 0x50574B51  # "PWKQ"
PAGE_BYTES: Final = 1024
"""Each of the eight pages that a message changes goes to the disk whole; a file that has another size keeps it."""
CHECKPOINT_PAGES: Final = 1000
KEEP_WAL_BYTES: Final = 64 << 20
LOCKED_MILLISECONDS: Final = 1000
THOROUGH_BYTES: Final = 64 << 20

_HEADER: Final = 100
_MAGIC: Final = b"SQLite format 3\0"

Step = Sequence[str]

FIRST: Final[Step] = (
    """
    CREATE TABLE messages (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        nonce TEXT NOT NULL,
        sender TEXT NOT NULL,
        recipient TEXT NOT NULL,
        topic TEXT,
        attachments TEXT,
        reply_to TEXT,
        idempotency_key TEXT,
        hops INTEGER NOT NULL,
        accepted_at REAL NOT NULL,
        kind TEXT NOT NULL,
        removed_controls INTEGER NOT NULL,
        queued_at REAL NOT NULL,
        state TEXT NOT NULL DEFAULT 'queued'
            CHECK (state IN ('queued', 'leased', 'consumed', 'dead', 'dropped')),
        stage TEXT CHECK ((stage IS NULL) = (state <> 'leased')),
        attempts INTEGER NOT NULL DEFAULT 0,
        fence TEXT,
        leased_at REAL,
        not_before REAL NOT NULL DEFAULT 0,
        reason TEXT,
        settled_at REAL
    )
    """,
    # Bodies stand apart, so that a change of state never rewrites 256 KiB.
    "CREATE TABLE bodies (seq INTEGER PRIMARY KEY, body TEXT NOT NULL)",
    """
    CREATE TABLE events (
        seq INTEGER NOT NULL,
        event TEXT NOT NULL,
        detail TEXT NOT NULL,
        at REAL NOT NULL,
        last_at REAL NOT NULL,
        times INTEGER NOT NULL DEFAULT 1,
        number INTEGER NOT NULL,
        PRIMARY KEY (seq, event, detail)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE queues (
        recipient TEXT PRIMARY KEY,
        depth INTEGER NOT NULL DEFAULT 0 CHECK (depth >= 0),
        dead INTEGER NOT NULL DEFAULT 0 CHECK (dead >= 0),
        last_receipt_at REAL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX open_messages ON messages (recipient, seq) WHERE state IN ('queued', 'leased')",
    "CREATE UNIQUE INDEX one_lease ON messages (recipient) WHERE state = 'leased'",
    "CREATE INDEX dead_letters ON messages (recipient, seq) WHERE state = 'dead'",
    "CREATE INDEX purgeable ON messages (settled_at) WHERE state IN ('consumed', 'dropped')",
    "CREATE INDEX keys ON messages (sender, idempotency_key) WHERE idempotency_key IS NOT NULL",
    "CREATE INDEX waiting ON queues (recipient) WHERE depth > 0",
    """
    CREATE TRIGGER count_changed AFTER UPDATE OF state ON messages
    WHEN (old.state IN ('queued', 'leased')) <> (new.state IN ('queued', 'leased'))
        OR (old.state = 'dead') <> (new.state = 'dead')
    BEGIN
        UPDATE queues SET
            depth = depth + (new.state IN ('queued', 'leased')) - (old.state IN ('queued', 'leased')),
            dead = dead + (new.state = 'dead') - (old.state = 'dead')
        WHERE recipient = new.recipient;
    END
    """,
)

# When a task was last typed, and who has sent what since: asked for each task, however many wait behind it.
SECOND: Final[Step] = (
    "ALTER TABLE messages ADD COLUMN handed_at REAL",
    """
    UPDATE messages SET handed_at = (
        SELECT last_at FROM events WHERE events.seq = messages.seq AND events.event = 'pasting'
    ) WHERE state IN ('queued', 'leased')
    """,
    "CREATE INDEX sent ON messages (sender, seq)",
)

# What comes after it is told by the order of acceptance: a clock may be set back in between.
THIRD: Final[Step] = (
    "ALTER TABLE messages ADD COLUMN handed_after INTEGER",
    """
    UPDATE messages SET handed_after = coalesce(
        (SELECT max(before.seq) FROM messages AS before WHERE before.accepted_at < messages.handed_at), seq
    ) WHERE handed_at IS NOT NULL
    """,
    "ALTER TABLE messages DROP COLUMN handed_at",
)

# Where a message that was queued again stood when it was accepted: it was not sent anew.
FOURTH: Final[Step] = ("ALTER TABLE messages ADD COLUMN born INTEGER",)

STEPS: Final[Sequence[Step]] = (FIRST, SECOND, THIRD, FOURTH)


def open_database(
    path: Path, steps: Sequence[Step] = STEPS, *, handle: Handle, thorough: bool = False
) -> sqlite3.Connection:
    """Return a connection for writing to the file held by `handle`, migrated first; the caller holds the lock.

    A commit through it returns after the fsync of the write-ahead log. `thorough` also checks the
    pages of a file up to 64 MiB. Raises SpoolTooNew, SpoolCorrupt, SpoolFailed, sqlite3.Error, OSError.
    """
    _check_file(path, handle.descriptor, len(steps))
    db = connect(path)
    try:
        # Asked before anything is written: the journal mode of another program's file is its own.
        _version(db, path, len(steps))
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise SpoolFailed(f"{path} is on a file system without shared memory; set PEERWAKE_HOME to a local disk")
        _migrate(db, path, steps)
        if thorough and path.stat().st_size <= THOROUGH_BYTES:
            _check_pages(db, path)
    except BaseException:
        db.close()
        raise
    return db


def connect(path: Path, *, reading: bool = False) -> sqlite3.Connection:
    """Return a connection with our settings to a file that exists."""
    db = sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw", uri=True, isolation_level=None, check_same_thread=False, timeout=0
    )
    db.execute(f"PRAGMA busy_timeout = {LOCKED_MILLISECONDS}")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA fullfsync = ON")
    db.execute("PRAGMA checkpoint_fullfsync = ON")
    db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    db.execute(f"PRAGMA journal_size_limit = {KEEP_WAL_BYTES}")
    db.execute("PRAGMA temp_store = MEMORY")
    if reading:
        db.execute("PRAGMA query_only = ON")
    return db


def examine(db: sqlite3.Connection, path: Path) -> None:
    """Check whose a file is, its version and its pages, changing nothing; raises SpoolTooNew, SpoolCorrupt."""
    _version(db, path, len(STEPS))
    _check_pages(db, path)


def _check_file(path: Path, descriptor: int, newest: int) -> None:
    """Refuse a file that is not ours before SQLite touches it; what is empty is a new one."""
    status = os.fstat(descriptor)
    if stat.S_IMODE(status.st_mode) & 0o077:
        os.fchmod(descriptor, 0o600)
    header, size = os.pread(descriptor, _HEADER, 0), status.st_size
    if not header:
        sync_directory(path.parent)
        return
    if len(header) < _HEADER or not header.startswith(_MAGIC):
        raise corrupt(path, "it is not an SQLite database")
    _check_version(path, int.from_bytes(header[68:72]), int.from_bytes(header[60:64]), newest)
    if _is_cut(header, size) and not _has_log(path):
        raise corrupt(path, "its end is missing")


def _is_cut(header: bytes, size: int) -> bool:
    """Tell whether a file has fewer bytes than its header's count of pages, or ends in the middle of one."""
    page = int.from_bytes(header[16:18])
    page = 65_536 if page == 1 else page
    return page == 0 or size % page != 0 or size < page * int.from_bytes(header[28:32])


def _has_log(path: Path) -> bool:
    """Tell whether there is a write-ahead log, which may hold what the file itself does not."""
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size > 0
    except FileNotFoundError:
        return False


def _check_version(path: Path, application: int, version: int, newest: int) -> None:
    if application not in (0, APPLICATION_ID):
        raise corrupt(path, "it belongs to another program")
    if version > newest:
        raise SpoolTooNew(
            f"{path} has version {version}, this peerwake knows {newest}; it was not changed;"
            " upgrade peerwake, or set PEERWAKE_HOME to another directory"
        )


def _migrate(db: sqlite3.Connection, path: Path, steps: Sequence[Step]) -> None:
    """Bring the file to the newest version in one transaction, and that into the file itself."""
    version = _version(db, path, len(steps))
    if version == len(steps):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        for step in steps[version:]:
            for statement in step:
                db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {len(steps)}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _version(db: sqlite3.Connection, path: Path, newest: int) -> int:
    application = int(db.execute("PRAGMA application_id").fetchone()[0])
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    _check_version(path, application, version, newest)
    is_empty = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    if (version == 0 or application == 0) and not is_empty:
        raise corrupt(path, "it belongs to another program")
    return version


def _check_pages(db: sqlite3.Connection, path: Path) -> None:
    found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise corrupt(path, f"it is damaged ({found})")
