"""The spool alone: 32 writers in one process, four processes, beside the fsync of the same directory."""

import asyncio
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Final

from bench.rows import Row, answer
from transport.identity import Identity
from transport.message import Draft, Message, accept
from transport.spool.spool import Spool
from transport.spool.store import SpoolStore
from transport.vocabulary import Stage

CAP: Final = 10**9
HOPS: Final = 20
SENDER: Final = Identity("claude", "alice")
RECIPIENTS: Final = 20
DRAFT: Final = Draft("x" * 300, topic="release")
MOST_EACH: Final = 5_000
FLOOR: Final = "append of 500 B + fsync"


def run(quick: bool) -> list[Row]:
    """Measure in a directory of the system's temporary directory (`TMPDIR` moves it to another disk)."""
    count = 3_200 if quick else 32_000
    with _directory() as directory:
        floor = fsyncs(directory, count // 8)
        rows = [Row("appends with fsync", floor, "/s", note="the floor of this disk")]
        rows += asyncio.run(_in_one_process(directory / "one.db", count, floor))
        rows += _four_processes(directory / "four.db", 1.0 if quick else 5.0, floor)
        return rows


def fsyncs(directory: Path, count: int) -> float:
    """Return how many appends of 500 B with an fsync each a second holds."""
    descriptor = os.open(directory / "floor", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        began = time.perf_counter()
        for _ in range(count):
            os.write(descriptor, b"x" * 500)
            os.fsync(descriptor)
        return count / (time.perf_counter() - began)
    finally:
        os.close(descriptor)


async def _in_one_process(path: Path, count: int, floor: float) -> list[Row]:
    async with Spool(path) as spool:
        many, cpu, longest = await _enqueue(spool, count, writers=32)
        one, _, _ = await _enqueue(spool, count // 16, writers=1)
        look = await _look(spool, count // 16)
        delivered = await _deliver(spool, count // 32)
    return [
        answer("spool.server", many, ratio=many / floor, of=FLOOR),
        Row("longest of these", longest * 1e3, "ms"),
        answer("spool.cost", cpu * 1e6, note="both threads"),
        Row("enqueues, one writer", one, "/s", None, one / floor, FLOOR),
        Row("question off the event loop (depth)", look * 1e6, "µs"),
        Row("deliveries (lease, two stages, consume)", delivered, "/s", None, 4 * delivered / floor, f"four × {FLOOR}"),
    ]


async def _enqueue(spool: Spool, count: int, writers: int) -> tuple[float, float, float]:
    """Return enqueues per second, processor seconds of each, and the longest in seconds."""
    messages = [_message(number) for number in range(count)]
    longest = 0.0

    async def write(mine: list[Message]) -> None:
        nonlocal longest
        for message in mine:
            asked = time.perf_counter()
            await spool.enqueue(message, cap=CAP, hop_limit=HOPS)
            longest = max(longest, time.perf_counter() - asked)

    began, cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as tasks:
        for number in range(writers):
            tasks.create_task(write(messages[number::writers]))
    return count / (time.perf_counter() - began), (time.process_time() - cpu) / count, longest


async def _look(spool: Spool, count: int) -> float:
    """Return the seconds of one question."""
    began = time.perf_counter()
    for number in range(count):
        await spool.depth(_recipient(number))
    return (time.perf_counter() - began) / count


async def _deliver(spool: Spool, count: int) -> float:
    """Return how many messages a second one deliverer takes through their stages."""
    began = time.perf_counter()
    for number in range(count):
        lease = await spool.lease(_recipient(number), "bench", time.time())
        assert lease is not None
        await spool.stage(lease.message.id, Stage.PASTING, time.time())
        await spool.stage(lease.message.id, Stage.INJECTED, time.time())
        await spool.consume(lease.message.id, "transcript", time.time())
    return count / (time.perf_counter() - began)


def _four_processes(path: Path, seconds: float, floor: float) -> list[Row]:
    SpoolStore(path).close()
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(4)
    results: Queue[str] = context.Queue()
    processes = [context.Process(target=_write_alone, args=(str(path), seconds, start, results)) for _ in range(4)]
    for process in processes:
        process.start()
    answers = [json.loads(results.get(timeout=seconds + 60)) for _ in processes]
    for process in processes:
        process.join()
    counts = [told["count"] for told in answers]
    total, fewest = sum(counts) / seconds, min(counts) / max(counts)
    longest = max(told["longest"] for told in answers)
    return [
        answer("spool.processes", total, ratio=total / floor, of=FLOOR, note="one fsync each"),
        answer("spool.wait", longest * 1e3, ratio=longest * floor, of=FLOOR),
        Row("least served of the four", fewest * 100, "%", note="of the best served"),
    ]


def _write_alone(path: str, seconds: float, start: Barrier, results: "Queue[str]") -> None:
    messages = [_message(number) for number in range(int(MOST_EACH * seconds))]
    count, longest = 0, 0.0
    with SpoolStore(Path(path)) as store:
        start.wait()
        end = time.perf_counter() + seconds
        while (asked := time.perf_counter()) < end:
            store.enqueue(messages[count], cap=CAP, hop_limit=HOPS)
            longest = max(longest, time.perf_counter() - asked)
            count += 1
    results.put(json.dumps({"count": count, "longest": longest}))


def _message(number: int) -> Message:
    return accept(DRAFT, SENDER, _recipient(number), hops=0, now=time.time())


def _recipient(number: int) -> Identity:
    return Identity("codex", f"bob{number % RECIPIENTS}")


@contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pw-bench-") as name:
        yield Path(name)
