"""Accepting: order, duplicates, hops, the cap."""

from dataclasses import replace

import pytest

from tests.transport.spool.support import ALICE, BOB, CAROL, LIMITS, NOW, fill, letter
from transport.message import MAX_BODY_BYTES
from transport.spool.records import Accepted, HopLimitReached, SpoolCapped
from transport.spool.store import SpoolStore
from transport.vocabulary import Kind, MessageState

DAY = 86_400.0


def test_everything_about_a_message_is_kept(store: SpoolStore) -> None:
    message = letter(
        "línea 1\nline 2\t\U0001f980",
        topic="release",
        attachments=("/tmp/a b", '/tmp/"quoted"'),
        reply_to="m_00000000000000000000",
        idempotency_key="key",
        hops=3,
        kind=Kind.NOTICE,
        removed_controls=7,
    )
    accepted = store.enqueue(message, **LIMITS)
    assert (accepted.message, accepted.duplicate, accepted.depth) == (message, False, 1)
    record = store.message(message.id)
    assert record is not None
    assert record.message == message
    assert record.state is MessageState.QUEUED


@pytest.mark.parametrize("size", [1, 4000, MAX_BODY_BYTES])
def test_bodies_of_any_size(store: SpoolStore, size: int) -> None:
    message = store.enqueue(letter("ü" * (size // 2) or "x"), **LIMITS).message
    record = store.message(message.id)
    assert record is not None
    assert record.message.body == message.body


def test_order_is_that_of_acceptance_whatever_the_clock_says(store: SpoolStore) -> None:
    messages = [store.enqueue(letter(at=NOW - step), **LIMITS).message for step in range(5)]
    for message in messages:
        lease = store.lease(BOB, "fence", NOW)
        assert lease is not None
        assert lease.message == message
        store.consume(message.id, "transcript", NOW)


def test_a_smaller_id_made_by_another_process_overtakes_nobody(store: SpoolStore) -> None:
    first, second = letter("first", id="m_" + "7" * 20), letter("second", id="m_" + "3" * 20)
    for message in (first, second):
        store.enqueue(message, **LIMITS)
    for message in (first, second):
        lease = store.lease(BOB, "fence", NOW)
        assert lease is not None
        assert lease.message == message
        store.consume(message.id, "transcript", NOW)


def test_depth_counts_what_is_not_settled(store: SpoolStore) -> None:
    assert [store.enqueue(letter(), **LIMITS).depth for _ in range(3)] == [1, 2, 3]
    lease = store.lease(BOB, "fence", NOW)
    assert lease is not None
    assert store.enqueue(letter(), **LIMITS).depth == 4
    store.consume(lease.message.id, "transcript", NOW)
    assert store.enqueue(letter(), **LIMITS).depth == 4


def test_same_key_and_sender_is_the_first_message(store: SpoolStore) -> None:
    first = store.enqueue(letter("first", idempotency_key="k"), **LIMITS).message
    again = store.enqueue(letter("second", to=CAROL, idempotency_key="k", at=NOW + DAY - 1), **LIMITS)
    assert (again.message, again.duplicate, again.depth) == (first, True, 1)
    assert store.waiting() == {BOB: 1}


def test_same_key_of_a_settled_message(store: SpoolStore) -> None:
    first = store.enqueue(letter(idempotency_key="k"), **LIMITS).message
    store.lease(BOB, "fence", NOW)
    store.consume(first.id, "transcript", NOW)
    again = store.enqueue(letter(idempotency_key="k"), **LIMITS)
    assert (again.message, again.duplicate, again.depth) == (first, True, 0)


def test_same_key_of_another_sender_or_another_day_is_a_new_message(store: SpoolStore) -> None:
    store.enqueue(letter(idempotency_key="k"), **LIMITS)
    assert not store.enqueue(letter(sender=CAROL, idempotency_key="k"), **LIMITS).duplicate
    late = store.enqueue(letter("late", idempotency_key="k", at=NOW + DAY), **LIMITS)
    assert not late.duplicate
    assert store.enqueue(letter(idempotency_key="k", at=NOW + DAY + 1), **LIMITS).message == late.message


def test_reply_is_one_hop_further(store: SpoolStore) -> None:
    question = store.enqueue(letter(hops=4), **LIMITS).message
    answer = store.enqueue(letter(to=ALICE, sender=BOB, reply_to=question.id), **LIMITS).message
    assert answer.hops == 5
    record = store.message(answer.id)
    assert record is not None
    assert record.message.hops == 5


def test_reply_to_an_unknown_message_keeps_its_hops(store: SpoolStore) -> None:
    assert store.enqueue(letter(reply_to="m_00000000000000000000"), **LIMITS).message.hops == 0


def test_hop_limit(store: SpoolStore) -> None:
    question = store.enqueue(letter(hops=2), **LIMITS).message
    answer = store.enqueue(letter(reply_to=question.id), cap=10, hop_limit=3).message
    with pytest.raises(HopLimitReached, match="reply 4 in one chain, the limit is 3") as refusal:
        store.enqueue(letter(reply_to=answer.id), cap=10, hop_limit=3)
    assert refusal.value.code == "hop-limit"
    assert store.depth(BOB) == 2


def test_cap(store: SpoolStore) -> None:
    for _ in range(3):
        store.enqueue(letter(), cap=3, hop_limit=20)
    with pytest.raises(SpoolCapped, match="codex-bob holds 3 messages, its limit is 3; wait") as refusal:
        store.enqueue(letter(), cap=3, hop_limit=20)
    assert refusal.value.code == "queue-full"
    assert store.depth(BOB) == 3
    assert not store.enqueue(letter(to=CAROL), cap=3, hop_limit=20).duplicate


def test_cap_does_not_refuse_a_duplicate(store: SpoolStore) -> None:
    store.enqueue(letter(idempotency_key="k"), cap=1, hop_limit=20)
    assert store.enqueue(letter(idempotency_key="k"), cap=1, hop_limit=20).duplicate


def test_text_that_is_no_text_leaves_nothing_behind(store: SpoolStore) -> None:
    with pytest.raises(UnicodeEncodeError):
        store.enqueue(replace(letter(), body="half \ud800 of a pair"), **LIMITS)
    assert store.waiting() == {}
    fill(store, 1)
    assert store.depth(BOB) == 1


def test_what_was_accepted_under_a_key_is_found_for_a_day_by_its_sender(store: SpoolStore) -> None:
    first = store.enqueue(letter(idempotency_key="k"), **LIMITS).message
    assert store.repeated(ALICE, "k", NOW + 86_399) == Accepted(first, True, 1)
    assert store.repeated(ALICE, "k", NOW + 86_401) is None
    assert store.repeated(BOB, "k", NOW) is None
    assert store.repeated(ALICE, "other", NOW) is None
