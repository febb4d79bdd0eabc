"""The memory cgroup of a process, of either version. Standard library only."""

import os

ROOT = "/sys/fs/cgroup"
EVENTS = ("memory.events", "memory.oom_control")
FILES = (
    *EVENTS,
    "memory.current",
    "memory.max",
    "memory.usage_in_bytes",
    "memory.limit_in_bytes",
    "memory.failcnt",
)


def cgroup_of(pid: int) -> str | None:
    """Return the directory that accounts for a process's memory, None when there is none to be found."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
            rows = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return None
    for _, kinds, path in (row for row in rows if len(row) == 3):
        bases = (ROOT, f"{ROOT}/unified") if not kinds else (f"{ROOT}/memory",) if "memory" in kinds.split(",") else ()
        for base in bases:
            found = f"{base}{path}".rstrip("/")
            if any(os.path.exists(f"{found}/{name}") for name in EVENTS):
                return found
    return None


def oom_kills(cgroup: str | None) -> int | None:
    """Return how many processes of a cgroup the kernel killed for memory, None when it does not say."""
    if cgroup is None:
        return None
    for name in EVENTS:
        try:
            with open(f"{cgroup}/{name}", encoding="ascii") as file:
                pairs = [line.split() for line in file]
            return next((int(pair[1]) for pair in pairs if pair[0] == "oom_kill"), None)
        except (OSError, ValueError, IndexError):
            continue
    return None
