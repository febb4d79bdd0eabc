"""A steady load for a long time: what the server holds at its end, how fast it still is, and the books.

Writes each look at once to a file of JSON lines, named at the start. SIGINT ends the load early and the rest
goes its way; a second one ends at once. Not part of a run without names.
"""

import os
import re
import signal
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Final

from bench.ground import ground
from bench.ledger import Ledger, audit
from bench.rows import Row
from bench.soak_floors import Floors
from bench.soak_latency import floor_rows, latencies
from bench.soak_samples import Sample, append, keep, look, rows
from bench.soak_traffic import RULES, WORKER, Book, run_way, ways
from bench.terms import ZERO
from tests.live.control import Control
from tests.live.world import World

SETTINGS: Final = {
    "tcp": "true",
    "port": 0,
    "tick_seconds": 10,
    "idle_seconds": 30,
    "ephemeral_quiet_seconds": 0.5,
    "control_idle_seconds": 10,
}
SELDOM_SECONDS: Final = 60.0
"""Longer than idle_seconds and a tick, so that a sleeper was reaped before its next message."""
LOOK_SECONDS: Final = 5.0
WARM_UP_SECONDS: Final = 120.0
DRAIN_SECONDS: Final = 120.0
QUICK_MINUTES: Final = 1.0
OWN_SESSION: Final = ("setsid",)
"""An interrupt at the keyboard is for this process: the servers and commands of the load do not get it."""
CLOSED: Final = re.compile(r" ev=close identity=\S+ why=(\S+)")


def run(quick: bool, minutes: float = 60.0) -> list[Row]:
    """Load a server of its own for so many minutes; what is told of latency is of messages that were delivered."""
    seconds = 60 * min(minutes, QUICK_MINUTES if quick else minutes)
    warm_up = min(WARM_UP_SECONDS, seconds / 5)
    path = Path(tempfile.gettempdir()) / f"peerwake-soak-{os.getpid()}.jsonl"
    print(f"  soaking for {seconds / 60:g} min; looks go to {path}", flush=True)
    with ground(**SETTINGS) as world:
        world.prefix = OWN_SESSION
        for name, rules in RULES.items():
            world.create(name, *(["--ephemeral"] if name == WORKER else []), rules=rules)
        world.serve()
        book, samples = Book(), list[Sample]()
        floors = Floors(world, book.began)
        with interruptible() as stop:
            _load(world, book, samples, floors, stop, seconds, path)
        waiting = drain(world)
        ledger, states = balance(world, [sent.message_id for sent in book.sent])
        closed = Counter(CLOSED.findall(world.log("lifecycle")))
    found = [
        *_books(book, ledger, states, waiting),
        Row("sessions closed", sum(closed.values()), "", note=", ".join(f"{n} {why}" for why, n in closed.items())),
        *rows(samples, warm_up),
        *latencies(book.sent, floors.found, warm_up),
        *floor_rows(floors.found, warm_up),
    ]
    append(path, "rows", [asdict(row) | {"bound": str(row.bound or "")} for row in found])
    return found


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Yield an event that the first SIGINT sets."""
    stop = threading.Event()

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        print("  interrupted: ending the load, then the books", flush=True)
        stop.set()

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _load(
    world: World,
    book: Book,
    samples: list[Sample],
    floors: Floors,
    stop: threading.Event,
    seconds: float,
    path: Path,
) -> None:
    """Send, look and measure floors until the time is over or it is interrupted."""
    over = threading.Event()
    senders = [threading.Thread(target=run_way, args=(way, world, book, over)) for way in ways(SELDOM_SECONDS)]
    senders.append(threading.Thread(target=_floors, args=(floors, book, over)))
    for sender in senders:
        sender.start()
    try:
        while not stop.is_set() and (at := time.monotonic() - book.began) < seconds:
            try:
                samples.append(keep(path, look(world, at)))
            except (OSError, KeyError) as error:
                book.fail("look", error)
            stop.wait(min(LOOK_SECONDS, max(0.0, seconds - at)))
    finally:
        over.set()
        for sender in senders:
            sender.join(DRAIN_SECONDS)


def _floors(floors: Floors, book: Book, over: threading.Event) -> None:
    try:
        floors.run(over)
    except Exception as error:  # the books tell it; the load goes on
        book.fail("floors", error)


def drain(world: World) -> int:
    """Return how many messages still wait when nothing was sent for a while, none unless something is wrong."""
    until_at, calm = time.monotonic() + DRAIN_SECONDS, 0
    with Control(world.root) as control:
        while time.monotonic() < until_at:
            depth = sum(row["depth"] for row in control.call("queue")["result"]["rows"])
            # A worker's reply is a message of its own, so nothing waits for good only after a few looks.
            calm = 0 if depth else calm + 1
            if calm == 10:
                return 0
            time.sleep(0.2)
    return int(depth)


def balance(world: World, told: Sequence[str]) -> tuple[Ledger, dict[str, int]]:
    """Hold what senders were told against the spool, and the spool against what each recipient took as prompts."""
    with closing(sqlite3.connect(f"file:{world.root.spool}?mode=ro", uri=True, timeout=10)) as db:
        letters = db.execute("SELECT recipient, id, state FROM messages ORDER BY seq").fetchall()
    known = {message_id for _, message_id, _ in letters}
    total = Ledger(lost=len(set(told) - known), doubled=len(told) - len(set(told)), reordered=0, merged=0)
    for name in RULES:
        total += audit([each for to, each, _ in letters if to == f"scripted-{name}"], world.prompts(name))
    states: dict[str, int] = {}
    for _, _, state in letters:
        states[state] = states.get(state, 0) + 1
    return total, states


def _books(book: Book, ledger: Ledger, states: dict[str, int], waiting: int) -> list[Row]:
    seconds = max((sent.at for sent in book.sent), default=0.0)
    rate = len(book.sent) / seconds if seconds else 0.0
    failed = "; ".join(f"{count} × {text}" for text, count in book.failures.items())
    shown = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return [
        Row("messages sent", len(book.sent), "", note=f"{rate:.2f} /s over {seconds / 60:.1f} min"),
        Row("messages in the spool, with replies and notices", sum(states.values()), "", note=shown),
        *ledger.rows("soak"),
        Row("not settled at the end", waiting, "", ZERO),
        Row("dead letters", states.get("dead", 0), "", ZERO),
        Row("sends and looks that failed", sum(book.failures.values()), "", ZERO, note=failed),
    ]
