"""A failure of SQLite or of the system is named by what the caller does next; a mistake of ours keeps its own name."""

import errno
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from transport.spool.faults import (
    SpoolBusy,
    SpoolCorrupt,
    SpoolError,
    SpoolFailed,
    SpoolFull,
    corrupt,
    moving,
    translated,
)

PATH = Path("/srv/root/state/spool.db")


def of_sqlite(name: str | None) -> sqlite3.Error:
    error = sqlite3.OperationalError("what SQLite says")
    if name is not None:
        error.sqlite_errorname = name
    return error


def of_system(number: int, filename: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), filename)


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (of_sqlite("SQLITE_FULL"), SpoolFull, "free space on that disk"),
        (of_sqlite("SQLITE_BUSY"), SpoolBusy, "close that program"),
        (of_sqlite("SQLITE_BUSY_SNAPSHOT"), SpoolBusy, "locked by another program"),
        (of_sqlite("SQLITE_LOCKED_SHAREDCACHE"), SpoolBusy, "nothing was stored"),
        (of_sqlite("SQLITE_CORRUPT_VTAB"), SpoolCorrupt, "what SQLite says"),
        (of_sqlite("SQLITE_NOTADB"), SpoolCorrupt, "It was not changed"),
        (of_sqlite("SQLITE_IOERR_FSYNC"), SpoolFailed, "what SQLite says (SQLITE_IOERR_FSYNC)"),
        (of_sqlite("SQLITE_READONLY_DBMOVED"), SpoolFailed, "permissions of the directory"),
        (of_sqlite("SQLITE_CANTOPEN"), SpoolFailed, "check the disk"),
        (of_sqlite("SQLITE_PERM"), SpoolFailed, "then repeat"),
        (of_sqlite("SQLITE_NOMEM"), SpoolFailed, "nothing was stored"),
        (of_system(errno.ENOSPC), SpoolFull, "no space is left"),
        (of_system(errno.EDQUOT), SpoolFull, "no space is left"),
        (of_system(errno.ELOOP), SpoolFailed, f"{PATH} is a symbolic link"),
        (of_system(errno.ELOOP, "/srv/link"), SpoolFailed, "/srv/link is a symbolic link"),
        (of_system(errno.EACCES), SpoolFailed, f"{PATH}: Permission denied; nothing was stored"),
        (of_system(errno.EIO, "/srv/other"), SpoolFailed, "/srv/other: Input/output error"),
    ],
    ids=lambda value: str(getattr(value, "sqlite_errorname", getattr(value, "__name__", value))),
)
def test_a_failure_is_named_by_what_the_caller_does(error: Exception, kind: type[SpoolError], said: str) -> None:
    with pytest.raises(SpoolError) as caught, translated(PATH):
        raise error
    assert type(caught.value) is kind
    assert said in str(caught.value)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        *map(of_sqlite, (None, "", "SQLITE_CONSTRAINT_UNIQUE", "SQLITE_ERROR", "SQLITE_MISUSE")),
        *(ValueError("not of the disk"), SpoolBusy("named already")),
    ],
    ids=lambda error: str(getattr(error, "sqlite_errorname", type(error).__name__)) or "unnamed",
)
def test_what_only_a_mistake_of_ours_causes_keeps_its_own_name(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, translated(PATH):
        raise error
    assert caught.value is error


def test_what_goes_well_passes() -> None:
    with translated(PATH):
        done = True
    assert done


def damaged(path: Path) -> None:
    path.write_bytes(b"this was never a database" * 100)
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("SELECT * FROM letters")


def locked(path: Path) -> None:
    with closing(sqlite3.connect(path)) as first, closing(sqlite3.connect(path, timeout=0)) as second:
        first.execute("BEGIN EXCLUSIVE")
        second.execute("BEGIN IMMEDIATE")


def absent(path: Path) -> None:
    sqlite3.connect(path / "no" / "spool.db").close()


@pytest.mark.parametrize(("does", "kind"), [(damaged, SpoolCorrupt), (locked, SpoolBusy), (absent, SpoolFailed)])
def test_sqlite_itself_gives_these_names(tmp_path: Path, does: Callable[[Path], None], kind: type[SpoolError]) -> None:
    with pytest.raises(kind), translated(tmp_path / "spool.db"):
        does(tmp_path / "spool.db")


def test_who_finds_a_damaged_file_is_told_what_to_move_and_how_to_read_it() -> None:
    text = str(corrupt(PATH, "page 3 is not a page"))
    assert f"{PATH} cannot be used: page 3 is not a page." in text
    assert "move spool.db, spool.db-wal and spool.db-shm away together" in text
    assert 'sqlite3 spool.db ".recover"' in text


def test_what_moves_a_file_away_is_quoted_and_takes_its_log_with_it() -> None:
    assert moving(PATH) == f"mkdir {PATH.parent}/away-spool.db && mv {PATH}* {PATH.parent}/away-spool.db"
    assert moving(Path("/it's/spool.db")).endswith("""mv '/it'"'"'s/spool.db'* '/it'"'"'s/away-spool.db'""")
