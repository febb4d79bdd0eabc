"""The one door to other processes: run a program under a deadline, and know who is who."""

import errno
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from transport.errors import PeerwakeError


class ProgramMissing(PeerwakeError):
    """The program is not installed or not executable; the user installs it."""

    code = "program-missing"


class DeadlinePassed(PeerwakeError):
    """A program or a question got no answer in time: that tells nothing about its subject."""

    code = "deadline"


class ProcessUnknown(DeadlinePassed):
    """A process could not be looked at, as when no descriptor is left: it is neither alive nor dead."""

    code = "process-unknown"


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended, with what it printed."""

    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process named so that a reused pid is never mistaken for it: pid and start time."""

    pid: int
    started: str

    def is_alive(self) -> bool:
        """Tell whether it lives; while nobody can look at it, whoever has its pid is taken for it."""
        try:
            return start_time(self.pid) == self.started
        except ProcessUnknown:
            return exists(self.pid)


def run(
    argv: Sequence[str],
    *,
    deadline: float,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Finished:
    """Run a program to its end, blocking at most `deadline` seconds.

    Raises ProgramMissing, or DeadlinePassed after killing it.
    """
    try:
        # A group of its own, so that what the program started ends with it when the deadline passes.
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            cwd=cwd,
            process_group=0,
        )
    except OSError as error:
        raise _cannot_run(argv, error) from error
    with child:
        try:
            stdout, stderr = child.communicate(stdin, timeout=deadline)
        except subprocess.TimeoutExpired as error:
            raise DeadlinePassed(f"{argv[0]} gave no answer in {deadline:g} s") from error
        finally:
            if child.returncode is None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.pid, signal.SIGKILL)
    return Finished(child.returncode, stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace"))


def _cannot_run(argv: Sequence[str], error: OSError) -> PeerwakeError | OSError:
    """Return ProgramMissing for what the user can install or mend, else the error itself."""
    if error.errno not in (errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.ENOEXEC):
        return error
    return ProgramMissing(f"cannot run {argv[0]}: {error.filename or argv[0]}: {error.strerror}")


def start_detached(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    output: Path | None = None,
    inherit: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, with no terminal and nothing inherited but `env` and `inherit`.

    Where `output` is a link, a pipe or a directory, or cannot be written, it goes nowhere: that holds up no start.
    """
    sink = _sink(output)
    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env=env,
            cwd=cwd,
            pass_fds=inherit,
            start_new_session=True,
        )
    except OSError as error:
        raise _cannot_run(argv, error) from error
    finally:
        os.close(sink)


def _sink(output: Path | None) -> int:
    if output is not None:
        with suppress(OSError):
            # A pipe that nobody reads refuses at once; one that somebody reads is no log either.
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(output, flags, 0o600)
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return descriptor
            os.close(descriptor)
    return os.open(os.devnull, os.O_WRONLY)


def exists(pid: int) -> bool:
    """Tell whether some process has this pid, also one that nobody has reaped; needs no descriptor."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _stat_fields(pid: int | str) -> list[str] | None:
    """Return what Linux says of a process, None if there is none; raises ProcessUnknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError as error:
        raise ProcessUnknown(f"process {pid} cannot be looked at: {error.strerror}") from error
    return text.rpartition(")")[2].split() or None


def start_time(pid: int) -> str | None:
    """Return when `pid` started as an opaque token, None if there is no such (living) process.

    Linux: field 22 of /proc/<pid>/stat; elsewhere the text of `ps -o lstart`. Raises ProcessUnknown.
    """
    if sys.platform.startswith("linux"):
        fields = _stat_fields(pid)
        return None if fields is None or fields[0] in "ZX" else fields[19]
    done = run(["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], deadline=5)
    state, _, started = done.stdout.strip().partition(" ")
    return started.strip() if started and not state.startswith("Z") else None


def is_stopped(pid: int) -> bool:
    """Tell whether a process is certainly stopped (SIGSTOP, a debugger); False also where that cannot be seen."""
    fields = None
    with suppress(ProcessUnknown):
        fields = _stat_fields(pid) if sys.platform.startswith("linux") else None
    return fields is not None and fields[0] in "Tt"


def identify(pid: int) -> ProcessId | None:
    """Return the identity of a living process, None if there is none; raises ProcessUnknown."""
    started = start_time(pid)
    return None if started is None else ProcessId(pid, started)


def parent(pid: int) -> int | None:
    """Return the parent's pid, None for a process that is gone; raises ProcessUnknown."""
    if sys.platform.startswith("linux"):
        fields = _stat_fields(pid)
        return int(fields[1]) if fields else None
    text = run(["/bin/ps", "-o", "ppid=", "-p", str(pid)], deadline=5).stdout.strip()
    return int(text) if text.isdigit() else None


def ancestry(pid: int) -> Iterator[int]:
    """Yield `pid`, its parent, and so on, up to but not including process 1; raises ProcessUnknown."""
    seen: set[int] = set()
    current: int | None = pid
    while current is not None and current > 1 and current not in seen:
        seen.add(current)
        yield current
        current = parent(current)


def terminate(process: ProcessId, signal_number: int = signal.SIGTERM) -> bool:
    """Send a signal to exactly this process; False when it is gone. The first process of a system gets none.

    Raises ProcessUnknown; then nothing was sent.
    """
    if process.pid <= 1:
        return False
    try:
        with _handle(process.pid) as handle:
            if start_time(process.pid) != process.started:
                return False
            handle(signal_number)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def _handle(pid: int) -> Iterator[Callable[[int], None]]:
    """Yield what sends a signal to the process that has `pid` now; on Linux a reused pid is never hit."""
    if not sys.platform.startswith("linux"):
        yield partial(os.kill, pid)
        return
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except OSError as error:
        raise ProcessUnknown(f"process {pid} cannot be signalled: {error.strerror}") from error
    try:
        yield partial(signal.pidfd_send_signal, descriptor)
    finally:
        os.close(descriptor)


def start_piped(argv: Sequence[str], *, env: Mapping[str, str], inherit: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """Start a program that talks through pipes, in a session of its own; it keeps the descriptors of `inherit`."""
    try:
        return subprocess.Popen(
            argv,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=env,
            pass_fds=inherit,
            start_new_session=True,
        )
    except (FileNotFoundError, PermissionError) as error:
        raise ProgramMissing(f"cannot run {argv[0]}: {error.strerror}") from error


def _group_of(pid: int) -> str | None:
    """Return the group of a process, None for one that is gone, or hidden from us (hidepid: another user's)."""
    try:
        fields = _stat_fields(pid)
    except ProcessUnknown as error:
        if isinstance(error.__cause__, PermissionError):
            return None
        raise
    return fields[2] if fields else None


def group(leader: int) -> tuple[ProcessId, ...]:
    """Return the living processes of one process group; raises ProcessUnknown."""
    if sys.platform.startswith("linux"):
        pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
        members = [pid for pid in pids if _group_of(pid) == str(leader)]
    else:
        rows = run(["/bin/ps", "-A", "-o", "pid=,pgid="], deadline=5).stdout.splitlines()
        members = [int(pid) for pid, pgid in (row.split() for row in rows) if pgid == str(leader)]
    found = (identify(pid) for pid in members)
    return tuple(process for process in found if process is not None)


def terminal_leaders(parent: int) -> tuple[ProcessId, ...]:
    """Return the living children of a process that lead a terminal of their own, as those of a tmux server do."""
    found = []
    if sys.platform.startswith("linux"):
        for pid in (entry for entry in os.listdir("/proc") if entry.isdigit()):
            with suppress(ProcessUnknown):
                fields = _stat_fields(pid)
                if fields and fields[1] == str(parent) and fields[3] == pid and fields[4] != "0":
                    found.append(int(pid))
    else:
        rows = run(["/bin/ps", "-A", "-o", "pid=,ppid=,pgid=,tty="], deadline=5).stdout.splitlines()
        for pid, above, leader, tty in (row.split() for row in rows):
            if above == str(parent) and leader == pid and tty.strip("?-"):
                found.append(int(pid))
    return tuple(process for process in map(identify, found) if process is not None)


def holds_terminal(pid: int) -> bool | None:
    """Tell whether keys reach this process and not one it put in front of its terminal; None: unknown."""
    if sys.platform.startswith("linux"):
        fields = None
        with suppress(ProcessUnknown):
            fields = _stat_fields(pid)
        return None if fields is None or fields[0] in "ZX" else fields[2] == fields[5]
    words = run(["/bin/ps", "-o", "pgid=,tpgid=", "-p", str(pid)], deadline=5).stdout.split()
    return words[0] == words[1] if len(words) == 2 else None


def foreground(pid: int) -> int | None:
    """Return the process group that gets the keys typed at the terminal of a process, None: unknown."""
    if sys.platform.startswith("linux"):
        fields = _stat_fields(pid)
        found = fields[5] if fields else ""
    else:
        found = run(["/bin/ps", "-o", "tpgid=", "-p", str(pid)], deadline=5).stdout.strip()
    return int(found) if found.isdecimal() and int(found) > 0 else None


def thread_states(pid: int) -> str:
    """Return the state of each thread of a process as a letter (`S`: asleep), elsewhere than on Linux of the process.

    It is empty for one that has ended.
    """
    if not sys.platform.startswith("linux"):
        return run(["/bin/ps", "-o", "state=", "-p", str(pid)], deadline=5).stdout.strip()[:1]
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return ""
    return "".join(fields[0] for thread in threads if (fields := _stat_fields(f"{pid}/task/{thread}")))
