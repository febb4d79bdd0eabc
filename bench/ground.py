"""A private root below /tmp with a server of its own, and what every benchmark on it needs."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bench.callers import Caller
from bench.terms import number
from tests.live.control import Control
from tests.live.world import World, until
from transport.paths import Root

END_SECONDS: Final = 10.0
Rules = list[dict[str, Any]]


@contextmanager
def ground(**settings: object) -> Iterator[World]:
    """Yield a root with `PEERWAKE_*` settings given in lower case; everything it started ends with the block."""
    root = Root(Path(tempfile.mkdtemp(prefix="pwb-", dir="/tmp")))
    root.prepare()
    world = World(root, {f"PEERWAKE_{name.upper()}": str(value) for name, value in settings.items()})
    try:
        yield world
    finally:
        world.close()
        until(lambda: not processes_of(root.home), END_SECONDS, "the end of what the benchmark started")
        shutil.rmtree(root.home, ignore_errors=True)


def processes_of(home: Path) -> list[int]:
    """Return the processes that carry this root in their environment (Linux), ours excepted."""
    mark = f"PEERWAKE_HOME={home}\0".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (entry / "environ").read_bytes() and int(entry.name) != os.getpid():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@contextmanager
def live_peer(world: World, name: str, rules: Rules | None = None) -> Iterator[Control]:
    """Create a scripted peer, start a server unless one runs, wake the peer, and yield a control connection."""
    world.create(name, rules=rules)
    if world.server_pid() is None:
        world.serve()
    with Control(world.root) as control:
        result = control.send(name, "good morning", wait_seconds=60)
        assert result["status"] == "delivered", result
        yield control


def mcp_caller(world: World) -> Caller:
    """Return an MCP connection to the world's server, the operator's."""
    return Caller(str(world.root.server_socket), None)


def bare_python(*flags: str) -> None:
    """Start this Python and let it end at once."""
    subprocess.run([sys.executable, *flags, "-c", "pass"], check=True)


def seconds_of(action: Callable[[], object]) -> float:
    """Return how long one action took."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def median_ms(seconds: Sequence[float]) -> float:
    """Return the median in milliseconds."""
    return statistics.median(seconds) * 1e3


def fastest_ms(action: Callable[[], object], times: int) -> float:
    """Return the least that an action took, in milliseconds: what the machine does beside it only adds."""
    return min(seconds_of(action) for _ in range(times)) * 1e3


def spread(seconds: Sequence[float]) -> str:
    """Return how many were measured and how far they lie apart, in milliseconds."""
    ordered = sorted(seconds)
    slow = ordered[int(len(ordered) * 0.95)] if len(ordered) >= 20 else ordered[-1]
    word = "p95" if len(ordered) >= 20 else "slowest"
    return f"{len(ordered)} times, fastest {number(ordered[0] * 1e3)}, {word} {number(slow * 1e3)} ms"
