"""What can go wrong with the file under the spool, named by what the caller does next."""

import errno
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transport.errors import PeerwakeError


class SpoolError(PeerwakeError):
    """The spool did not do what was asked; unless it says otherwise, nothing was changed."""

    code = "spool-failed"


class SpoolFailed(SpoolError):
    """The file cannot be read or written; nothing was stored, the user mends the cause and repeats."""

    code = "spool-failed"


class SpoolFull(SpoolError):
    """The disk is full; nothing was stored, the user frees space and repeats."""

    code = "spool-full"


class SpoolBusy(SpoolError):
    """Another process held the spool for too long; nothing was stored, the caller repeats later."""

    code = "spool-busy"


class SpoolCorrupt(SpoolError):
    """The file is damaged or not ours; it was left as it is, the user moves it away or repairs it."""

    code = "spool-corrupt"


class SpoolTooNew(SpoolError):
    """A newer version wrote the file; it was left as it is, the user upgrades."""

    code = "spool-too-new"


class SpoolUncertain(SpoolError):
    """The disk failed in the middle of a commit: the change may or may not be there."""

    code = "spool-uncertain"


class SpoolClosed(SpoolError):
    """The spool was closed before the operation began; nothing was stored."""

    code = "spool-closed"


def corrupt(path: Path, problem: str) -> SpoolCorrupt:
    """Return the error for a file that must not be used, saying how to go on."""
    return SpoolCorrupt(
        f"{path} cannot be used: {problem}. It was not changed. Stop peerwake, then move {path.name},"
        f" {path.name}-wal and {path.name}-shm away together: the next start makes an empty spool."
        " A disk that fails looks the same: see to that first."
        f' Messages can be recovered from the moved files with: sqlite3 {path.name} ".recover"'
    )


def moving(path: Path) -> str:
    """Return the shell command that moves a file that must not be used away, with its log and the log's index."""
    away = shlex.quote(str(path.with_name(f"away-{path.name}")))
    return f"mkdir {away} && mv {shlex.quote(str(path))}* {away}"


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise failures of SQLite and of the system as errors of the spool at `path`."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        named = _translate(error, path)
        if named is None:
            raise
        raise named from error


def _translate(error: sqlite3.Error | OSError, path: Path) -> SpoolError | None:
    """Return what a failure of SQLite or of the system means for the caller.

    None for a failure that only a programming error can cause.
    """
    if isinstance(error, OSError):
        return _translate_os(error, path)
    name = getattr(error, "sqlite_errorname", "") or ""
    match "_".join(name.split("_")[:2]):
        case "SQLITE_FULL":
            return _full(path)
        case "SQLITE_BUSY" | "SQLITE_LOCKED":
            return SpoolBusy(f"{path} is locked by another program; nothing was stored; close that program and repeat")
        case "SQLITE_CORRUPT" | "SQLITE_NOTADB":
            return corrupt(path, str(error))
        case "SQLITE_IOERR" | "SQLITE_READONLY" | "SQLITE_CANTOPEN" | "SQLITE_PERM" | "SQLITE_NOMEM":
            return SpoolFailed(
                f"{path}: {error} ({name}); nothing was stored; check the disk, its free space"
                " and the permissions of the directory, then repeat"
            )
        case _:
            return None


def _translate_os(error: OSError, path: Path) -> SpoolError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full(path)
    if error.errno == errno.ELOOP:
        return SpoolFailed(f"{error.filename or path} is a symbolic link; replace it by a file of its own")
    return SpoolFailed(
        f"{error.filename or path}: {error.strerror}; nothing was stored; check the disk and the permissions"
    )


def _full(path: Path) -> SpoolFull:
    return SpoolFull(f"no space is left for {path}; nothing was stored; free space on that disk and repeat")
