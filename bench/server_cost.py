"""What one server process costs: its start, its processor time in a while, what it holds."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.memory import memory_of, processor_seconds
from tests.live.control import Control
from tests.live.world import World, until

READY_SECONDS: Final = 120.0
WINDOWS: Final = 3


@dataclass(frozen=True, slots=True)
class Held:
    """What a process holds at a moment: memory in MiB, descriptors, threads."""

    resident: float
    proportional: float
    descriptors: int
    threads: int


def held(pid: int) -> Held:
    """Return what a process holds now (Linux)."""
    memory = memory_of([pid])
    descriptors, threads = (len(os.listdir(f"/proc/{pid}/{name}")) for name in ("fd", "task"))
    return Held(memory.get("Rss", 0.0), memory.get("Pss", 0.0), descriptors, threads)


def restart(world: World, **settings: object) -> float:
    """End the server if there is one, start one with these settings and return the seconds until it answers."""
    for server in world.servers:
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
    world.servers.clear()
    world.root.discovery.unlink(missing_ok=True)
    world.extra = {f"PEERWAKE_{name.upper()}": str(value) for name, value in settings.items()}
    began = time.perf_counter()
    server = world.start_server()
    until(lambda: server.poll() is not None or _answers(world, server.pid), READY_SECONDS, "the start of a server")
    assert server.poll() is None, world.log("server")
    return time.perf_counter() - began


def _answers(world: World, pid: int) -> bool:
    """Tell whether the server supervises and answers."""
    if world.server_pid() != pid:
        return False
    try:
        with Control(world.root) as control:
            return bool(control.call("status")["result"]["role"] == "supervisor")
    except (OSError, KeyError, ValueError):
        return False


def percent(pids: Sequence[int], seconds: float) -> float:
    """Return the processor time of some processes in per cent of one core, of the calmest of three windows.

    What is done once after a start is in the first of them at most.
    """
    return min(_window(pids, seconds / WINDOWS) for _ in range(WINDOWS))


def _window(pids: Sequence[int], seconds: float) -> float:
    before, began = sum(map(processor_seconds, pids)), time.monotonic()
    time.sleep(seconds)
    return (sum(map(processor_seconds, pids)) - before) / (time.monotonic() - began) * 100


def bytes_below(directory: Path, pattern: str) -> int:
    """Return the size of the files of a pattern; what vanishes meanwhile counts nothing."""
    total = 0
    for path in directory.glob(pattern):
        try:
            total += path.stat().st_size
        except OSError:
            continue
    return total
