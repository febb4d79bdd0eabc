"""The stdio bridge beside a running server: its start to the answer of tools/list, that answer's size, its memory."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import mcp_server.serve.bridge as bridge_module
from bench.callers import HANDSHAKE
from bench.ground import bare_python, ground, median_ms, seconds_of, spread
from bench.memory import memory_of
from bench.rows import Row
from tests.live.world import World

QUESTION: Final = b"".join(
    json.dumps(line).encode() + b"\n" for line in (*HANDSHAKE, {"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
)
FLOOR: Final = "python -I -S -c pass"


@dataclass(frozen=True, slots=True)
class Started:
    """One start: seconds to the answer, the answer's bytes, the bridge's memory."""

    seconds: float
    answer_bytes: int
    memory: dict[str, float]


def run(quick: bool) -> list[Row]:
    """Start the bridge by its file, and by the command that a peer's configuration holds."""
    count = 5 if quick else 40
    with ground() as world:
        cwd = world.create("alice")
        world.serve()
        entry = json.loads((cwd / ".mcp.json").read_text())["mcpServers"]["peerwake"]
        by_file = [sys.executable, "-I", "-S", str(bridge_module.__file__)]
        commands = {"the bridge's file": by_file, "as configured": [entry["command"], *entry["args"]]}
        starts: dict[str, list[Started]] = {name: [] for name in commands}
        floor: list[float] = []
        for _ in range(count):
            floor.append(seconds_of(lambda: bare_python("-I", "-S")))
            for name, argv in commands.items():
                starts[name].append(start(world, argv, cwd))
    rows = [Row(FLOOR, median_ms(floor), "ms", note=spread(floor))]
    for name, made in starts.items():
        rows += _rows(name, made, median_ms(floor))
    return [*rows, Row("answer of tools/list", starts["as configured"][0].answer_bytes, "bytes", "≤ 4,800")]


def start(world: World, argv: list[str], cwd: Path) -> Started:
    """Start a bridge, have the tools listed, and end it."""
    environment = world.env | {"PATH": os.environ["PATH"]}
    began = time.perf_counter()
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=cwd)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(QUESTION)
    process.stdin.flush()
    process.stdout.readline()
    answer = process.stdout.readline()
    seconds = time.perf_counter() - began
    assert b"send_to_peer" in answer, answer
    memory = memory_of([process.pid])
    process.stdin.close()
    process.wait(5)
    process.stdout.close()
    return Started(seconds, len(answer), memory)


def _rows(name: str, made: list[Started], floor: float) -> list[Row]:
    seconds = [one.seconds for one in made]
    value = median_ms(seconds)
    rows = [Row(f"start → tools/list, {name}", value, "ms", "≤ 30", value / floor, FLOOR, spread(seconds))]
    for key, word, bound in (("Rss", "resident", "≤ 12"), ("Pss", "proportional", "≤ 6")):
        found = [one.memory[key] for one in made if key in one.memory]
        if found:
            rows.append(Row(f"one bridge, {word}, {name}", max(found), "MiB", bound))
    return rows
