"""Memory and processor time of processes, where the kernel tells (Linux)."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

PROCESS_CLOCK: Final = 2
"""What makes the number of a process the number of its clock; see clock_getcpuclockid(3)."""


def memory_of(pids: Iterable[int]) -> dict[str, float]:
    """Return the sums of resident (`Rss`) and proportional (`Pss`) MiB, empty where nobody tells."""
    sums: dict[str, float] = {}
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        except OSError:
            continue
        for name, value in (line.split(":") for line in lines):
            if name in ("Rss", "Pss"):
                sums[name] = sums.get(name, 0.0) + int(value.split()[0]) / 1024
    return sums


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process and its threads, also of those that ended; 0 when it is gone (Linux)."""
    try:
        return time.clock_gettime((~pid << 3) | PROCESS_CLOCK)
    except OSError:
        return 0.0


def descendants(pid: int) -> list[int]:
    """Return a process and all that descend from it now."""
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").glob("*/children"):
                found += [int(word) for word in task.read_text().split()]
        except OSError:  # it, or one of its threads, ended meanwhile
            continue
    return found
