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

from lifecycle.deathwatch import Deaths, boot_id, cgroup_of, deaths, oom_kills

IDLE_SECONDS = 1.0
RESCAN_SECONDS = 30.0
TOMBSTONE_SECONDS = 60.0
CLAIMED = ".claimed-"
LINE_BYTES = 4096


class Watched:
    """One server: who, which process, and how often its cgroup had run out of memory when the watch began."""

    __slots__ = ("boot", "cgroup", "identity", "oom", "pid", "started")

    def __init__(self, identity: str, text: str) -> None:
        """Raises ValueError for a text that is no watch file's."""
        pid, self.started, self.boot = text.split("\n")[:3]
        self.identity, self.pid = identity, int(pid)
        self.cgroup: str | None = None
        self.oom: int | None = None


class Watcher:
    """Watches the servers of one root until there is nothing left to watch and no peerwake server."""

    def __init__(self, home: str, lock: int) -> None:
        self.home, self.lock = home, lock
        self.directory = f"{home}/state/canary"
        self.exits = f"{home}/logs/exits.log"
        self.watched: dict[str, Watched] = {}
        self.unseen: list[tuple[Watched, str, str]] = []
        self.reporter: int | None = None
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
        for name in self._names():
            if name.startswith(CLAIMED):
                self._settle_claim(name)
        self.scan()
        while self._is_ours() and (self.watched or self.unseen or self.reporter or self._is_supervised()):
            self._reap()
            self._report()
            idle = not self.watched or self.reporter is not None
            woken, ended = self.deaths.wait(IDLE_SECONDS if idle else RESCAN_SECONDS)
            for name, status in ended:
                self.died(name, status)
            if woken:
                self._drain_poke()
            if woken or not ended:
                self.scan()
        os.close(self.poke)

    def scan(self) -> None:
        """Make what is watched equal to the files."""
        names = self._names()
        for name in set(self.watched) - set(names):
            self.deaths.drop(name)
            del self.watched[name]
        for name in names:
            if name.startswith(CLAIMED):
                self._settle_claim(name)
            elif name not in self.watched and not name.startswith("."):
                self._begin(name)

    def _begin(self, name: str) -> None:
        text = self._read(name)
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
        alive = watched.boot == boot_id() and self.deaths.add(name, watched.pid, watched.started)
        if not alive:
            self.died(name, None)

    def died(self, name: str, status: int | None) -> None:
        """Report one death, once, unless it is accounted for."""
        watched = self.watched.pop(name)
        self.deaths.drop(name)
        text = self._read(name)
        if text is None:
            return
        if not text:
            self._remove(name)
            return
        try:
            os.rename(f"{self.directory}/{name}", f"{self.directory}/{CLAIMED}{name}")
        except OSError:
            return
        cause = cause_of(status) if watched.boot == boot_id() else "reboot"
        self._write_line(name, watched, cause)

    def _write_line(self, name: str, watched: Watched, cause: str) -> None:
        """Append the line first; the snapshot follows in a process of its own."""
        now = time.time()
        snapshot = f"{_stamp(now, '%Y%m%dT%H%M%S')}-{watched.identity}-{watched.pid}.txt"
        forensics = "none" if cause == "reboot" else f"server-deaths/{snapshot}"
        line = (
            f"ts={_iso(now)} ev=server-exit identity={watched.identity} server_pid={watched.pid}"
            f" cause={cause} forensics={forensics}\n"
        )
        if not append(self.exits, line):
            return
        self._remove(CLAIMED + name)
        if cause != "reboot":
            self.unseen.append((watched, cause, f"{self.home}/logs/server-deaths/{snapshot}"))

    def _settle_claim(self, name: str) -> None:
        """A death was claimed and its line did not get written, or a watcher died in between."""
        text = self._read(name)
        try:
            watched = Watched(name.removeprefix(CLAIMED).rpartition(".")[0], text or "")
        except ValueError:
            self._remove(name)
            return
        mark = f" ev=server-exit identity={watched.identity} server_pid={watched.pid} "
        if mark in tail(self.exits, 1 << 16):
            self._remove(name)
        else:
            self._write_line(name.removeprefix(CLAIMED), watched, "unknown")

    def _report(self) -> None:
        """Take the snapshots of what died since the last ones, in a child that cannot hold this process up."""
        if not self.unseen or self.reporter is not None:
            return
        dead, self.unseen = self.unseen, []
        child = os.fork()
        if child:
            self.reporter = child
            self.deaths.listen_child(child)
            return
        try:
            os.close(self.lock)
            os.close(self.poke)
            from lifecycle.forensics import snapshot

            snapshot(
                self.home, [(each.identity, each.pid, why, each.cgroup, each.oom, path) for each, why, path in dead]
            )
        finally:
            os._exit(0)

    def _reap(self) -> None:
        if self.reporter is not None and os.waitpid(self.reporter, os.WNOHANG)[0]:
            self.reporter = None

    def _bury_old(self, name: str) -> None:
        """Remove an emptied file that nobody needs any more: its process is gone, or long spared."""
        try:
            age = time.time() - os.stat(f"{self.directory}/{name}").st_mtime
            os.kill(int(name.rpartition(".")[2]), 0)
        except (ValueError, ProcessLookupError):
            self._remove(name)
        except OSError:
            return
        else:
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

    def _names(self) -> list[str]:
        try:
            return [name for name in os.listdir(self.directory) if name != ".poke"]
        except OSError:
            return []

    def _read(self, name: str) -> str | None:
        """Return a watch file's text, empty when the death is accounted for, None when there is no file."""
        try:
            descriptor = os.open(f"{self.directory}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return os.read(descriptor, 1024).decode("utf-8", "replace")
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


def cause_of(status: int | None) -> str:
    """Return a wait status as a word: `SIGKILL`, `exit:1`, or `unknown`."""
    if status is None:
        return "unknown"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return signal.Signals(number).name
        except ValueError:
            return f"signal:{number}"
    return f"exit:{os.WEXITSTATUS(status)}"


def append(path: str, line: str) -> bool:
    """Append one line in one write; False when the disk did not take it whole."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    try:
        data = line.encode()
        return os.write(descriptor, data) == len(data)
    except OSError:
        return False
    finally:
        os.close(descriptor)


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


def _stamp(wall: float, layout: str) -> str:
    return time.strftime(layout, time.gmtime(wall))


def _iso(wall: float) -> str:
    milliseconds = int(wall * 1000)
    return f"{_stamp(milliseconds // 1000, '%Y-%m-%dT%H:%M:%S')}.{milliseconds % 1000:03d}+00:00"


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
