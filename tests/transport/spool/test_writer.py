"""One transaction for many: a job that fails does not fail its neighbours."""

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.transport.spool.support import ALICE, BOB, LIMITS, NOW, check_counts, fill, letter
from transport.message import Message
from transport.spool import accept, settle
from transport.spool.accept_many import WORTHWHILE
from transport.spool.faults import SpoolFull
from transport.spool.records import Accepted, MessageUnknown, SpoolCapped
from transport.spool.store import SpoolStore
from transport.spool.worker import Failed, Job
from transport.spool.writer import together


def job(function: Callable[..., Any], *args: Any) -> Job:
    return Job(function, args, asyncio.Future(), due=0.0)


def post(message: Message, cap: int = 1000) -> Job:
    return job(accept.enqueue, message, cap, LIMITS["hop_limit"])


def refuse_late(db: sqlite3.Connection, message: Message) -> None:
    accept.insert(db, message)
    raise SpoolCapped("too late")


def counted(store: SpoolStore, jobs: list[Job]) -> tuple[list[object], int]:
    """Return the outcomes of the jobs and how many transactions there were for them."""
    statements: list[str] = []
    store.read(lambda db: db.set_trace_callback(statements.append))
    outcomes = list(together(store, jobs))
    store.read(lambda db: db.set_trace_callback(None))
    return outcomes, statements.count("BEGIN IMMEDIATE")


@pytest.fixture(autouse=True)
async def _loop() -> None:
    """Futures need a running loop."""


async def test_jobs_share_a_transaction_in_their_order(store: SpoolStore) -> None:
    messages = [letter(str(number)) for number in range(20)]
    outcomes, transactions = counted(store, [post(message) for message in messages])
    assert outcomes == [Accepted(message, False, number + 1) for number, message in enumerate(messages)]
    assert transactions == 1


async def test_refusals_do_not_split_the_batch(store: SpoolStore) -> None:
    unknown = job(settle.consume, "m_x", "transcript", NOW)
    outcomes, transactions = counted(store, [post(letter(), 1), post(letter(), 1), unknown, post(letter(to=ALICE), 1)])
    assert [type(outcome) for outcome in outcomes] == [Accepted, Failed, Failed, Accepted]
    assert isinstance(outcomes[1], Failed)
    assert isinstance(outcomes[1].error, SpoolCapped)
    assert isinstance(outcomes[2], Failed)
    assert isinstance(outcomes[2].error, MessageUnknown)
    assert transactions == 1
    assert store.waiting() == {BOB: 1, ALICE: 1}


async def test_mistake_of_one_leaves_the_others(store: SpoolStore) -> None:
    taken = fill(store, 1)[0]
    broken = replace(letter(), body="half \ud800 of a pair")
    outcomes = together(store, [post(letter()), post(broken), post(taken), post(letter())])
    assert [type(outcome) for outcome in outcomes] == [Accepted, Failed, Failed, Accepted]
    assert store.depth(BOB) == 3


async def test_mistake_of_one_of_many_leaves_the_others(store: SpoolStore) -> None:
    good = [letter(str(number)) for number in range(2 * WORTHWHILE)]
    broken = replace(letter(), body="half \ud800 of a pair")
    outcomes = together(store, [*map(post, good), post(broken), post(letter(), 0)])
    assert outcomes[: len(good)] == [Accepted(message, False, number + 1) for number, message in enumerate(good)]
    assert [type(outcome) for outcome in outcomes[len(good) :]] == [Failed, Failed]
    assert store.depth(BOB) == len(good)


async def test_refusals_of_many_do_not_split_the_batch(store: SpoolStore) -> None:
    jobs = [post(letter(), WORTHWHILE) for _ in range(2 * WORTHWHILE)]
    outcomes, transactions = counted(store, jobs)
    assert [type(outcome) for outcome in outcomes] == [Accepted] * WORTHWHILE + [Failed] * WORTHWHILE
    assert transactions == 1


async def test_what_stands_between_many_messages_sees_those_before(store: SpoolStore) -> None:
    before, behind = ([letter(str(number)) for number in range(WORTHWHILE)] for _ in range(2))
    jobs = [*map(post, before), job(settle.lease, BOB, "fence", NOW), *map(post, behind)]
    outcomes, transactions = counted(store, jobs)
    lease = outcomes[len(before)]
    assert isinstance(lease, settle.Lease)
    assert lease.message == before[0]
    assert [one.depth for one in outcomes if isinstance(one, Accepted)] == [*range(1, 2 * WORTHWHILE + 1)]
    assert transactions == 1


async def test_refusal_after_writing_is_undone(store: SpoolStore) -> None:
    outcomes = together(store, [post(letter()), job(refuse_late, letter()), post(letter())])
    assert [type(outcome) for outcome in outcomes] == [Accepted, Failed, Accepted]
    assert store.depth(BOB) == 2


async def test_message_too_big_for_the_disk_leaves_room_for_small_ones(store: SpoolStore) -> None:
    pages = store.read(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
    store.read(lambda db: db.execute(f"PRAGMA max_page_count = {pages + 4}"))
    outcomes = together(store, [post(letter("small")), post(letter("x" * 200_000)), post(letter("small"))])
    assert [type(outcome) for outcome in outcomes] == [Accepted, Failed, Accepted]
    assert isinstance(outcomes[1], Failed)
    assert isinstance(outcomes[1].error, SpoolFull)
    assert store.depth(BOB) == 2
    check_counts(store)


async def test_each_sees_what_the_ones_before_did(store: SpoolStore) -> None:
    message = letter(idempotency_key="k")
    first, again, lease, late = together(
        store,
        [
            post(message),
            post(letter(idempotency_key="k")),
            job(settle.lease, BOB, "fence", NOW),
            job(settle.lease, BOB, "fence", NOW),
        ],
    )
    assert first == Accepted(message, False, 1)
    assert again == Accepted(message, True, 1)
    assert isinstance(lease, settle.Lease)
    assert late is None
