"""What the machine itself can do, measured in the same run as what stands on it."""

import os
import select
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from bench.callers import Caller
from bench.ground import bare_python, median_ms, spread
from bench.mcp_calls import EMPTY, empty_tool
from bench.physical import APPEND, ROUND_TRIP, fsyncs, round_trips, times
from bench.rows import Row

TRUE: Final = "/bin/true"
SLEEPER: Final = ("sleep", "60")


def run(quick: bool) -> list[Row]:
    """Measure each floor by itself; the machine is to have nothing else to do."""
    count = 20 if quick else 200
    with tempfile.TemporaryDirectory(prefix="pwb-", dir="/tmp") as name:
        flushed = fsyncs(Path(name), 10 * count)
    floors = {
        f"{APPEND}, where the roots of this run are": flushed,
        f"{TRUE}, started and waited for": times(lambda: subprocess.run([TRUE], check=True), count),
        "python -I -S -c pass": times(lambda: bare_python("-I", "-S"), count),
        ROUND_TRIP: round_trips(50 * count),
        "an empty tool through MCP on the unix socket, one caller": _empty_calls(10 * count),
        "SIGKILL → its pidfd tells": [death() for _ in range(count)],
    }
    return [_row(name, seconds) for name, seconds in floors.items()]


def _row(name: str, seconds: list[float]) -> Row:
    if statistics.median(seconds) < 1e-3:
        return Row(name, median_ms(seconds) * 1e3, "µs", note=spread(seconds))
    return Row(name, median_ms(seconds), "ms", note=spread(seconds))


def _empty_calls(count: int) -> list[float]:
    with empty_tool() as path, Caller(path, None) as caller:
        caller.prepare(EMPTY, {})
        for _ in range(count):
            caller.ask()
            caller.answer()
        return caller.seconds


def death() -> float:
    """Return the seconds from the kill of a process to the moment its pidfd is readable (Linux)."""
    with subprocess.Popen(SLEEPER) as process:
        descriptor = os.pidfd_open(process.pid)
        try:
            began = time.perf_counter()
            os.kill(process.pid, signal.SIGKILL)
            select.select([descriptor], [], [], 10)
            return time.perf_counter() - began
        finally:
            os.close(descriptor)
