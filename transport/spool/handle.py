"""The one descriptor of our own on a database file: POSIX frees a process's locks on a file when it closes any of them.

SQLite's locks are of this kind. Freed behind its back, another process takes itself for the last one at the spool
and removes the write-ahead log under a server that goes on writing into it.
"""

import os
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Inode = tuple[int, int]


@dataclass(slots=True)
class _Open:
    """The descriptors of one file, and by how many it is used; they are closed together, when nobody uses it."""

    descriptors: list[int]
    uses: int = 0


_files: Final[dict[Inode, _Open]] = {}
_mutex: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class Handle:
    """A regular file held open; to be released after the last connection to it that was made meanwhile is closed."""

    descriptor: int
    inode: Inode

    def release(self) -> None:
        """Close the file, unless somebody else in this process uses it."""
        with _mutex:
            file = _files[self.inode]
            file.uses -= 1
            if file.uses == 0:
                del _files[self.inode]
                for descriptor in file.descriptors:
                    os.close(descriptor)


def hold(path: Path) -> Handle:
    """Open a file, creating it (0600) where there is none, or take what this process has open; raises OSError."""
    with _mutex:
        known = _known(path)
        if known is None:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            inode = _inode(os.fstat(descriptor))
            known = inode, _files.setdefault(inode, _Open([]))
            known[1].descriptors.append(descriptor)
        inode, file = known
        file.uses += 1
        return Handle(file.descriptors[0], inode)


def _known(path: Path) -> tuple[Inode, _Open] | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    inode = _inode(status)
    file = _files.get(inode) if stat.S_ISREG(status.st_mode) else None
    return None if file is None else (inode, file)


def _inode(status: os.stat_result) -> Inode:
    return status.st_dev, status.st_ino
