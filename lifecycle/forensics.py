"""The snapshot after a tmux server's death: what the machine looked like, each part bounded. Standard library only."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NoReturn

from lifecycle.cgroup import FILES, oom_kills
from lifecycle.watchfiles import Death, iso, tail

PART_SECONDS = 0.15
ALL_SECONDS = 3
PART_BYTES = 16_384
TOP_COUNT = 25
LOG_BYTES = 1 << 18
LOG_LINES = 50
KEEP_FILES = 200
KERNEL_RECORDS = 20_000
OOM_WORDS = ("oom", "out of memory", "killed process")
MEMORY_WORDS = ("MemTotal", "MemFree", "MemAvailable", "Buffers", "Cached", "Swap", "Dirty", "Committed_AS", "Slab")


class _TooLong(Exception):
    pass


def snapshot(home: str, dead: list[Death]) -> None:
    """Write one file for each death; what they share is looked at once."""
    signal.signal(signal.SIGALRM, _interrupt)
    began = time.monotonic()
    directory = f"{home}/logs/server-deaths"
    try:
        os.mkdir(directory, 0o700)
    except OSError:
        pass  # it is there, or each file will miss it
    shared = [_part(title, look) for title, look in _parts()]
    for death in dead:
        _write(f"{home}/logs/{death.forensics}", _head(death) + "".join(_own(home, death)) + "".join(shared))
        if time.monotonic() - began > ALL_SECONDS:
            break
    _prune(directory)


def _head(death: Death) -> str:
    watched = death.watched
    facts = {"identity": watched.identity, "server_pid": watched.pid, "cause": death.cause, "died": iso(death.at)}
    return "".join(f"{name}: {value}\n" for name, value in (facts | {"taken": iso(time.time())}).items())


def _own(home: str, death: Death) -> Iterator[str]:
    watched = death.watched
    yield _part("cgroup memory events", partial(cgroup_events, watched.cgroup, watched.oom))
    yield _part("kernel lines", partial(kernel_lines, watched.pid))
    yield _part(f"lifecycle.log of {watched.identity}", partial(own_log, home, watched.identity))


def _parts() -> Iterator[tuple[str, Callable[[], str]]]:
    if sys.platform == "darwin":
        yield "memory", lambda: _output("/usr/bin/vm_stat")
        yield "swap", lambda: _output("/usr/sbin/sysctl", "vm.swapusage", "kern.boottime", "vm.loadavg")
        yield "top processes by RSS", lambda: _output("/bin/ps", "-axm", "-o", "pid=,ppid=,rss=,etime=,comm=")
        yield "crash reports of the last hour", _crash_reports
        yield "limits", lambda: _output("/bin/sh", "-c", "ulimit -a")
        return
    yield "memory", lambda: _lines("/proc/meminfo", MEMORY_WORDS)
    yield "pressure", _pressure
    yield "swap", lambda: _text("/proc/swaps")
    yield f"top {TOP_COUNT} processes by RSS", top_processes
    yield "open files", _open_files
    yield "uptime and load", lambda: _text("/proc/uptime") + _text("/proc/loadavg")


def _part(title: str, look: Callable[[], str]) -> str:
    """Return one part under its title; what fails or takes too long says so and holds up nothing."""
    signal.setitimer(signal.ITIMER_REAL, PART_SECONDS)
    try:
        text = look()
    except _TooLong:
        text = f"not finished in {PART_SECONDS:g} s"
    except Exception as error:  # the boundary of one part: the others are still wanted
        text = f"not readable: {type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return f"\n== {title}\n{text[:PART_BYTES].rstrip() or '-'}\n"


def _interrupt(number: int, frame: object) -> NoReturn:
    raise _TooLong


def _text(path: str) -> str:
    with open(path, "rb") as file:
        return file.read(PART_BYTES).decode("utf-8", "replace")


def _lines(path: str, words: tuple[str, ...]) -> str:
    return "".join(line + "\n" for line in _text(path).splitlines() if line.startswith(words))


def _open_files() -> str:
    return f"system: {_text('/proc/sys/fs/file-nr')}" + _lines("/proc/self/limits", ("Max open", "Max proc"))


def _pressure() -> str:
    return "".join(
        f"{name} {line}\n" for name in ("cpu", "memory", "io") for line in _text(f"/proc/pressure/{name}").splitlines()
    )


def top_processes() -> str:
    """Return the processes with the most resident memory: pid, parent, KiB, name. Never an argument list."""
    page, rows = os.sysconf("SC_PAGE_SIZE") // 1024, []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                head, _, rest = file.read().decode("utf-8", "replace").rpartition(")")
        except OSError:
            continue
        fields = rest.split()
        rows.append((int(fields[21]) * page, int(entry), int(fields[1]), head.partition("(")[2]))
    rows.sort(reverse=True)
    return "".join(f"{pid:>8} {parent:>8} {rss:>10} KiB  {name}\n" for rss, pid, parent, name in rows[:TOP_COUNT])


def cgroup_events(cgroup: str | None, before: int | None) -> str:
    """Return the memory events of the cgroup the server lived in, with what its kill count was before."""
    if cgroup is None:
        return "no cgroup that accounts for memory"
    now = oom_kills(cgroup)
    text = f"{cgroup}\noom_kill when the watch began: {before}, now: {now}\n"
    if now is None:
        return f"{text}the cgroup went with its last process\n"
    for name in FILES:
        try:
            text += f"{name}: {' '.join(_text(f'{cgroup}/{name}').split())}\n"
        except OSError:
            continue  # of the other version
    return text


def kernel_lines(pid: int) -> str:
    """Return the kernel's lines about memory that ran out, and about this process, where they may be read."""
    if sys.platform == "darwin":
        return "see the crash reports"
    found: list[str] = []
    descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    try:
        for _ in range(KERNEL_RECORDS):
            try:
                line = os.read(descriptor, 8192).decode("utf-8", "replace").partition("\n")[0]
            except BlockingIOError:
                break
            except BrokenPipeError:
                continue
            lower = line.lower()
            if any(word in lower for word in OOM_WORDS) or f"[{pid}]" in line or f"pid {pid} " in lower:
                found.append(line)
    finally:
        os.close(descriptor)
    return "\n".join(found[-40:]) or "none"


def own_log(home: str, identity: str) -> str:
    """Return the last lines of lifecycle.log, and of the one before it, that are of one identity."""
    mark, lines = f" identity={identity} ", list[str]()
    for name in ("lifecycle.log.1", "lifecycle.log"):
        text = tail(f"{home}/logs/{name}", LOG_BYTES)
        lines += [line for line in text.split("\n") if mark in f"{line} "]
    return "\n".join(lines[-LOG_LINES:])


def _crash_reports() -> str:
    directory = os.path.expanduser("~/Library/Logs/DiagnosticReports")
    fresh = [entry.name for entry in os.scandir(directory) if time.time() - entry.stat().st_mtime < 3600]
    return "\n".join(sorted(fresh)[-50:])


def _output(*argv: str) -> str:
    import subprocess  # only on macOS: on Linux everything is in files

    done = subprocess.run(argv, capture_output=True, text=True, timeout=PART_SECONDS * 5, check=False)
    return "\n".join(done.stdout.splitlines()[: TOP_COUNT + 5])


def _write(path: str, text: str) -> None:
    temporary = f"{path}.tmp"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        os.rename(temporary, path)
    except OSError:
        _discard(temporary)


def _discard(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return


def _prune(directory: str) -> None:
    """Keep the newest snapshots; their names begin with the time."""
    for name in sorted(os.listdir(directory))[:-KEEP_FILES]:
        _discard(f"{directory}/{name}")
