"""Tool calls through MCP on the unix socket against an empty tool; the start and the memory of the bridge."""

import json
import os
import selectors
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import mcp_server.serve.bridge as bridge_module
from bench.callers import HANDSHAKE, Caller
from bench.rows import Row

TOP = Path(__file__).parent.parent
CALLERS = 32


@dataclass(frozen=True, slots=True)
class Served:
    """The sockets of the server under test."""

    home: Path
    send: str
    empty: str
    credential: str


@contextmanager
def server() -> Iterator[Served]:
    """Run the server in a process and a root of its own."""
    home = Path(tempfile.mkdtemp(prefix="pwb-", dir="/tmp"))
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.mcp_server_process", str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=TOP,
    )
    try:
        assert process.stdout is not None and process.stdin is not None
        told = json.loads(process.stdout.readline())
        yield Served(home, told["send"], told["empty"], told["credential"])
        process.stdin.close()
        process.wait(20)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(home, ignore_errors=True)


def load(path: str, credential: str, tool: str, callers: int, seconds: float) -> tuple[float, float]:
    """Return calls per second of `callers` connections, and the median seconds of one call."""
    with ExitStack() as stack:
        made = [stack.enter_context(Caller(path, credential)) for _ in range(callers)]
        selector = stack.enter_context(selectors.DefaultSelector())
        for number, caller in enumerate(made, 1):
            arguments = {"personality": f"peer{number}", "message": "x" * 200} if tool == "send_to_peer" else {}
            caller.prepare(tool, number, **arguments)
            selector.register(caller.socket, selectors.EVENT_READ, caller)
            caller.ask()
        begun = time.perf_counter()
        count = 0
        while (now := time.perf_counter()) - begun < seconds:
            for key, _ in selector.select(1.0):
                line = key.data.answer()
                assert b'"isError":false' in line or b'"isError"' not in line, line
                count += 1
                key.data.ask()
        return count / (now - begun), statistics.median(one for caller in made for one in caller.seconds)


def accepted_sends(served: Served, quick: bool) -> list[Row]:
    """Sends against an empty tool, taking turns in one run."""
    seconds, rounds = (0.5, 3) if quick else (2.0, 5)
    empty, send = [], []
    for _ in range(rounds):
        empty.append(load(served.empty, served.credential, "empty", CALLERS, seconds)[0])
        send.append(load(served.send, served.credential, "send_to_peer", CALLERS, seconds)[0])
    sends, empties = statistics.median(send), statistics.median(empty)
    one_rate, one_median = load(served.send, served.credential, "send_to_peer", 1, seconds)
    return [
        Row(f"accepted sends, {CALLERS} callers", sends, "/s", "≥ 0.8 ×, ≥ 2,410 /s", sends / empties, "an empty tool"),
        Row(f"an empty tool, {CALLERS} callers", empties, "/s"),
        Row("accepted sends, one caller", one_rate, "/s", "≥ 500 /s", note=f"median {one_median * 1000:.2f} ms"),
    ]


def bridge_command(home: Path) -> list[str]:
    """How an agent's configuration starts the bridge."""
    return [sys.executable, "-I", "-S", str(Path(bridge_module.__file__)), "--home", str(home), "--no-start"]


def bridge_start(served: Served, quick: bool) -> list[Row]:
    """Process start to the answer of tools/list, its size, and the memory of one bridge."""
    lines = [*HANDSHAKE, {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}]
    question = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    environment = os.environ | {"PEERWAKE_CREDENTIAL": served.credential}
    times: list[float] = []
    memory: dict[str, float] = {}
    size = 0
    for _ in range(5 if quick else 30):
        begun = time.perf_counter()
        process = subprocess.Popen(
            bridge_command(served.home), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(question)
        process.stdin.flush()
        process.stdout.readline()
        answer = process.stdout.readline()
        times.append((time.perf_counter() - begun) * 1000)
        assert b"send_to_peer" in answer
        size = len(answer)
        memory = memory_of(process.pid) or memory
        process.stdin.close()
        process.wait(5)
        process.stdout.close()
    rows = [
        Row("stdio start → tools/list", statistics.median(times), "ms", "≤ 30 ms"),
        Row("tools/list", size, "bytes", "≤ 4,800 bytes"),
    ]
    bounds = {"Rss": ("resident", "≤ 12 MiB"), "Pss": ("proportional", "≤ 6 MiB")}
    return rows + [
        Row(f"one bridge, {bounds[name][0]}", value, "MiB", bounds[name][1]) for name, value in memory.items()
    ]


def memory_of(pid: int) -> dict[str, float]:
    """Return resident and proportional MiB, where the kernel tells (Linux)."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return {}
    found = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in text.splitlines()[1:]}
    return {name: found[name] for name in ("Rss", "Pss")}


def run(quick: bool) -> list[Row]:
    """Measure everything of this module."""
    with server() as served:
        return accepted_sends(served, quick) + bridge_start(served, quick)
