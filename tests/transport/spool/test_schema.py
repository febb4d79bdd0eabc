"""The file: created private, migrated whole or not at all, refused untouched when it is not ours."""

import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.transport.spool.support import LIMITS, fill, letter
from transport.spool.faults import SpoolCorrupt, SpoolFailed, SpoolTooNew
from transport.spool.handle import hold
from transport.spool.schema import APPLICATION_ID, STEPS, Step, open_database
from transport.spool.store import SpoolStore

NEXT = (*STEPS, ("ALTER TABLE queues ADD COLUMN colour TEXT", "CREATE TABLE colours (name TEXT)"))
BROKEN = (*STEPS, ("CREATE TABLE colours (name TEXT)", "ALTER TABLE nowhere ADD COLUMN colour TEXT"))


def pragma(db: sqlite3.Connection, name: str) -> object:
    return db.execute(f"PRAGMA {name}").fetchone()[0]


@contextmanager
def opened(path: Path, steps: Sequence[Step] = STEPS) -> Iterator[sqlite3.Connection]:
    handle = hold(path)
    try:
        with closing(open_database(path, steps, handle=handle)) as db:
            yield db
    finally:
        handle.release()


def test_new_file_is_private_durable_and_marked(path: Path) -> None:
    with opened(path) as db:
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        assert modes.pop("spool.db") == 0o600
        assert set(modes.values()) <= {0o600}
        assert pragma(db, "journal_mode") == "wal"
        assert pragma(db, "synchronous") == 2
        assert pragma(db, "application_id") == APPLICATION_ID
        assert pragma(db, "user_version") == len(STEPS)


def test_all_files_are_private_while_in_use(store: SpoolStore) -> None:
    fill(store, 1)
    assert {stat.S_IMODE(file.stat().st_mode) for file in store.path.parent.iterdir()} == {0o600}


def test_wide_permissions_are_narrowed(path: Path) -> None:
    SpoolStore(path).close()
    path.chmod(0o644)
    SpoolStore(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_version_stands_in_the_file_itself(path: Path) -> None:
    with opened(path):
        assert int.from_bytes(path.read_bytes()[60:64]) == len(STEPS)


def test_newer_version_is_refused_and_left_alone(path: Path) -> None:
    with opened(path, NEXT):
        pass
    before = path.read_bytes()
    with pytest.raises(SpoolTooNew, match=rf"version {len(NEXT)}, this peerwake knows {len(STEPS)}.*upgrade"):
        SpoolStore(path)
    assert path.read_bytes() == before


def test_newer_version_only_in_the_log_is_refused(path: Path) -> None:
    SpoolStore(path).close()
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA user_version = 7")
    with pytest.raises(SpoolTooNew):
        SpoolStore(path)
    assert db.execute("PRAGMA user_version").fetchone() == (7,)
    db.close()


def test_older_version_is_migrated_with_its_messages(path: Path) -> None:
    with SpoolStore(path) as store:
        fill(store, 3)
    with opened(path, NEXT) as db:
        assert pragma(db, "user_version") == len(NEXT)
        assert db.execute("SELECT count(colour), count(*), sum(depth) FROM queues").fetchone() == (0, 1, 3)


@pytest.mark.parametrize("version", [1, 2])
def test_a_task_in_work_keeps_its_hand_over_through_the_migration(path: Path, version: int) -> None:
    """Handed over at 7, it was answered at 8, and what was sent at 6 is no answer."""
    with opened(path, STEPS[:version]) as db:
        rows = ((1, "alice", "bob", 1, "leased"), (2, "alice", "bob", 2, "consumed"))
        for seq, sender, recipient, at, state in (
            *rows,
            (3, "bob", "alice", 6, "queued"),
            (4, "bob", "alice", 8, "queued"),
        ):
            db.execute(
                "INSERT INTO messages (seq, id, nonce, sender, recipient, hops, accepted_at, kind, removed_controls,"
                " queued_at, state, stage) VALUES (?, ?, 'n', ?, ?, 0, ?, 'message', 0, 1, ?, ?)",
                (seq, f"m_{seq}", f"x-{sender}", f"x-{recipient}", at, state, "pasting" if state == "leased" else None),
            )
            db.execute(
                "INSERT INTO events (seq, event, detail, at, last_at, number) VALUES (?, 'pasting', '', 3, 7, 1)",
                (seq,),
            )
        if version == 2:
            db.execute("UPDATE messages SET handed_at = 7 WHERE seq = 1")
    with SpoolStore(path) as store:
        found = store.read(lambda db: db.execute("SELECT handed_after FROM messages ORDER BY seq LIMIT 2").fetchall())
        assert found == [(3,), (None,)]
        assert store.sent_since("m_1")


def test_failed_migration_changes_nothing(path: Path) -> None:
    with SpoolStore(path) as store:
        fill(store, 3)
    with pytest.raises(sqlite3.OperationalError), opened(path, BROKEN):
        pass
    with SpoolStore(path) as store:
        assert sum(store.waiting().values()) == 3
        assert store.read(lambda db: db.execute("SELECT * FROM sqlite_schema WHERE name = 'colours'").fetchall()) == []


@pytest.mark.parametrize(
    "content",
    [b"not a database", b"{}" * 5000, b"SQLite format 3\0", b"\0" * 8192],
    ids=["text", "long", "short", "zeros"],
)
def test_other_content_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(SpoolCorrupt, match=r"spool\.db cannot be used.*spool\.db-wal.*recover"):
        SpoolStore(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("application", [0, 42])
def test_database_of_another_program_is_refused_and_left_alone(path: Path, application: int) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("CREATE TABLE things (name TEXT)")
    db.execute(f"PRAGMA application_id = {application}")
    db.close()
    with pytest.raises(SpoolCorrupt, match="another program"):
        SpoolStore(path)
    db = sqlite3.connect(path)
    assert db.execute("SELECT name FROM sqlite_schema").fetchall() == [("things",)]
    db.close()


def test_truncated_file_is_refused_and_left_alone(path: Path) -> None:
    with SpoolStore(path) as store:
        fill(store, 200)
    os.truncate(path, path.stat().st_size // 2)
    before = path.read_bytes()
    with pytest.raises(SpoolCorrupt):
        SpoolStore(path)
    assert path.read_bytes() == before


def test_damaged_page_is_found_by_a_thorough_opening(path: Path) -> None:
    with SpoolStore(path) as store:
        fill(store, 200)
    damaged = bytearray(path.read_bytes())
    damaged[8192:20000] = os.urandom(20000 - 8192)
    path.write_bytes(damaged)
    with pytest.raises(SpoolCorrupt, match=r"damaged|malformed"):
        SpoolStore(path, thorough=True)
    assert path.read_bytes() == bytes(damaged)


def test_damaged_page_met_later_is_named(path: Path) -> None:
    with SpoolStore(path) as store:
        fill(store, 2000)
    damaged = bytearray(path.read_bytes())
    damaged[4096:] = b"\xee" * (len(damaged) - 4096)
    path.write_bytes(damaged)
    with pytest.raises(SpoolCorrupt, match=r"spool\.db cannot be used"), SpoolStore(path) as store:
        store.enqueue(letter(), **LIMITS)


def test_empty_file_becomes_a_spool(path: Path) -> None:
    path.touch()
    with SpoolStore(path) as store:
        assert store.waiting() == {}


def test_symbolic_link_is_refused(path: Path) -> None:
    target = path.with_name("elsewhere")
    target.write_bytes(b"precious")
    path.symlink_to(target)
    with pytest.raises(SpoolFailed, match="symbolic link"):
        SpoolStore(path)
    assert target.read_bytes() == b"precious"


def test_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpoolFailed, match=r"nowhere/spool\.lock: No such file"):
        SpoolStore(tmp_path / "nowhere" / "spool.db")


@pytest.mark.parametrize(
    ("question", "index"),
    [
        (
            "SELECT seq FROM messages WHERE recipient = ? AND state IN ('queued', 'leased') ORDER BY seq",
            "open_messages",
        ),
        ("SELECT seq FROM messages WHERE recipient = ? AND state = 'leased'", "one_lease"),
        ("SELECT recipient FROM queues WHERE depth > 0", "waiting"),
        ("SELECT seq FROM messages WHERE state = 'dead' AND recipient = ? ORDER BY seq DESC", "dead_letters"),
        ("SELECT seq FROM messages WHERE state IN ('consumed', 'dropped') AND settled_at < ?", "purgeable"),
        ("SELECT seq FROM messages WHERE sender = ? AND idempotency_key = 'key'", "keys"),
        ("SELECT seq FROM messages WHERE id = ?", "sqlite_autoindex_messages_1"),
        ("SELECT seq FROM messages WHERE sender = ? AND seq > ?", "sent"),
        ("SELECT id FROM messages WHERE state = 'dead' AND recipient IN (?, ?)", "dead_letters"),
        ("SELECT 1 FROM events WHERE seq = ? AND event = 'pasting'", "PRIMARY KEY (seq=? AND event=?)"),
    ],
)
def test_questions_use_their_index(store: SpoolStore, question: str, index: str) -> None:
    values = ("x",) * question.count("?")
    plan = store.read(lambda db: db.execute(f"EXPLAIN QUERY PLAN {question}", values).fetchall())
    assert index in plan[0][3]
    assert "TEMP B-TREE" not in str(plan)


def test_second_lease_of_a_recipient_is_impossible(store: SpoolStore) -> None:
    fill(store, 2)
    with pytest.raises(sqlite3.IntegrityError):
        store.write(lambda db: db.execute("UPDATE messages SET state = 'leased', stage = 'held'"))


@pytest.mark.parametrize("missing", [1, 1024, 4096, 8192])
def test_a_file_whose_end_is_missing_is_refused_before_anything_is_written(tmp_path: Path, missing: int) -> None:
    path = tmp_path / "spool.db"
    SpoolStore(path).close()
    os.truncate(path, path.stat().st_size - missing)
    before = path.read_bytes()
    with pytest.raises(SpoolCorrupt, match="its end is missing"):
        SpoolStore(path)
    assert path.read_bytes() == before
