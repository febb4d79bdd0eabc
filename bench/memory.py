"""Memory and processor time of processes, where the kernel tells (Linux)."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

TICKS: Final = os.sysconf("SC_CLK_TCK")


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
    """Return the processor time of a process, to a hundredth of a second; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def descendants(pid: int) -> list[int]:
    """Return a process and all that descend from it now."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(word) for word in task.read_text().split()]
            except OSError:
                continue
    return found
