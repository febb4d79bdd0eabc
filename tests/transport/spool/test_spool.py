"""The spool of a server: many callers, cancelled callers, deadlines, other processes."""

import inspect
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from tests.transport.spool.support import ALICE, BOB, CAROL, LIMITS, NOW, check_counts, child, letter, listed, said
from transport.identity import Identity
from transport.message import Message
from transport.spool.faults import SpoolBusy, SpoolClosed, SpoolCorrupt, SpoolFailed
from transport.spool.records import MessageUnknown, SpoolCapped
from transport.spool.spool import Spool
from transport.spool.store import SpoolStore
from transport.spool.turnstile import Turnstile
from transport.spool.worker import Job, Worker
from transport.vocabulary import Hold, MessageState, Stage


@pytest.fixture
async def spool(path: Path) -> AsyncIterator[Spool]:
    async with Spool(path) as spool:
        yield spool
    with SpoolStore(path) as store:
        check_counts(store)


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("spool")}


def test_both_faces_of_the_spool_are_alike() -> None:
    def face(kind: type) -> dict[str, inspect.Signature]:
        names = {"held", "transact", "read", "write", "close", "post"}
        return {
            name: inspect.signature(value)
            for name, value in vars(kind).items()
            if not name.startswith("_") and name not in names
        }

    assert face(Spool) == face(SpoolStore)
    assert all(inspect.iscoroutinefunction(getattr(Spool, name)) for name in face(Spool))


async def test_a_message_on_its_way(spool: Spool) -> None:
    message = (await spool.enqueue(letter(), **LIMITS)).message
    lease = await spool.lease(BOB, "fence", NOW)
    assert lease is not None
    assert await spool.leased(BOB) == lease
    assert await spool.all_leased() == [lease]
    await spool.stage(message.id, Stage.PASTING, NOW, fence="fence")
    assert await spool.release(message.id, Hold.BUSY, NOW, not_before=NOW + 1, attempted=True) == 1
    assert await spool.next_due(BOB) == NOW + 1
    assert (await spool.queue(BOB, NOW)).hold == "busy"
    await spool.lease(BOB, "fence", NOW + 1)
    assert await spool.consume(message.id, "transcript", NOW)
    record = await spool.message(message.id)
    assert record is not None
    assert record.state is MessageState.CONSUMED
    assert await spool.purge(NOW + 1, NOW + 1) == 1


async def test_dead_letters(spool: Spool) -> None:
    first, second = [(await spool.enqueue(letter(), **LIMITS)).message for _ in range(2)]
    notice = (await spool.bury(first.id, "poison", NOW)).notice
    assert notice is not None
    assert [record.message for record in await spool.dead(BOB)] == listed(first)
    await spool.retry(first.id, NOW)
    await spool.drop(second.id, NOW)
    assert await spool.rename("bob", "carol", NOW) == 1
    carol = Identity("codex", "carol")
    assert await spool.waiting() == {ALICE: 2, carol: 1}
    assert await spool.depth(carol) == 1
    assert len(await spool.expire(NOW + 10, 5)) == 3


async def test_many_writers_keep_their_own_order(spool: Spool, path: Path) -> None:
    async def write(name: str) -> None:
        for number in range(50):
            await spool.enqueue(letter(f"{name} {number}"), **LIMITS)

    async with anyio.create_task_group() as tasks:
        for name in map(str, range(32)):
            tasks.start_soon(write, name)
    with SpoolStore(path) as store:
        bodies = [
            body for (body,) in store.read(lambda db: db.execute("SELECT body FROM bodies ORDER BY seq").fetchall())
        ]
    assert len(bodies) == 1600
    for name in map(str, range(32)):
        assert [body for body in bodies if body.split()[0] == name] == [f"{name} {number}" for number in range(50)]


async def test_calls_of_one_moment_are_done_in_their_order(spool: Spool) -> None:
    messages = [letter(str(number)) for number in range(300)]
    depths: dict[int, int] = {}

    async def write(number: int, message: Message) -> None:
        depths[number] = (await spool.enqueue(message, **LIMITS)).depth

    async with anyio.create_task_group() as tasks:
        for number, message in enumerate(messages):
            tasks.start_soon(write, number, message)
    assert depths == {number: number + 1 for number in range(300)}


async def test_failures_reach_only_their_caller(spool: Spool) -> None:
    failures: list[type] = []

    async def fail(message: Message, cap: int, error: type[Exception]) -> None:
        with pytest.raises(error):
            await spool.enqueue(message, cap=cap, hop_limit=20)
        failures.append(error)

    async def forget() -> None:
        with pytest.raises(MessageUnknown):
            await spool.consume("m_x", "transcript", NOW)
        failures.append(MessageUnknown)

    taken = (await spool.enqueue(letter(), **LIMITS)).message
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(lambda: spool.enqueue(letter(), **LIMITS))
            tasks.start_soon(fail, letter(to=ALICE), 0, SpoolCapped)
        tasks.start_soon(fail, taken, 1000, sqlite3.IntegrityError)
        tasks.start_soon(forget)
    assert len(failures) == 22
    assert await spool.waiting() == {BOB: 21}


async def test_caller_cancelled_while_waiting_leaves_nothing(spool: Spool, path: Path) -> None:
    other = Turnstile(path.with_suffix(".lock"))
    other.enter(1)
    with anyio.move_on_after(0.05) as scope:
        await spool.enqueue(letter(), **LIMITS)
    assert scope.cancelled_caught
    other.leave()
    other.close()
    await spool.enqueue(letter("next"), **LIMITS)
    assert await spool.depth(BOB) == 1


async def test_callers_cancelled_at_any_moment_leave_whole_messages(spool: Spool) -> None:
    chance, accepted = random.Random(1), set()

    async def write(message: Message, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await spool.enqueue(message, **LIMITS)
            accepted.add(message.id)

    messages = [letter() for _ in range(300)]
    async with anyio.create_task_group() as tasks:
        for message in messages:
            tasks.start_soon(write, message, chance.uniform(0, 0.01))
    await spool.enqueue(letter(to=CAROL), **LIMITS)
    stored = {message.id for message in messages if await spool.message(message.id)}
    assert accepted <= stored
    assert await spool.depth(BOB) == len(stored)


async def test_who_posts_is_told_after_then_was(spool: Spool) -> None:
    told: list[object] = []
    accepted = await spool.post(letter(), **LIMITS, then=told.append)
    assert told == [accepted]
    with pytest.raises(SpoolCapped):
        await spool.post(letter(), cap=0, hop_limit=20, then=told.append)
    assert told == [accepted]


async def test_what_is_posted_is_stored_and_told_though_its_caller_left(spool: Spool) -> None:
    told = anyio.Event()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await spool.post(letter(), **LIMITS, then=lambda accepted: told.set())
    assert scope.cancelled_caught
    with anyio.fail_after(5):
        await told.wait()
    assert await spool.depth(BOB) == 1


async def test_a_then_that_fails_fails_its_caller_alone(spool: Spool) -> None:
    def fail(accepted: object) -> None:
        raise OSError("no")

    depths: list[int] = []

    async def enqueue() -> None:
        depths.append((await spool.enqueue(letter(), **LIMITS)).depth)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(enqueue)
            with pytest.raises(OSError, match="no"):
                await spool.post(letter(), **LIMITS, then=fail)
            tasks.start_soon(enqueue)
    assert await spool.depth(BOB) == 3


async def test_closing_finishes_what_was_posted_by_one_who_left(path: Path) -> None:
    told: list[object] = []
    async with Spool(path) as spool:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await spool.post(letter(), **LIMITS, then=told.append)
    assert len(told) == 1
    with SpoolStore(path) as store:
        assert store.depth(BOB) == 1


async def test_stopped_process_fails_callers_in_time_and_for_good(path: Path) -> None:
    async with Spool(path, patience=0.3) as spool:
        with child("hold", path.with_suffix(".lock")) as holder:
            assert said(holder) == "held"
            holder.send_signal(signal.SIGSTOP)
            errors = 0

            async def write() -> None:
                nonlocal errors
                with pytest.raises(SpoolBusy, match=r"did not get to this in 0\.3 s; nothing was stored"):
                    await spool.enqueue(letter(), **LIMITS)
                errors += 1

            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(write)
                assert await spool.depth(BOB) == 0
            assert errors == 10
            holder.send_signal(signal.SIGCONT)
            print(file=holder.stdin, flush=True)
            assert said(holder) == "left"
        assert (await spool.enqueue(letter(), **LIMITS)).depth == 1


async def test_what_was_posted_by_one_who_left_is_given_up_when_it_is_too_late(path: Path) -> None:
    told: list[object] = []
    async with Spool(path, patience=0.3) as spool:
        with child("hold", path.with_suffix(".lock")) as holder:
            assert said(holder) == "held"
            with anyio.move_on_after(0.05):
                await spool.post(letter(), **LIMITS, then=told.append)
            # Closing waits for what was asked, and no longer than that may wait itself.
            await spool._writer.stop()
            assert holder.poll() is None
    assert told == []
    with SpoolStore(path) as store:
        assert store.depth(BOB) == 0


class Odd(Worker[None]):
    """Fails at its first job, before it has begun any."""

    has_failed = False

    def open(self) -> None:
        return None

    def shut(self, context: None) -> None:
        return None

    def serve(self, context: None, jobs: list[Job]) -> None:
        if not self.has_failed:
            self.has_failed = True
            raise ZeroDivisionError
        begun = self.begin(jobs)
        self.deliver(begun, ["done"] * len(begun))


async def test_a_failure_that_nobody_foresaw_is_that_of_its_callers_alone() -> None:
    worker = Odd("odd", patience=30)
    await worker.start()
    with pytest.raises(ZeroDivisionError):
        await worker.submit(str)
    assert await worker.submit(str) == "done"
    await worker.stop()


async def test_begun_work_is_awaited_beyond_the_deadline(path: Path) -> None:
    def slow(db: sqlite3.Connection) -> str:
        time.sleep(0.3)
        return "done"

    async with Spool(path, patience=0.1) as spool:
        assert await spool._writer.submit(slow) == "done"


async def test_work_behind_slow_work_is_abandoned_in_time(path: Path) -> None:
    began = threading.Event()
    go_on = threading.Event()

    def slow(db: sqlite3.Connection) -> str:
        began.set()
        go_on.wait(10)
        return "done"

    async with Spool(path, patience=0.2) as spool, anyio.create_task_group() as tasks:
        tasks.start_soon(spool._writer.submit, slow)
        await anyio.to_thread.run_sync(began.wait)
        with pytest.raises(SpoolBusy):
            await spool.enqueue(letter(), **LIMITS)
        go_on.set()
        await spool.enqueue(letter(to=CAROL), **LIMITS)
        assert await spool.waiting() == {CAROL: 1}


async def test_event_loop_runs_on_while_the_lock_is_held(spool: Spool, path: Path) -> None:
    other = Turnstile(path.with_suffix(".lock"))
    other.enter(1)
    turns = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: spool.enqueue(letter(), **LIMITS))
        with anyio.move_on_after(0.1):
            while True:
                await anyio.lowlevel.checkpoint()
                turns += 1
        assert await spool.depth(BOB) == 0
        other.leave()
    other.close()
    assert turns > 100
    assert await spool.depth(BOB) == 1


async def test_closing_finishes_what_was_asked_before(path: Path) -> None:
    async with anyio.create_task_group() as tasks, Spool(path) as spool:
        for _ in range(50):
            tasks.start_soon(lambda: spool.enqueue(letter(), **LIMITS))
        await anyio.lowlevel.checkpoint()
    with SpoolStore(path) as store:
        assert store.depth(BOB) == 50
    assert threads() == set()


async def test_closed_spool_refuses(path: Path) -> None:
    async with Spool(path) as spool:
        pass
    with pytest.raises(SpoolClosed, match="nothing was stored"):
        await spool.enqueue(letter(), **LIMITS)
    with pytest.raises(SpoolClosed):
        await spool.depth(BOB)


async def test_closing_in_a_cancelled_scope_ends_the_threads(path: Path) -> None:
    with anyio.CancelScope() as scope:
        async with Spool(path):
            scope.cancel()
    assert threads() == set()


async def test_corrupt_file_is_refused_at_the_start(path: Path) -> None:
    path.write_bytes(b"not a database")  # noqa: ASYNC240
    with pytest.raises(SpoolCorrupt, match="not an SQLite database"):
        async with Spool(path):
            pass
    assert threads() == set()


async def test_cancelled_start_leaves_no_thread(path: Path) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with Spool(path):
            pytest.fail("entered a cancelled scope")
    assert threads() == set()


async def test_missing_directory_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SpoolFailed, match="nowhere"):
        async with Spool(tmp_path / "nowhere" / "spool.db"):
            pass


async def test_what_another_process_spools_is_noticed(spool: Spool, path: Path) -> None:
    await spool.enqueue(letter(), **LIMITS)
    assert not await spool.changed_elsewhere()
    with SpoolStore(path) as store:
        store.enqueue(letter(), **LIMITS)
        assert await spool.changed_elsewhere()
        await spool.enqueue(letter(), **LIMITS)
        assert not await spool.changed_elsewhere()
    assert await spool.depth(BOB) == 3


async def test_a_look_for_changes_that_failed_is_made_up_for(path: Path) -> None:
    with SpoolStore(path) as other:
        async with Spool(path, patience=0.2) as spool:
            await spool.changed_elsewhere()
            other.enqueue(letter(), **LIMITS)
            log = path.with_name(f"{path.name}-wal")
            os.utime(log, (time.time() - 60,) * 2)
            began, go_on = threading.Event(), threading.Event()

            def slow(db: sqlite3.Connection) -> None:
                began.set()
                go_on.wait(10)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(spool._writer.submit, slow)
                await anyio.to_thread.run_sync(began.wait)
                with pytest.raises(SpoolBusy):
                    await spool.changed_elsewhere()
                go_on.set()
            assert await spool.changed_elsewhere()
            assert not await spool.changed_elsewhere()


async def test_looking_for_changes_swallows_no_write_of_the_same_moment(spool: Spool) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(spool.changed_elsewhere)
        for _ in range(5):
            tasks.start_soon(lambda: spool.enqueue(letter(), **LIMITS))
        tasks.start_soon(spool.changed_elsewhere)
    assert await spool.depth(BOB) == 5


async def test_change_is_noticed_while_another_holds_the_lock(spool: Spool, path: Path) -> None:
    with SpoolStore(path) as store, store.held(1):
        store.transact(lambda db: db.execute("UPDATE queues SET depth = 0 WHERE FALSE"))
        with anyio.fail_after(5):
            await spool.changed_elsewhere()


async def test_two_servers_share_a_queue(path: Path) -> None:
    async with Spool(path) as one, Spool(path) as two, anyio.create_task_group() as tasks:
        for spool in (one, two):
            for _ in range(50):
                tasks.start_soon(lambda spool=spool: spool.enqueue(letter(), **LIMITS))
    with SpoolStore(path) as store:
        assert store.depth(BOB) == 100
        check_counts(store)
