"""Being told of the death of processes that are not ours: pidfd, kqueue or polling. Standard library only."""

import os
import select
import signal
import sys

PIDFD_GET_INFO = 0xC000FF0B
INFO_EXIT = 1 << 3
INFO_BYTES = 64
EXIT_CODE_AT = 60
NOTE_EXITSTATUS = 0x04000000
POLL_SECONDS = 0.02

Ended = tuple[str, int | None]


class Deaths:
    """Tells of deaths by polling: what works everywhere; the others are quicker. Wait statuses stay unknown."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, str]] = {}
        self._poke = -1

    def listen(self, descriptor: int) -> None:
        """Let `wait` return when this descriptor can be read."""
        self._poke = descriptor

    def listen_child(self, pid: int) -> None:
        """Let `wait` return when this child ends, where that costs nothing."""

    def add(self, name: str, pid: int, started: str) -> bool:
        """Begin to watch exactly this process; False when it is dead already. Raises OSError, and watches nothing."""
        if not is_same(pid, started):
            return False
        self._known[name] = (pid, started)
        return True

    def drop(self, name: str) -> None:
        """Watch it no longer; nothing happens when it is not watched."""
        self._known.pop(name, None)

    def wait(self, seconds: float) -> tuple[bool, list[Ended]]:
        """Return at a poke, a death, or after `seconds`: whether it was a poke, and who died of which wait status."""
        woken = bool(select.select([self._poke], [], [], min(seconds, POLL_SECONDS) if self._known else seconds)[0])
        dead = [(name, None) for name, (pid, started) in self._known.items() if not is_same(pid, started)]
        return woken, list(dead)


class PidfdDeaths(Deaths):
    """Linux: one descriptor for each process, costs nothing while they live."""

    def __init__(self) -> None:
        super().__init__()
        self._epoll = select.epoll()
        self._names: dict[int, str] = {}
        self._handles: dict[str, int] = {}
        self._child = -1

    def listen(self, descriptor: int) -> None:
        super().listen(descriptor)
        self._epoll.register(descriptor, select.EPOLLIN)

    def listen_child(self, pid: int) -> None:
        self._child = os.pidfd_open(pid)
        self._epoll.register(self._child, select.EPOLLIN)

    def add(self, name: str, pid: int, started: str) -> bool:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        # Looked at behind the descriptor: what it names now is what it names for ever.
        if not super().add(name, pid, started):
            os.close(handle)
            return False
        try:
            self._epoll.register(handle, select.EPOLLIN)
        except OSError:
            super().drop(name)
            os.close(handle)
            raise
        self._names[handle], self._handles[name] = name, handle
        return True

    def drop(self, name: str) -> None:
        super().drop(name)
        handle = self._handles.pop(name, None)
        if handle is not None:
            del self._names[handle]
            self._epoll.unregister(handle)
            os.close(handle)

    def wait(self, seconds: float) -> tuple[bool, list[Ended]]:
        ready = [handle for handle, _ in self._epoll.poll(seconds)]
        if self._child in ready:
            os.close(self._child)
            self._child = -1
        ended = [(self._names[handle], handle) for handle in ready if handle in self._names]
        return self._poke in ready, [(name, wait_status(handle, *self._known[name])) for name, handle in ended]


if sys.platform != "linux":

    class KqueueDeaths(Deaths):
        """macOS and the BSDs: one kernel queue, which also tells the wait status of processes of this user."""

        def __init__(self) -> None:
            super().__init__()
            self._queue = select.kqueue()
            self._names: dict[int, str] = {}

        def listen(self, descriptor: int) -> None:
            super().listen(descriptor)
            self._queue.control([select.kevent(descriptor, select.KQ_FILTER_READ, select.KQ_EV_ADD)], 0)

        def add(self, name: str, pid: int, started: str) -> bool:
            flags = select.KQ_NOTE_EXIT | NOTE_EXITSTATUS
            event = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD | select.KQ_EV_ONESHOT, flags)
            try:
                self._queue.control([event], 0)
            except ProcessLookupError:
                return False
            self._names[pid] = name
            return super().add(name, pid, started)

        def drop(self, name: str) -> None:
            pid, _ = self._known.get(name, (-1, ""))
            super().drop(name)
            self._names.pop(pid, None)

        def wait(self, seconds: float) -> tuple[bool, list[Ended]]:
            woken, ended = False, []
            for event in self._queue.control(None, 64, seconds):
                if event.filter == select.KQ_FILTER_READ:
                    woken = True
                elif event.ident in self._names:
                    ended.append((self._names[event.ident], event.data & 0xFFFF))
            return woken, ended


def deaths() -> Deaths:
    """Return the quickest way this machine has."""
    if hasattr(os, "pidfd_open"):
        return PidfdDeaths()
    if sys.platform != "linux" and hasattr(select, "kqueue"):
        return KqueueDeaths()
    return Deaths()


def _stat_fields(pid: int) -> list[str] | None:
    """Return what Linux says of a process, None if there is none; raises OSError when that cannot be read."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().decode("utf-8", "replace").rpartition(")")[2].split() or None
    except (FileNotFoundError, ProcessLookupError):
        return None


def _exists(pid: int) -> bool:
    """Tell whether some process has this pid; needs no descriptor."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_same(pid: int, started: str) -> bool:
    """Tell whether a living process has this pid and this start time (as `transport.process` writes it).

    While nobody can look at it, as when no descriptor is left, whoever has the pid is taken for it.
    """
    if sys.platform == "linux":
        try:
            fields = _stat_fields(pid)
        except OSError:
            return _exists(pid)
        return fields is not None and fields[0] not in "ZX" and fields[19] == started
    words = _output(["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)]).strip().partition(" ")
    return words[2].strip() == started and not words[0].startswith("Z")


def wait_status(handle: int, pid: int, started: str) -> int | None:
    """Return how a process died, None where the kernel does not tell (before Linux 6.15, once reaped)."""
    status = zombie_status(pid, started)
    if status is not None:
        return status
    import fcntl

    info = bytearray(INFO_BYTES)
    info[0] = INFO_EXIT
    try:
        fcntl.ioctl(handle, PIDFD_GET_INFO | (INFO_BYTES << 16), info)
    except OSError:
        return None
    if not info[0] & INFO_EXIT:
        return None
    return int.from_bytes(info[EXIT_CODE_AT : EXIT_CODE_AT + 4], sys.byteorder)


def zombie_status(pid: int, started: str) -> int | None:
    """Return how a process died that nobody has reaped yet, None where there is none or it may not be told."""
    try:
        fields = _stat_fields(pid)
    except OSError:
        return None
    if fields is None or fields[0] not in "ZX" or fields[19] != started or len(fields) < 50:
        return None
    # Zero is also what those are told who may not know: somebody else's processes.
    return int(fields[49]) if int(fields[49]) or _is_of_this_user(pid) else None


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


def _is_of_this_user(pid: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}").st_uid == os.geteuid()
    except OSError:
        return False


def boot_id() -> str:
    """Return what changes with each start of this machine; raises OSError."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        return _output(["/usr/sbin/sysctl", "-n", "kern.boottime"]).strip().partition("}")[0]


def _output(argv: list[str]) -> str:
    import subprocess  # not needed on Linux, and costs memory

    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=2, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
