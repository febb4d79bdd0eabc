"""What looking costs: `doctor` with 1,000 peers, `why` and `logs` over logs that are full."""

import time
from typing import Final

from bench.cli import FLOOR, command
from bench.ground import bare_python, ground, median_ms, seconds_of, spread
from bench.rows import Row, answer
from tests.live.world import World
from transport.clock import SystemClock
from transport.create import NewPeer, create
from transport.logs import MAX_BYTES, Log, logfmt
from transport.registry import Registry

PEERS: Final = 1_000
COMMANDS: Final = {
    "peerwake doctor": ("doctor",),
    "peerwake why, logs full": ("why", "peer7"),
    "peerwake logs, logs full": ("logs",),
    "peerwake logs NAME, logs full": ("logs", "peer7"),
}


def run(quick: bool) -> list[Row]:
    """Commands and bare interpreters take turns, beside a running server."""
    peers = 100 if quick else PEERS
    with ground() as world:
        registry = Registry(world.root)
        for number in range(peers):
            create(registry, NewPeer(runtimes=("scripted",), name=f"peer{number}"))
        world.serve()
        fill_logs(world)
        floor: list[float] = []
        times: dict[str, list[float]] = {name: [] for name in COMMANDS}
        for _ in range(3 if quick else 10):
            floor.append(seconds_of(lambda: bare_python("-I", "-S")))
            for name, words in COMMANDS.items():
                times[name].append(seconds_of(lambda words=words: command(world, *words)))  # type: ignore[misc]
    base = median_ms(floor)
    rows = [Row(FLOOR, base, "ms", note=spread(floor))]
    for name in COMMANDS:
        value, note = median_ms(times[name]), spread(times[name])
        rows.append(
            answer("doctor", value, name=f"{name}, {peers:,} peers", ratio=value / base, of=FLOOR, note=note)
            if name == "peerwake doctor"
            else Row(name, value, "ms", None, value / base, FLOOR, note)
        )
    return rows


def fill_logs(world: World) -> None:
    """Write as much as rotation lets stand: lines of many peers, the newest a moment old."""
    now = time.time()
    for name in ("lifecycle", "delivery", "exits"):
        log = Log(world.root.logs / f"{name}.log", SystemClock())
        lines, size = list[str](), 0
        while size < 4 * MAX_BYTES:
            line = logfmt(now, "consumed", {"identity": f"scripted-peer{len(lines) % PEERS}", "id": f"m_{len(lines)}"})
            lines.append(line + "\n")
            size += len(line) + 1
        share = len(lines) // 4
        for number in range(4):
            path = log.path if number == 3 else log.path.with_name(f"{log.path.name}.{3 - number}")
            with path.open("a") as file:
                file.writelines(lines[number * share : (number + 1) * share])
