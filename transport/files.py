"""The one door to durable files: atomic replace, append, and locks the kernel frees."""

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from transport.errors import PeerwakeError


class LockHeld(PeerwakeError):
    """Somebody else holds the lock; the caller waits or reports who."""

    code = "locked"


def fsync(descriptor: int) -> None:
    """Flush a file to disk (the seam where tests make it fail)."""
    os.fsync(descriptor)


def replace(source: Path, target: Path) -> None:
    """Rename over `target` atomically (the seam where tests make it fail)."""
    os.replace(source, target)


def sync_directory(path: Path) -> None:
    """Make names created in or removed from `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes | str, mode: int = 0o600, *, durable: bool = True) -> None:
    """Replace `path` with `data` so that a reader or a crash sees the old or the new, whole.

    What is made anew before it is read again need not be `durable`: a reader still sees it whole.
    Raises OSError; nothing half-written is left.
    """
    payload = data.encode() if isinstance(data, str) else data
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(payload)
            file.flush()
            if durable:
                fsync(file.fileno())
        replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


def read_regular(path: Path, *, follow: bool = True, limit: int | None = None) -> tuple[bytes, os.stat_result]:
    """Return what a regular file of at most `limit` bytes holds and its status; never waits for a writer.

    Raises OSError, whose `strerror` also tells what is no regular file and what is over the limit.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if limit is not None and status.st_size > limit:
            raise OSError(errno.EFBIG, f"{status.st_size:,} bytes are over the limit of {limit:,}", str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(), status
    finally:
        os.close(descriptor)


@contextmanager
def opened_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file to read parts of it; never waits for a writer. Raises OSError, also for what is none."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def append_line(path: Path, line: str, *, mend: bool = False) -> None:
    """Append one line in a single write, so that lines of many processes do not mix.

    With `mend`, a line that was cut off before is ended first, so that it spoils no other. Raises OSError,
    also when the disk took only a part of it.
    """
    data = (line + "\n").encode("utf-8", "backslashreplace")
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o600)
    try:
        if mend and (size := os.fstat(descriptor).st_size) and os.pread(descriptor, 1, size - 1) != b"\n":
            data = b"\n" + data
        if os.write(descriptor, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold an exclusive kernel lock on `path` without waiting; yields its descriptor.

    The lock lives as long as any process holds the open file description. Raises LockHeld.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockHeld(f"{path} is held by another process") from error
        yield descriptor
    finally:
        os.close(descriptor)
