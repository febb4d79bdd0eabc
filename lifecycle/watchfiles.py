"""The files the canary reads and writes: what to watch, the log of deaths, locks. Standard library only."""

import errno
import fcntl
import os
import sys
import time

TAIL_BYTES = 1 << 16


class Watched:
    """One server: who, which process, and how often its cgroup had run out of memory when the watch began."""

    __slots__ = ("boot", "cgroup", "identity", "oom", "pid", "started")

    def __init__(self, identity: str, text: str) -> None:
        """Raises ValueError for a text that is no watch file's."""
        pid, self.started, self.boot = text.split("\n")[:3]
        self.identity, self.pid = identity, int(pid)
        self.cgroup: str | None = None
        self.oom: int | None = None


class Death:
    """The death of one server: its wait status as a word, and when it was noticed, in wall seconds."""

    __slots__ = ("at", "cause", "watched")

    def __init__(self, watched: Watched, cause: str, at: float) -> None:
        self.watched, self.cause, self.at = watched, cause, at

    @property
    def forensics(self) -> str:
        """The snapshot below `logs`, `none` where there is nothing to be seen any more."""
        if self.cause == "reboot":
            return "none"
        return f"server-deaths/{stamp(self.at, '%Y%m%dT%H%M%S')}-{self.watched.identity}-{self.watched.pid}.txt"

    @property
    def mark(self) -> str:
        """What stands in the line of this death and of no other."""
        started = self.watched.started
        quoted = f'"{started}"' if " " in started else started
        who = f"identity={self.watched.identity} server_pid={self.watched.pid} server_started={quoted}"
        return f" ev=server-exit {who} "

    @property
    def line(self) -> str:
        return f"ts={iso(self.at)}{self.mark}cause={self.cause} forensics={self.forensics}\n"


def append(path: str, line: str) -> bool:
    """Append one line in one write; False when the disk did not take it whole.

    A line that was cut off before is ended first, so that it spoils no other.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    try:
        size = os.fstat(descriptor).st_size
        torn = size and os.pread(descriptor, 1, size - 1) != b"\n"
        data = (b"\n" if torn else b"") + line.encode()
        return os.write(descriptor, data) == len(data)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def is_written(path: str, death: Death) -> bool:
    """Tell whether the line of a death stands whole in a log."""
    return death.mark in tail(path, TAIL_BYTES).rpartition("\n")[0]


def tail(path: str, size: int) -> str:
    """Return the last `size` bytes of a file, empty when it cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            return file.read(size).decode("utf-8", "replace")
    except OSError:
        return ""


def is_locked(path: str) -> bool:
    """Tell whether some process holds a lock on a file, where possible without touching the lock."""
    try:
        inode = f":{os.stat(path).st_ino} "
        if sys.platform == "linux":
            with open("/proc/locks", encoding="ascii") as locks:
                return any(inode in line and " WRITE " in line for line in locks)
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ENOTDIR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(descriptor)


def stamp(wall: float, layout: str) -> str:
    return time.strftime(layout, time.gmtime(wall))


def iso(wall: float) -> str:
    milliseconds = int(wall * 1000)
    return f"{stamp(milliseconds // 1000, '%Y-%m-%dT%H:%M:%S')}.{milliseconds % 1000:03d}+00:00"
