"""The lock in front of write transactions: one writer at a time, in turn, never hanging for ever."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from transport.spool.faults import SpoolBusy


class Turnstile:
    """Two kernel locks: who holds the turn waits for the spool, everybody else waits for the turn.

    So a writer that comes back at once cannot overtake those who wait. The kernel frees both locks
    when a process dies. A contended lock is awaited by a thread of its own, because flock(2) has no
    timeout. For use by one thread at a time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._spool = _open(path)
        self._turn = _open(path.with_suffix(".turn"))
        self._mutex = threading.Lock()
        self._knock = _taken()
        self._granted = _taken()
        self._asked = False
        self._wanted = False
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
        """Take the lock, waiting at most `seconds`; raises SpoolBusy."""
        with self._mutex:
            asked = self._asked
            if not asked and self._is_free():
                return
            self._wanted = self._asked = True
        if not asked:
            self._ask()
        if self._granted.acquire(timeout=seconds):
            return
        with self._mutex:
            if self._granted.acquire(blocking=False):
                return
            self._wanted = False
        raise SpoolBusy(
            f"another process has held {self.path} for more than {seconds:g} s{_holder(self._spool)};"
            " nothing was stored; if that process is stopped, continue or end it, then repeat"
        )

    def leave(self) -> None:
        """Let the next writer through."""
        fcntl.flock(self._spool, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give up the lock files; a request still waiting is withdrawn."""
        with self._mutex:
            self._closed, self._wanted = True, False
            if self._asked:
                return
        if self._doorman is None:
            self._close_files()
        else:
            self._knock.release()
            self._doorman.join()

    def _is_free(self) -> bool:
        try:
            fcntl.flock(self._turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        try:
            fcntl.flock(self._spool, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)
        return True

    def _ask(self) -> None:
        if self._doorman is None:
            self._doorman = threading.Thread(target=self._attend, name="spool-doorman", daemon=True)
            self._doorman.start()
        self._knock.release()

    def _attend(self) -> None:
        while True:
            self._knock.acquire()
            if self._asked:
                fcntl.flock(self._turn, fcntl.LOCK_EX)
                fcntl.flock(self._spool, fcntl.LOCK_EX)
            with self._mutex:
                self._asked = False
                if self._wanted:
                    self._wanted = False
                    self._granted.release()
                    fcntl.flock(self._turn, fcntl.LOCK_UN)
                    continue
                fcntl.flock(self._turn, fcntl.LOCK_UN)
                fcntl.flock(self._spool, fcntl.LOCK_UN)
                if self._closed:
                    self._close_files()
                    return

    def _close_files(self) -> None:
        os.close(self._spool)
        os.close(self._turn)


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
