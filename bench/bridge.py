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
from bench.rows import Row, answer
from bench.terms import TERMS
from tests.live.world import World

QUESTION: Final = b"".join(
    json.dumps(line).encode() + b"\n" for line in (*HANDSHAKE, {"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
)
CONFIGURED: Final = "as configured"
IDLE: Final = "import sys; sys.stdout.write('.'); sys.stdout.flush(); sys.stdin.read()"
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
        commands = {"the bridge's file": by_file, CONFIGURED: [entry["command"], *entry["args"]]}
        starts: dict[str, list[Started]] = {name: [] for name in commands}
        floor: list[float] = []
        for _ in range(count):
            floor.append(seconds_of(lambda: bare_python("-I", "-S")))
            for name, argv in commands.items():
                starts[name].append(start(world, argv, cwd))
    bare = bare_memory()
    rows = [Row(FLOOR, median_ms(floor), "ms", note=spread(floor))]
    for name, made in starts.items():
        rows += _rows(name, made, median_ms(floor), bare)
    return [*rows, answer("tools.list", starts[CONFIGURED][0].answer_bytes)]


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


def bare_memory() -> dict[str, float]:
    """Return the memory of a bare interpreter that waits for its standard input."""
    argv = [sys.executable, "-I", "-S", "-c", IDLE]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.read(1)
        found = memory_of([process.pid])
        process.stdin.close()
    return found


def _rows(name: str, made: list[Started], floor: float, bare: dict[str, float]) -> list[Row]:
    seconds = [one.seconds for one in made]
    found = [("bridge.start", f"start → tools/list, {name}", median_ms(seconds), floor, FLOOR, spread(seconds))]
    for kind, key, word in (("Rss", "bridge.resident", "resident"), ("Pss", "bridge.proportional", "proportional")):
        sizes = [one.memory[kind] for one in made if kind in one.memory]
        if sizes and kind in bare:
            found.append((key, f"one bridge, {word}, {name}", max(sizes), bare[kind], "a bare python -I -S", ""))
    return [
        answer(key, value, name=label, ratio=value / base, of=of, note=note)
        if name == CONFIGURED
        else Row(label, value, TERMS[key].unit, TERMS[key].bound, value / base, of, note)
        for key, label, value, base, of, note in found
    ]
