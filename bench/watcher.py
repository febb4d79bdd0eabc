"""The canary: time from the death of a tmux server to its line, and what watching fifty of them costs."""

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Final

from bench.ground import median_ms, spread
from bench.rows import Row
from lifecycle import canary
from tests.lifecycle.cages import Cages, cages, wall_of
from tests.live.world import until
from transport.files import locked
from transport.identity import Identity
from transport.paths import Root
from transport.process import ProcessId

COUNT: Final = 50
SINGLE: Final = 20
CLOCK_TICKS: Final = os.sysconf("SC_CLK_TCK")


def run(quick: bool) -> list[Row]:
    """Kill servers one by one, then fifty at once, with an idle watch in between."""
    root = Root(Path(tempfile.mkdtemp(prefix="pwb-", dir="/tmp")))
    root.prepare()
    try:
        with cages(root) as caged, locked(root.supervisor_lock):
            single = one_by_one(caged, 5 if quick else SINGLE)
            return [*single, *fifty(caged, 5.0 if quick else 30.0)]
    finally:
        shutil.rmtree(root.home, ignore_errors=True)


def one_by_one(caged: Cages, times: int) -> list[Row]:
    """Measure single deaths: to the line, and to the finished snapshot."""
    lines, snapshots = [], []
    for number in range(times):
        (server,) = caged.start_watched(f"one{number}")
        lines.append(killed_to_line([server], caged, number + 1)[0])
        last = caged.lines()[-1]
        path = caged.root.logs / last["forensics"]
        until(path.exists, 10, "the snapshot")
        snapshots.append(path.stat().st_mtime - wall_of(last))
    return [
        Row("tmux server killed → line in exits.log", median_ms(lines), "ms", "≤ 50 ms", note=spread(lines)),
        Row("… → snapshot complete", median_ms(snapshots), "ms", "≤ 1,000 ms", note=spread(snapshots)),
    ]


def killed_to_line(servers: list[ProcessId], caged: Cages, count: int) -> list[float]:
    """Kill servers and return for each the seconds from its kill to the time its line carries."""
    killed = {}
    for server in servers:
        killed[str(server.pid)] = time.time()
        os.kill(server.pid, signal.SIGKILL)
    until(lambda: len(caged.lines()) >= count, 20, "the lines")
    found = {line["server_pid"]: wall_of(line) for line in caged.lines()}
    return [max(0.0, found[pid] - at) for pid, at in killed.items()]


def fifty(caged: Cages, seconds: float) -> list[Row]:
    """Measure an idle watch over fifty servers, what `ensure` costs then, and the death of all at once."""
    servers = caged.start_watched(*(f"many{number}" for number in range(COUNT)))
    watcher = caged.only_watcher()
    before = cpu_seconds(watcher.pid)
    time.sleep(seconds)
    used = cpu_seconds(watcher.pid) - before
    resident, proportional = memory(watcher.pid)
    known = {Identity("scripted", f"many{number}"): server for number, server in enumerate(servers)}
    began = time.process_time()
    for _ in range(10):
        canary.ensure_all(caged.root, known)
    tick = (time.process_time() - began) / 10
    lines = killed_to_line(servers, caged, len(caged.lines()) + COUNT)
    return [
        Row(f"watching {COUNT} servers: CPU", used / seconds * 100, "% of a core", note=f"over {seconds:g} s"),
        Row("… resident memory", resident / 2**20, "MiB"),
        Row("… proportional memory", proportional / 2**20, "MiB"),
        Row(f"a tick's ensure of {COUNT} servers, CPU in the server", tick * 1e3, "ms"),
        Row(f"{COUNT} servers killed at once → line", median_ms(lines), "ms", "≤ 50 ms", note=spread(lines)),
    ]


def cpu_seconds(pid: int) -> float:
    """Return the processor time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def memory(pid: int) -> tuple[int, int]:
    """Return resident and proportional bytes."""
    rows = [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
    found = {row[0]: int(row[1]) << 10 for row in rows if row[0] in ("Rss:", "Pss:")}
    return found["Rss:"], found["Pss:"]
