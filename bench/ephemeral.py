"""A task of an ephemeral worker: what the spool costs it with 10 and with 10,000 waiting, and a whole one in tmux."""

import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Final

from bench.ground import ground, spread
from bench.rows import Row, answer
from bench.terms import TERMS
from tests.live.control import Control
from tests.live.world import World, until
from transport.identity import Identity
from transport.message import Draft, accept
from transport.spool.store import SpoolStore
from transport.vocabulary import Stage

FEW: Final = 10
MANY: Final = 10_000
SENDER: Final = Identity("scripted", "bob")
WORKER: Final = Identity("scripted", "worker")
DRAFT: Final = Draft("x" * 300, topic="release")
CAP: Final = 10**9
QUICK_RULES: Final = [{"done": True}]


def run(quick: bool) -> list[Row]:
    """The two depths take turns on files of their own; the whole tasks come after."""
    rounds, tasks = (100, 5) if quick else (1_000, 30)
    with tempfile.TemporaryDirectory(prefix="pw-bench-") as name:
        directory = Path(name)
        with SpoolStore(directory / "few.db") as few, SpoolStore(directory / "many.db") as many:
            fill(few, FEW)
            fill(many, MANY)
            rows = [_row(what, step, few, many, rounds) for what, step in STEPS.items()]
    return [*rows, *whole_tasks(tasks)]


def fill(store: SpoolStore, count: int) -> None:
    """Put tasks into the queue of the worker, in one transaction for each hundred."""
    for _ in range(count):
        store.enqueue(accept(DRAFT, SENDER, WORKER, hops=0, now=time.time()), cap=CAP, hop_limit=20)


def _row(what: str, step: Callable[[SpoolStore], None], few: SpoolStore, many: SpoolStore, rounds: int) -> Row:
    shallow, deep = [], []
    for _ in range(rounds):
        shallow.append(_seconds(step, few))
        deep.append(_seconds(step, many))
    value, floor = statistics.median(deep), statistics.median(shallow)
    name, of, note = f"{what}, {MANY:,} waiting", f"{FEW} waiting", f"{floor * 1e6:.0f} µs with {FEW}"
    if step is one_task:
        return answer("ephemeral.depth", value * 1e6, name=name, ratio=value / floor, of=of, note=note)
    return Row(name, value * 1e6, "µs", TERMS["ephemeral.depth"].bound, value / floor, of, note)


def _seconds(step: Callable[[SpoolStore], None], store: SpoolStore) -> float:
    began = time.perf_counter()
    step(store)
    return time.perf_counter() - began


def one_task(store: SpoolStore) -> None:
    """Everything the spool does for one task, whose place at the tail is taken by another."""
    now = time.time()
    store.next_due(WORKER)
    lease = store.lease(WORKER, "task", now)
    assert lease is not None
    store.stage(lease.message.id, Stage.PASTING, now)
    store.consume(lease.message.id, "reply", now)
    fill(store, 1)


def _look(store: SpoolStore) -> None:
    """What is asked while a task is in work."""
    lease = store.leased(WORKER) or store.lease(WORKER, "task", time.time())
    assert lease is not None
    store.sent_since(lease.message.id)
    store.replied_since(lease.message.id)


def _queue(store: SpoolStore) -> None:
    """What `queue_status` and `peerwake queue` ask."""
    store.queue(WORKER, time.time())
    store.queues(time.time())


STEPS: Final = {
    "a task through the spool (due, lease, stage, settle, next one accepted)": one_task,
    "has the worker replied?": _look,
    "status of the queue": _queue,
}


def whole_tasks(count: int) -> list[Row]:
    """Run tasks in real tmux, one after the other: from one prompt in its fresh session to the next."""
    with ground(ephemeral_quiet_seconds=0.2) as world:
        world.create(WORKER.personality, "--ephemeral", rules=QUICK_RULES)
        world.serve()
        with Control(world.root) as control:
            for number in range(count):
                control.send(WORKER.personality, f"task {number}", wait_seconds=0)
            until(lambda: len(begun(world)) == count, 60 + 5 * count, "the last task")
        times = begun(world)
        assert [body for _, body in times] == [f"task {number}" for number in range(count)], times
        seconds = [after - before for (before, _), (after, _) in pairwise(times)]
    return [
        Row(
            "task to task in tmux (close, fresh session, hand over, done)",
            statistics.median(seconds) * 1e3,
            "ms",
            note=spread(seconds),
        )
    ]


def begun(world: World) -> list[tuple[float, str]]:
    """Return when each session of the worker was given its task, and the task, in order."""
    prompts = [record for record in world.transcript(WORKER.personality) if record["type"] == "user"]
    return sorted((float(record["at"]), record["text"].splitlines()[1]) for record in prompts)
