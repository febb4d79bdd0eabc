"""Tool calls through MCP on the unix socket: accepted sends beside an empty tool on the same transport.

The sends go to `peerwake serve` as anybody starts it, and to live peers that are busy: accepted, and kept waiting.
"""

import selectors
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.callers import Caller
from bench.ground import Rules, ground
from bench.machine import TOP
from bench.physical import APPEND, ROUND_TRIP, fsyncs, round_trips
from bench.rows import Row, answer
from tests.live.control import Control
from tests.live.world import World

CALLERS: Final = 32
RECIPIENTS: Final = 4
MANY: Final = 32
AT_WORK: Final[Rules] = [{"sleep_forever": True}]
NO_LIMIT: Final = 10_000_000
BEST_PEER: Final = 241
FLOOR: Final = "an empty tool"
BODY: Final = "x" * 200
SEND: Final = "send_to_peer"
EMPTY: Final = "empty"


@contextmanager
def empty_tool() -> Iterator[str]:
    """Run a server with an empty tool in a process and a root of its own; yields its socket."""
    home = Path(tempfile.mkdtemp(prefix="pwb-", dir="/tmp"))
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.empty_tool", str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=TOP,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stdin is not None
        yield process.stdout.readline().strip()
        process.stdin.close()
        process.wait(20)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def at_work(prefix: Sequence[str] = (), recipients: int = RECIPIENTS) -> Iterator[World]:
    """Run a server whose peers are live and busy for ever; `prefix` are the words before its command line."""
    with ground(sends_per_minute=NO_LIMIT, queue_cap=NO_LIMIT) as world:
        for number in range(recipients):
            world.create(f"peer{number}", rules=AT_WORK)
        world.prefix = tuple(prefix)
        world.serve()
        world.prefix = ()
        with Control(world.root) as control:
            for number in range(recipients):
                assert control.send(f"peer{number}", "work", wait_seconds=60)["status"] == "delivered"
        yield world


@dataclass(frozen=True, slots=True)
class Load:
    """How many calls were answered, how many a second, and how long one took, in seconds."""

    count: int
    rate: float
    median: float
    longest: float


def load(path: str, tool: str, callers: int, seconds: float, recipients: int = RECIPIENTS) -> Load:
    """Have each connection call again as soon as it is answered; sends go to that many peers."""
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        made = [stack.enter_context(Caller(path, None)) for _ in range(callers)]
        for number, caller in enumerate(made):
            arguments = {"personality": f"peer{number % recipients}", "message": BODY} if tool == SEND else {}
            caller.prepare(tool, arguments, number)
            selector.register(caller.socket, selectors.EVENT_READ, caller)
            caller.ask()
        began, count = time.perf_counter(), 0
        while (now := time.perf_counter()) - began < seconds:
            for key, _ in selector.select(1.0):
                line = key.data.answer()
                assert b'"result"' in line and b'"isError":true' not in line, line
                count += 1
                key.data.ask()
        took = [one for caller in made for one in caller.seconds]
        return Load(count, count / (now - began), statistics.median(took), max(took))


def run(quick: bool) -> list[Row]:
    """Sends and empty calls take turns; the ratio is the median of the turns' ratios."""
    seconds, rounds, count = (0.5, 3, 200) if quick else (2.0, 7, 2_000)
    empty: list[Load] = []
    send: list[Load] = []
    appends: list[float] = []
    trips: list[float] = []
    with (
        empty_tool() as nothing,
        at_work() as world,
        tempfile.TemporaryDirectory(prefix="pwb-", dir="/tmp") as directory,
    ):
        server = str(world.root.server_socket)
        for _ in range(rounds):
            empty.append(load(nothing, EMPTY, CALLERS, seconds))
            send.append(load(server, SEND, CALLERS, seconds))
            appends += fsyncs(Path(directory), count // rounds)
            trips += round_trips(count // rounds)
        one_empty = load(nothing, EMPTY, 1, seconds)
        one = load(server, SEND, 1, seconds)
        _count(world, [*send, one])
    append, trip = statistics.median(appends), statistics.median(trips)
    return [*_many(send, empty, append, trip), *_one(one, one_empty, trip), _to_many(seconds, rounds)]


def _to_many(seconds: float, rounds: int) -> Row:
    """Measure the same sends to as many recipients as there are callers, whose drains look at as many terminals."""
    empty: list[Load] = []
    send: list[Load] = []
    with empty_tool() as nothing, at_work(recipients=MANY) as world:
        server = str(world.root.server_socket)
        for _ in range(rounds):
            empty.append(load(nothing, EMPTY, CALLERS, seconds))
            send.append(load(server, SEND, CALLERS, seconds, MANY))
        _count(world, send, MANY)
    ratio, note = _share(send, empty)
    name = f"accepted sends, {CALLERS} callers to {MANY} busy peers"
    rate = statistics.median(each.rate for each in send)
    return Row(name, rate, "/s", None, ratio, FLOOR, note)


def _share(send: Sequence[Load], empty: Sequence[Load]) -> tuple[float, str]:
    """Return the median of the turns' ratios, and how far they spread."""
    ratios = [each.rate / floor.rate for each, floor in zip(send, empty, strict=True)]
    return statistics.median(ratios), f"{min(ratios):.2f} … {max(ratios):.2f} over {len(ratios)} turns"


def _count(world: World, loads: Sequence[Load], recipients: int = RECIPIENTS) -> None:
    """See that what was accepted is in the queues."""
    kept = sum(world.depth(f"peer{number}") for number in range(recipients))
    told = sum(each.count for each in loads)
    assert kept >= told, f"{told} sends were accepted, and {kept} messages are there"


def _many(send: Sequence[Load], empty: Sequence[Load], append: float, trip: float) -> list[Row]:
    """Return the rows of many callers; `append` and `trip` are the seconds of one of the floors each."""
    ratio, spread = _share(send, empty)
    sends, empties = (statistics.median(each.rate for each in loads) for loads in (send, empty))
    trips = f"{sends * trip:.2g} × as many as round trips of one byte between two processes ({trip * 1e6:.3g} µs)"
    best = f"{sends / BEST_PEER:.3g} × the best peer's {BEST_PEER}; one append takes {append * 1e6:.3g} µs"
    return [
        answer("mcp.share", sends, ratio=ratio, of=FLOOR, note=f"to {RECIPIENTS} busy peers; {spread}; {trips}"),
        answer("mcp.rate", sends, ratio=sends * append, of=APPEND, note=best),
        Row(f"{FLOOR}, {CALLERS} callers", empties, "/s", None, empties * trip, ROUND_TRIP),
        Row("longest of these sends", max(each.longest for each in send) * 1e3, "ms"),
    ]


def _one(one: Load, empty: Load, trip: float) -> list[Row]:
    """Return the rows of one caller."""
    note = f"median {one.median * 1e3:.2f} ms, {one.rate / empty.rate:.3g} × as many as {FLOOR}"
    return [
        Row(
            f"{FLOOR}, one caller",
            empty.rate,
            "/s",
            None,
            empty.rate * trip,
            ROUND_TRIP,
            f"median {empty.median * 1e3:.2f} ms",
        ),
        answer("mcp.one", one.rate, ratio=one.rate * trip, of=ROUND_TRIP, note=note),
    ]
