"""The canary: one process per root that notices the death of every tmux server and writes down its cause.

Standard library only, started by `lifecycle.canary` as `python -I -S watcher.py HOME LOCK_FD`, the lock
already held on that descriptor. Files say what to watch (`state/canary/<identity>.<pid>`): a file with text
is a server whose death is to be reported, an emptied one a death that is accounted for. It manages nothing.
"""

# Without pathlib and json, which cost more memory than this whole program.

import errno
import fcntl
import os
import signal
import stat
import sys
import time

if __name__ == "__main__":
    # At the end: nothing of ours or of an installation may stand in for the standard library.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from lifecycle.cgroup import cgroup_of, oom_kills
from lifecycle.deathwatch import Deaths, boot_id, cause_of, deaths
from lifecycle.watchfiles import Death, Watched, append, is_locked, is_written

IDLE_SECONDS = 1.0
RESCAN_SECONDS = 30.0
TOMBSTONE_SECONDS = 60.0
CLAIMED = ".claimed-"
WATCH_BYTES = 1024


class Watcher:
    """Watches the servers of one root until there is nothing left to watch and no peerwake server."""

    def __init__(self, home: str, lock: int) -> None:
        self.home, self.lock = home, lock
        self.directory = f"{home}/state/canary"
        self.exits = f"{home}/logs/exits.log"
        self.watched: dict[str, Watched] = {}
        self.owed: dict[str, Death] = {}
        self.unseen: list[Death] = []
        self.reporter: int | None = None
        self.boot = boot_id()
        self.is_short = False
        self.deaths: Deaths = deaths()
        self.poke = self._open_poke()
        self.deaths.listen(self.poke)

    def _open_poke(self) -> int:
        path = f"{self.directory}/.poke"
        try:
            os.mkfifo(path, 0o600)
        except FileExistsError:
            if not stat.S_ISFIFO(os.lstat(path).st_mode):
                os.unlink(path)
                os.mkfifo(path, 0o600)
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> None:
        """Return when there is nothing to watch and nobody who could add something."""
        for name in self._names() or ():
            if name.startswith(CLAIMED):
                self._settle_claim(name)
        self.scan()
        while self._is_ours() and (self._is_needed() or self._is_supervised()):
            self._reap()
            self._report()
            idle = not self.watched or self.reporter is not None or self.is_short
            woken, ended = self.deaths.wait(IDLE_SECONDS if idle else RESCAN_SECONDS)
            for name, status in ended:
                self.died(name, status)
            if woken:
                self._drain_poke()
            if woken or not ended:
                self.scan()
        os.close(self.poke)

    def _is_needed(self) -> bool:
        return bool(self.watched or self.unseen or self.reporter or self.is_short)

    def scan(self) -> None:
        """Make what is watched equal to the files; what cannot be looked at now is looked at again soon."""
        self.is_short = False
        names = self._names()
        if names is None:
            return
        for name in set(self.watched) - set(names):
            self.deaths.drop(name)
            del self.watched[name]
        for name in names:
            if name.startswith(CLAIMED):
                self._settle_claim(name)
            elif name not in self.watched and not name.startswith("."):
                self._begin(name)

    def _begin(self, name: str) -> None:
        try:
            text = self._read(name)
        except OSError:
            self.is_short = True
            return
        if not text:
            self._bury_old(name)
            return
        try:
            watched = Watched(name.rpartition(".")[0], text)
        except ValueError:
            self._remove(name)
            return
        watched.cgroup = cgroup_of(watched.pid)
        watched.oom = oom_kills(watched.cgroup)
        self.watched[name] = watched
        try:
            alive = watched.boot == self.boot and self.deaths.add(name, watched.pid, watched.started)
        except OSError:
            del self.watched[name]
            self.is_short = True
            return
        if not alive:
            self.died(name, None)

    def died(self, name: str, status: int | None) -> None:
        """Report one death, once, unless it is accounted for."""
        watched = self.watched.pop(name)
        self.deaths.drop(name)
        cause = cause_of(status) if watched.boot == self.boot else "reboot"
        death = self.owed.setdefault(name, Death(watched, cause, time.time()))
        try:
            text = self._read(name)
        except OSError:
            self.is_short = True
            return  # the file is still there, and looked at again
        if not text:
            del self.owed[name]  # what is left of the file says so to a late `ensure`
            return
        try:
            os.rename(f"{self.directory}/{name}", f"{self.directory}/{CLAIMED}{name}")
        except OSError:
            return
        self._write_line(name, death)

    def _write_line(self, name: str, death: Death) -> None:
        """Append the line first; the snapshot follows in a process of its own."""
        if not append(self.exits, death.line):
            return
        self.owed.pop(name, None)
        self._close(name)
        if death.forensics != "none":
            self.unseen.append(death)

    def _settle_claim(self, claim: str) -> None:
        """A death was claimed and its line did not get written, or a watcher died in between."""
        name = claim.removeprefix(CLAIMED)
        death = self.owed.get(name)
        if death is None:
            try:
                watched = Watched(name.rpartition(".")[0], self._read(claim) or "")
            except OSError:
                self.is_short = True
                return
            except ValueError:
                self._remove(claim)
                return
            death = self.owed[name] = Death(watched, "unknown", time.time())
        if is_written(self.exits, death):
            self.owed.pop(name, None)
            self._close(name)
        else:
            self._write_line(name, death)

    def _close(self, name: str) -> None:
        """Leave the emptied file of a death that has its line, lest somebody who comes late has it watched again."""
        claim = f"{self.directory}/{CLAIMED}{name}"
        try:
            os.truncate(claim, 0)
            os.utime(claim)
            os.rename(claim, f"{self.directory}/{name}")
        except OSError:
            self._remove(CLAIMED + name)

    def _report(self) -> None:
        """Take the snapshots of what died since the last ones, in a child that cannot hold this process up."""
        if not self.unseen or self.reporter is not None:
            return
        try:
            child = os.fork()
        except OSError:
            self.is_short = True
            return  # no room for one process more; asked for again soon
        dead, self.unseen = self.unseen, []
        if child:
            self.reporter = child
            try:
                self.deaths.listen_child(child)
            except OSError:
                self.is_short = True  # its end is seen when this process looks again
            return
        try:
            os.close(self.lock)
            os.close(self.poke)
            from lifecycle.forensics import snapshot

            snapshot(self.home, dead)
        finally:
            os._exit(0)

    def _reap(self) -> None:
        if self.reporter is not None and os.waitpid(self.reporter, os.WNOHANG)[0]:
            self.reporter = None

    def _bury_old(self, name: str) -> None:
        """Remove an emptied file that nobody needs any more: whoever knew its process has forgotten it by now."""
        try:
            age = time.time() - os.stat(f"{self.directory}/{name}").st_mtime
        except OSError:
            return
        if age > TOMBSTONE_SECONDS:
            self._remove(name)

    def _is_ours(self) -> bool:
        """Tell whether the lock that is held is still the one of this root: a root can be removed."""
        try:
            mine, there = os.fstat(self.lock), os.stat(f"{self.home}/state/canary.lock")
        except OSError:
            return False
        return (mine.st_ino, mine.st_dev) == (there.st_ino, there.st_dev)

    def _is_supervised(self) -> bool:
        return is_locked(f"{self.home}/state/supervisor.lock")

    def _names(self) -> list[str] | None:
        """Return the names of the files, None when they cannot be listed now."""
        try:
            return [name for name in os.listdir(self.directory) if name != ".poke"]
        except FileNotFoundError:
            return []
        except OSError:
            self.is_short = True
            return None

    def _read(self, name: str) -> str | None:
        """Return a watch file's text, empty when the death is accounted for, None when there is no such file.

        Raises OSError when that cannot be told.
        """
        try:
            descriptor = os.open(f"{self.directory}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ELOOP, errno.EACCES, errno.ENXIO):
                raise
            return None
        try:
            return os.read(descriptor, WATCH_BYTES).decode("utf-8", "replace")
        finally:
            os.close(descriptor)

    def _remove(self, name: str) -> None:
        try:
            os.unlink(f"{self.directory}/{name}")
        except OSError:
            return

    def _drain_poke(self) -> None:
        try:
            while os.read(self.poke, 4096):
                pass
        except BlockingIOError:
            return


def main() -> int:
    """Detach from whoever started this process, then watch."""
    if os.fork():
        return 0
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    home, lock = sys.argv[1], int(sys.argv[2])
    while True:
        Watcher(home, lock).run()
        os.close(lock)
        # What was added while the lock was still held was left to this process.
        again = relock(home)
        if again is None:
            return 0
        lock = again


def relock(home: str) -> int | None:
    """Return the lock again when there is something to watch and nobody else has it."""
    try:
        files = [entry for entry in os.scandir(f"{home}/state/canary") if not entry.name.startswith(".")]
        if not any(entry.stat().st_size for entry in files):
            return None
        descriptor = os.open(f"{home}/state/canary.lock", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


if __name__ == "__main__":
    sys.exit(main())
