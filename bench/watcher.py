"""The canary: time from the death of a tmux server to its line, and what watching fifty of them costs."""

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Final

from bench.floors import death
from bench.ground import median_ms, spread
from bench.memory import memory_of, processor_seconds
from bench.rows import Row, answer
from bench.terms import TERMS
from lifecycle import canary
from tests.lifecycle.cages import Cages, cages, wall_of
from tests.live.world import until
from transport.files import locked
from transport.identity import Identity
from transport.paths import Root
from transport.process import ProcessId

COUNT: Final = 50
SINGLE: Final = 20
FLOOR: Final = "SIGKILL → its pidfd tells"
POLL_SECONDS: Final = 0.0002


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
    """Measure single deaths: until the line can be read, and until the snapshot is finished."""
    lines, snapshots, floor = [], [], []
    for number in range(times):
        (server,) = caged.start_watched(f"one{number}")
        floor.append(death())
        lines.append(killed_to_file(server, caged))
        last = caged.lines()[-1]
        path = caged.root.logs / last["forensics"]
        until(path.exists, 10, "the snapshot")
        snapshots.append(path.stat().st_mtime - wall_of(last))
    value = median_ms(lines)
    return [
        answer("death.line", value, ratio=value / median_ms(floor), of=FLOOR, note=spread(lines)),
        answer("death.snapshot", median_ms(snapshots), note=spread(snapshots)),
    ]


def killed_to_file(server: ProcessId, caged: Cages) -> float:
    """Kill a server and return the seconds until exits.log has grown."""
    path = caged.root.logs / "exits.log"
    path.touch()
    size, until_at = path.stat().st_size, time.monotonic() + 20
    began = time.perf_counter()
    os.kill(server.pid, signal.SIGKILL)
    while path.stat().st_size == size:
        assert time.monotonic() < until_at, "there was no line within 20 s"
        time.sleep(POLL_SECONDS)
    return time.perf_counter() - began


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
    before = processor_seconds(watcher.pid)
    time.sleep(seconds)
    used = processor_seconds(watcher.pid) - before
    memory = memory_of([watcher.pid])
    known = {Identity("scripted", f"many{number}"): server for number, server in enumerate(servers)}
    began = time.process_time()
    for _ in range(10):
        canary.ensure_all(caged.root, known)
    tick = (time.process_time() - began) / 10
    lines = killed_to_line(servers, caged, len(caged.lines()) + COUNT)
    bound = TERMS["death.line"].bound
    return [
        Row(f"watching {COUNT} servers: CPU", used / seconds * 100, "% of a core", note=f"over {seconds:g} s"),
        Row("… resident memory", memory["Rss"], "MiB"),
        Row("… proportional memory", memory["Pss"], "MiB"),
        Row(f"a tick's ensure of {COUNT} servers, CPU in the server", tick * 1e3, "ms"),
        Row(f"{COUNT} servers killed at once → line", median_ms(lines), "ms", bound, note=spread(lines)),
    ]
