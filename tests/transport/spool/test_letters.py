"""Dead letters in bulk, and that no notice ever causes another."""

import sqlite3
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transport.spool.support import ALICE, BOB, CAROL, LIMITS, NOW, check_counts, fill, letter, listed
from transport.errors import PeerwakeError
from transport.identity import OPERATOR, Identity
from transport.message import MAX_BODY_BYTES, Message
from transport.spool import letters, settle
from transport.spool.accept import insert
from transport.spool.records import Handled, MessageSettled, MessageUnknown, Which
from transport.spool.spool import Spool
from transport.spool.store import SpoolStore
from transport.vocabulary import Kind, MessageState, Stage

ALL = Which(None, NOW + 1_000_000)


def dead(store: SpoolStore, count: int, at: float = NOW, to: Identity = BOB) -> list[Message]:
    """Return dead letters of the operator, who gets no notices."""
    messages = fill(store, count, to=to, sender=OPERATOR)
    for message in messages:
        store.bury(message.id, "poison", at)
    return messages


def ids(handled: Handled) -> list[str]:
    return [each.message_id for each in handled.done]


def test_listed_by_peer_and_age_newest_first_with_the_number_of_all(store: SpoolStore) -> None:
    old, new = dead(store, 1, NOW)[0], dead(store, 1, NOW + 100)[0]
    (other,) = dead(store, 1, NOW + 50, to=CAROL)
    records, total = store.letters(ALL, 2)
    assert ([record.message for record in records], total) == (listed(new, other), 3)
    records, total = store.letters(Which((BOB,), NOW + 99), 10)
    assert ([record.message for record in records], total) == (listed(old), 1)
    assert store.letters(Which((ALICE, CAROL), NOW), 10) == ([], 0)
    assert store.letters(Which((), NOW + 1000), 10) == ([], 0)


def test_a_list_of_large_letters_is_small(store: SpoolStore) -> None:
    large = [letter("x" * MAX_BODY_BYTES, sender=OPERATOR) for _ in range(40)]

    def give_up(db: sqlite3.Connection) -> None:
        for message in large:
            insert(db, message)
            settle.bury(db, message.id, "poison", NOW)

    store.write(give_up)
    for look in (lambda: store.letters(ALL, 10_000)[0], lambda: store.dead(limit=1_000)):
        tracemalloc.start()
        found = look()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(found) == len(large)
        assert peak < 1 << 20


def test_retried_letters_keep_the_order_of_their_acceptance(store: SpoolStore) -> None:
    first, second, third = dead(store, 3)
    (waiting,) = fill(store, 1)
    handled = store.retry_these([third.id, first.id, second.id, first.id], NOW + 1)
    assert ids(handled) == [first.id, second.id, third.id]
    taken = []
    for _ in range(4):
        lease = store.lease(BOB, "fence", NOW + 2)
        assert lease is not None
        store.consume(lease.message.id, "transcript", NOW + 2)
        taken.append(lease.message.id)
    assert taken == [waiting.id, first.id, second.id, third.id]


def test_what_is_not_dead_is_refused_and_keeps_no_other_from_being_retried(store: SpoolStore) -> None:
    (message,) = dead(store, 1)
    leased, waiting = fill(store, 2)
    store.lease(BOB, "fence", NOW)
    handled = store.retry_these([leased.id, message.id, waiting.id, "m_unknown"], NOW)
    assert ids(handled) == [message.id]
    refused = dict(handled.refused)
    assert list(refused) == [leased.id, waiting.id, "m_unknown"]
    assert isinstance(refused[waiting.id], MessageSettled) and isinstance(refused["m_unknown"], MessageUnknown)
    assert "is leased; only a dead letter" in str(refused[leased.id])


def test_drop_takes_dead_and_waiting_ones_but_none_in_flight(store: SpoolStore) -> None:
    (message,) = dead(store, 1)
    leased, waiting = fill(store, 2, sender=OPERATOR)
    store.lease(BOB, "fence", NOW)
    handled = store.drop_these([leased.id, message.id, waiting.id], NOW)
    assert set(ids(handled)) == {message.id, waiting.id}
    ((refused, error),) = handled.refused
    assert refused == leased.id
    assert "is being delivered or worked on; wait until it is settled, or stop its recipient" in str(error)
    assert store.depth(BOB) == 1


def test_letters_of_a_clock_that_was_ahead_are_of_any_age(store: SpoolStore) -> None:
    (ahead,) = fill(store, 1)
    store.bury(ahead.id, "poison", NOW + 365 * 86_400)
    assert store.letters(Which(None, NOW + 100), 10) == ([], 0)
    records, total = store.letters(Which(None, NOW + 100, or_after=NOW + 3_700), 10)
    assert ([record.message.id for record in records], total) == ([ahead.id], 1)


async def test_all_letters_of_a_peer_in_batches(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "BATCH", 3)
    with SpoolStore(path) as store:
        mine, others = dead(store, 10), dead(store, 2, to=CAROL)
        young = dead(store, 1, NOW + 500)
    async with Spool(path) as spool:
        which = Which((BOB,), NOW + 100)
        assert ids(await spool.retry_all(which, NOW + 600)) == [message.id for message in mine]
        assert ids(await spool.retry_all(which, NOW + 600)) == []
        assert await spool.depth(BOB) == 10
        assert set(ids(await spool.drop_all(ALL, NOW + 700))) == {message.id for message in (*others, *young)}
        assert (await spool.letters(ALL, 10)) == ([], 0)


def test_a_sender_is_told_once_however_often_its_message_is_given_up(store: SpoolStore) -> None:
    (message,) = fill(store, 1)
    assert store.bury(message.id, "poison", NOW).notice is not None
    store.retry(message.id, NOW)
    assert store.bury(message.id, "poison", NOW).notice is None
    store.retry(message.id, NOW)
    assert store.drop(message.id, NOW).notice is None
    assert store.depth(ALICE) == 1


PEERS = (ALICE, BOB, CAROL, OPERATOR)
VERBS = ("send", "lease", "pasting", "release", "consume", "bury", "expire", "retry", "drop", "retry all", "drop all")
STEP = st.tuples(st.sampled_from(VERBS), st.integers(0, 30), st.sampled_from(PEERS), st.sampled_from(PEERS))


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, min_size=5, max_size=60))
def test_no_sequence_of_operations_makes_a_notice_of_a_notice(
    sequence: list[tuple[str, int, Identity, Identity]],
) -> None:
    with TemporaryDirectory() as directory, SpoolStore(Path(directory) / "spool.db") as store:
        for number, step in enumerate(sequence):
            act(store, step, NOW + 10 * number)
        rows = store.read(lambda db: db.execute("SELECT kind, reply_to, sender FROM messages").fetchall())
        told = [reply_to for kind, reply_to, _ in rows if kind == Kind.NOTICE]
        assert len(told) <= sum(kind == Kind.MESSAGE for kind, *_ in rows)
        assert len(told) == len(set(told))
        for message_id in told:
            record = store.message(message_id)
            assert record is not None and record.message.kind is Kind.MESSAGE
            assert record.message.sender != OPERATOR
            assert "dead" in {event.event for event in record.events} or record.reason == "an operator dropped it"
        check_counts(store)


def act(store: SpoolStore, step: tuple[str, int, Identity, Identity], now: float) -> None:
    """Do one thing that may be refused."""
    verb, number, one, other = step
    rows = store.read(lambda db: db.execute("SELECT id FROM messages ORDER BY seq").fetchall())
    chosen = rows[number % len(rows)][0] if rows else "m_none"
    try:
        match verb:
            case "send":
                store.enqueue(letter(to=one, sender=other, at=now), **LIMITS)
            case "lease":
                store.lease(one, "fence", now)
            case "pasting":
                store.stage(chosen, Stage.PASTING, now)
            case "release":
                store.release(chosen, "busy", now, attempted=bool(number % 2))
            case "consume":
                store.consume(chosen, "transcript", now)
            case "bury":
                store.bury(chosen, "poison", now)
            case "expire":
                store.expire(now, 10 * number)
            case "retry":
                store.retry(chosen, now)
            case "drop":
                store.drop(chosen, now)
            case "retry all":
                store.retry_all(Which((one,), now), now)
            case "drop all":
                store.drop_all(Which(None, now), now)
    except PeerwakeError as error:
        assert error.code in ("message-state", "lease-lost", "no-such-message")


def test_a_dead_notice_is_silent_between_all_kinds_of_peers(store: SpoolStore) -> None:
    (message,) = fill(store, 1)
    notice = store.bury(message.id, "poison", NOW).notice
    assert notice is not None
    for _ in range(3):
        assert store.bury(notice.id, "nobody takes it", NOW).notice is None
        store.retry(notice.id, NOW)
    assert store.drop(notice.id, NOW).notice is None
    assert store.waiting() == {}
    record = store.message(notice.id)
    assert record is not None and record.state is MessageState.DEAD
