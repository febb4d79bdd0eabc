"""The lock in front of write transactions: one writer at a time, in turn, never hanging for ever."""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from transport.spool.faults import SpoolBusy, SpoolFailed

LOOK_SECONDS: Final = 0.001
OVERTAKES: Final = 8
"""So many times in a row a writer may take a turn that it finds free while others are being woken for it."""


class Turnstile:
    """Two kernel locks: who holds the turn waits for the spool, everybody else waits for the turn.

    So a writer that comes back at once cannot overtake those who wait for long. The kernel frees both
    locks when a process dies. A contended lock is awaited by a thread of its own, because flock(2) has no
    timeout; whoever is next for the spool looks for itself first, since many a commit is over before
    two threads were woken, one by the other. For use by one thread at a time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._spool = _open(path)
        self._turn = _open(path.with_suffix(".turn"))
        self._mutex = threading.Lock()
        self._knock = _taken()
        self._granted = _taken()
        self._asked: int | None = None
        self._wanted = False
        self._overtaken = 0
        self._closed = False
        self._doorman: threading.Thread | None = None

    @contextmanager
    def held(self, seconds: float) -> Iterator[None]:
        """Hold the spool, waiting at most `seconds` for it; raises SpoolBusy."""
        self.enter(seconds)
        try:
            yield
        finally:
            self.leave()

    def enter(self, seconds: float) -> None:
        """Take the lock, waiting at most `seconds`; raises SpoolBusy, SpoolFailed."""
        end = time.monotonic() + seconds
        if self._is_wanted_again(self._spool):
            self._await(seconds, end)
            return
        looking = 0.0 if self._overtaken < OVERTAKES else None
        self._take(self._turn, looking, seconds, end)
        try:
            has_waited = self._take(self._spool, LOOK_SECONDS, seconds, end)
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)
        self._overtaken = self._overtaken + 1 if has_waited and looking is not None else 0

    def leave(self) -> None:
        """Let the next writer through."""
        fcntl.flock(self._spool, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give up the lock files; a request still waiting is withdrawn."""
        with self._mutex:
            self._closed, self._wanted = True, False
            if self._asked is not None:
                return
        if self._doorman is None:
            self._close_files()
        else:
            self._knock.release()
            self._doorman.join()

    def _take(self, lock: int, looking: float | None, seconds: float, end: float) -> bool:
        """Take a lock after looking for it for so many seconds, None not at all; return whether it was not free."""
        if not self._is_wanted_again(lock):
            if looking is not None and _is_free(lock, 0.0):
                return False
            if looking and _is_free(lock, looking):
                return True
            self._ask(lock)
        self._await(seconds, end)
        return True

    def _is_wanted_again(self, lock: int) -> bool:
        """Take up a request that was withdrawn while the doorman still waits for this lock."""
        with self._mutex:
            self._wanted = self._asked == lock
            return self._wanted

    def _ask(self, lock: int) -> None:
        if self._doorman is None:
            self._doorman = self._hired()
        with self._mutex:
            self._asked, self._wanted = lock, True
        self._knock.release()

    def _hired(self) -> threading.Thread:
        """Start the thread that waits for locks; raises SpoolFailed where the system gives none."""
        doorman = threading.Thread(target=self._attend, name="spool-doorman", daemon=True)
        try:
            doorman.start()
        except RuntimeError as error:
            raise SpoolFailed(
                f"{self.path} is held by another process, and no thread could be started to wait for it ({error});"
                " nothing was stored; free processes or raise their limit (ulimit -u), then repeat"
            ) from error
        return doorman

    def _await(self, seconds: float, end: float) -> None:
        if self._granted.acquire(timeout=max(0.0, end - time.monotonic())):
            return
        with self._mutex:
            if self._granted.acquire(blocking=False):
                return
            self._wanted = False
        raise SpoolBusy(
            f"another process has held {self.path} for more than {seconds:g} s{_holder(self._spool)};"
            " nothing was stored; if that process is stopped, continue or end it, then repeat"
        )

    def _attend(self) -> None:
        while True:
            self._knock.acquire()
            lock = self._asked
            if lock is not None:
                fcntl.flock(lock, fcntl.LOCK_EX)
            with self._mutex:
                self._asked = None
                if self._wanted:
                    self._wanted = False
                    self._granted.release()
                    continue
                if lock is not None:
                    fcntl.flock(lock, fcntl.LOCK_UN)
                if self._closed:
                    self._close_files()
                    return

    def _close_files(self) -> None:
        os.close(self._spool)
        os.close(self._turn)


def _is_free(lock: int, looking: float) -> bool:
    """Take a lock if it is free, or comes free within `looking` seconds."""
    end = time.monotonic() + looking
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            os.sched_yield()
        else:
            return True


def _taken() -> threading.Lock:
    """Return a lock used as a signal: `release` sends it, `acquire` awaits it."""
    lock = threading.Lock()
    lock.acquire()
    return lock


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _holder(descriptor: int) -> str:
    """Return ` (pid N)` where the kernel tells who holds the lock, else nothing."""
    inode = os.fstat(descriptor).st_ino
    with suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
                return f" (pid {fields[4]})"
    return ""
