"""Leases, stages, and the three ways out: consumed, back to the head, dead with a notice."""

import pytest

from tests.transport.spool.support import ALICE, BOB, CAROL, LIMITS, NOW, fill, letter, listed
from transport.identity import OPERATOR, SYSTEM, Identity
from transport.message import Message
from transport.spool import settle, upkeep
from transport.spool.records import Lease, LeaseLost, MessageSettled, MessageUnknown, Record
from transport.spool.store import SpoolStore
from transport.vocabulary import Hold, Kind, MessageState, Stage

NOBODY = "m_00000000000000000000"


def leased(store: SpoolStore, recipient: Identity = BOB, now: float = NOW) -> Lease:
    lease = store.lease(recipient, "fence", now)
    assert lease is not None
    return lease


def known(store: SpoolStore, message: Message) -> Record:
    record = store.message(message.id)
    assert record is not None
    return record


def test_lease_is_the_head(store: SpoolStore) -> None:
    first, _ = fill(store, 2)
    lease = store.lease(BOB, "one", NOW + 5)
    assert lease == Lease(first, Stage.HELD, 0, "one", NOW + 5)
    assert store.leased(BOB) == lease
    assert store.all_leased() == [lease]


def test_one_lease_at_a_time_for_each_recipient(store: SpoolStore) -> None:
    fill(store, 2)
    fill(store, 1, to=CAROL)
    leased(store)
    assert store.lease(BOB, "two", NOW) is None
    assert leased(store, CAROL).message.recipient == CAROL


def test_empty_queue_has_no_lease(store: SpoolStore) -> None:
    assert store.lease(BOB, "fence", NOW) is None
    assert store.leased(BOB) is None


def test_stages_are_written(store: SpoolStore) -> None:
    fill(store, 1)
    lease = leased(store)
    for reached in (Stage.PASTING, Stage.INJECTED):
        store.stage(lease.message.id, reached, NOW)
        now = store.leased(BOB)
        assert now is not None
        assert now.stage is reached


def test_consumed_message_makes_room_for_the_next(store: SpoolStore) -> None:
    first, second = fill(store, 2)
    leased(store)
    assert store.consume(first.id, "transcript line 12", NOW + 1)
    record = known(store, first)
    assert (record.state, record.stage, record.reason, record.settled_at) == (
        MessageState.CONSUMED,
        None,
        "transcript line 12",
        NOW + 1,
    )
    assert leased(store).message == second


def test_consuming_twice_changes_nothing(store: SpoolStore) -> None:
    (message,) = fill(store, 1)
    leased(store)
    assert store.consume(message.id, "first", NOW + 1)
    assert not store.consume(message.id, "second", NOW + 2)
    assert known(store, message).reason == "first"


def test_late_receipt_settles_a_message_put_back(store: SpoolStore) -> None:
    (message,) = fill(store, 1)
    leased(store)
    store.release(message.id, Hold.BACKOFF, NOW, not_before=NOW + 60, attempted=True)
    assert store.consume(message.id, "transcript", NOW + 3)
    assert store.waiting() == {}


def test_released_message_is_the_head_again(store: SpoolStore) -> None:
    first, _ = fill(store, 2)
    leased(store)
    assert store.release(first.id, Hold.BUSY, NOW, attempted=False) == 0
    assert known(store, first).reason == "busy"
    lease = leased(store)
    assert (lease.message, lease.attempts, lease.stage) == (first, 0, Stage.HELD)
    assert store.release(first.id, "no receipt in 15 s", NOW, attempted=True) == 1
    assert leased(store).attempts == 1


@pytest.mark.parametrize("how", ["put back", "counted", "queued again"])
def test_a_lease_tells_whether_its_message_was_ever_typed(store: SpoolStore, how: str) -> None:
    first, second = fill(store, 2)
    assert not leased(store).was_typed
    store.release(first.id, Hold.BUSY, NOW, attempted=True)
    assert not leased(store).was_typed
    store.stage(first.id, Stage.PASTING, NOW)
    store.stage(first.id, Stage.HELD, NOW)
    if how == "queued again":
        store.bury(second.id, "x", NOW)
        store.bury(first.id, "no receipt", NOW)
        store.retry(first.id, NOW)
    else:
        store.release(first.id, Hold.STOPPED, NOW, attempted=how == "counted")
    lease = leased(store)
    assert (lease.message, lease.was_typed) == (first, True)
    assert store.leased(BOB) == lease
    store.consume(first.id, "transcript", NOW)
    if how == "queued again":
        store.retry(second.id, NOW)
    assert not leased(store).was_typed


def test_head_that_must_wait_holds_back_the_others(store: SpoolStore) -> None:
    first, _ = fill(store, 2)
    leased(store)
    store.release(first.id, Hold.BACKOFF, NOW, not_before=NOW + 10, attempted=True)
    assert store.lease(BOB, "fence", NOW + 9.9) is None
    assert leased(store, now=NOW + 10).message == first


def test_head_in_backoff_is_due_when_the_clock_was_set_back(store: SpoolStore) -> None:
    (first,) = fill(store, 1)
    leased(store)
    store.release(first.id, Hold.BACKOFF, NOW, not_before=NOW + 10, attempted=True)
    assert store.lease(BOB, "fence", NOW) is None
    assert leased(store, now=NOW - 3600).message == first
    store.release(first.id, Hold.BACKOFF, NOW - 3600, not_before=NOW - 3590, attempted=True)
    assert leased(store, now=NOW - 3590).attempts == 2


def test_head_put_back_without_a_pause_is_due_by_any_clock(store: SpoolStore) -> None:
    (first,) = fill(store, 1)
    leased(store)
    store.release(first.id, Hold.BUSY, NOW, attempted=False)
    assert store.next_due(BOB) == 0
    assert leased(store, now=NOW - 3600).message == first


@pytest.mark.parametrize("fence", [None, "fence"])
def test_fence_of_the_holder_is_accepted(store: SpoolStore, fence: str | None) -> None:
    (message,) = fill(store, 1)
    leased(store)
    store.stage(message.id, Stage.PASTING, NOW, fence=fence)
    store.release(message.id, Hold.BUSY, NOW, attempted=False, fence=fence)
    leased(store)
    assert store.consume(message.id, "transcript", NOW, fence=fence)


def test_fence_of_another_holder_is_refused(store: SpoolStore) -> None:
    (message,) = fill(store, 1)
    leased(store)
    for attempt in (
        lambda: store.stage(message.id, Stage.PASTING, NOW, fence="old"),
        lambda: store.consume(message.id, "transcript", NOW, fence="old"),
        lambda: store.release(message.id, Hold.BUSY, NOW, attempted=True, fence="old"),
        lambda: store.bury(message.id, "poison", NOW, fence="old"),
    ):
        with pytest.raises(LeaseLost, match="leased to fence, not to old; nothing was changed"):
            attempt()
    assert store.leased(BOB) == Lease(message, Stage.HELD, 0, "fence", NOW)


def test_what_is_not_leased_has_no_stage(store: SpoolStore) -> None:
    (message,) = fill(store, 1)
    with pytest.raises(LeaseLost, match="is queued, not leased"):
        store.stage(message.id, Stage.PASTING, NOW)
    with pytest.raises(LeaseLost, match="is queued, not leased"):
        store.release(message.id, Hold.BUSY, NOW, attempted=True)


def test_unknown_message_is_named(store: SpoolStore) -> None:
    for attempt in (
        lambda: store.stage(NOBODY, Stage.PASTING, NOW),
        lambda: store.consume(NOBODY, "transcript", NOW),
        lambda: store.release(NOBODY, Hold.BUSY, NOW, attempted=True),
        lambda: store.bury(NOBODY, "poison", NOW),
        lambda: store.retry(NOBODY, NOW),
        lambda: store.drop(NOBODY, NOW),
    ):
        with pytest.raises(MessageUnknown, match=rf"no message has the id '{NOBODY}'; ids are listed by") as error:
            attempt()
        assert error.value.code == "no-such-message"


@pytest.mark.parametrize("is_leased", [True, False])
def test_buried_message_is_dead_and_its_sender_is_told(store: SpoolStore, is_leased: bool) -> None:
    (message,) = fill(store, 1)
    if is_leased:
        leased(store)
    buried = store.bury(message.id, "five attempts without a receipt", NOW + 1)
    record = known(store, message)
    assert (record.state, record.reason, record.settled_at) == (MessageState.DEAD, buried.reason, NOW + 1)
    assert buried.notice is not None
    notice = leased(store, ALICE).message
    assert notice == buried.notice
    assert (notice.kind, notice.sender, notice.recipient) == (Kind.NOTICE, SYSTEM, ALICE)
    for part in (message.id, "bob", "five attempts without a receipt"):
        assert part in notice.body


@pytest.mark.parametrize("sender", [OPERATOR, SYSTEM])
def test_no_notice_to_the_operator_or_to_ourselves(store: SpoolStore, sender: Identity) -> None:
    (message,) = fill(store, 1, sender=sender)
    assert store.bury(message.id, "poison", NOW).notice is None
    assert store.waiting() == {}


def test_notice_never_causes_a_notice(store: SpoolStore) -> None:
    (message,) = fill(store, 1)
    notice = store.bury(message.id, "poison", NOW).notice
    assert notice is not None
    assert store.bury(notice.id, "expired", NOW).notice is None
    assert store.waiting() == {}
    assert [record.message for record in store.dead()] == listed(notice, message)


def test_notice_ignores_the_cap(store: SpoolStore) -> None:
    store.enqueue(letter(to=ALICE, sender=BOB), cap=1, hop_limit=20)
    (message,) = fill(store, 1)
    store.bury(message.id, "poison", NOW)
    assert store.depth(ALICE) == 2


def test_settled_message_is_not_buried(store: SpoolStore) -> None:
    first, second = fill(store, 2)
    leased(store)
    store.consume(first.id, "transcript", NOW)
    store.bury(second.id, "poison", NOW)
    with pytest.raises(MessageSettled, match="is consumed"):
        store.bury(first.id, "poison", NOW)
    with pytest.raises(MessageSettled, match="is dead"):
        store.bury(second.id, "poison", NOW)
    with pytest.raises(MessageSettled, match="is a dead letter"):
        store.consume(second.id, "transcript", NOW)
    assert store.depth(ALICE) == 1


def test_expiry_takes_what_waits_too_long(store: SpoolStore) -> None:
    old = fill(store, 3)
    fresh = fill(store, 2, at=NOW + 50)
    lease = leased(store)
    buried = store.expire(NOW + 100, 86_400)
    assert buried == []
    buried = store.expire(NOW + 100, 60)
    assert [entry.id for entry in buried] == [message.id for message in old[1:]]
    assert all(entry.notice is not None for entry in buried)
    assert "waited longer than 60 s" in known(store, old[1]).reason
    assert store.depth(BOB) == 3
    store.consume(lease.message.id, "transcript", NOW)
    assert leased(store).message == fresh[0]


def test_a_message_of_a_clock_that_was_ahead_shields_nobody_and_ages_from_now_on(store: SpoolStore) -> None:
    (ahead,) = fill(store, 1, at=NOW + 365 * 86_400)
    late = fill(store, 3)
    buried = store.expire(NOW + 100, 60)
    assert [entry.id for entry in buried] == [message.id for message in late]
    assert store.expire(NOW + 160, 60) == []
    assert [entry.id for entry in store.expire(NOW + 161, 60) if entry.kind is Kind.MESSAGE] == [ahead.id]


def test_what_came_after_a_jump_of_the_clock_is_not_aged_by_the_time_to_measure_with(store: SpoolStore) -> None:
    jumped = NOW + 86_400
    (message,) = fill(store, 1, at=jumped)
    assert store.expire(NOW, 60, wall=jumped) == []
    assert [entry.id for entry in store.expire(jumped + 61, 60)] == [message.id]


def test_many_are_given_up_in_transactions_of_their_own(store: SpoolStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settle, "BATCH", 3)
    monkeypatch.setattr(upkeep, "BATCH", 3)
    fill(store, 8, to=BOB)
    fill(store, 8, to=CAROL)
    statements: list[str] = []
    store.read(lambda db: db.set_trace_callback(statements.append))
    assert len(store.expire(NOW + 100, 60)) == 16
    assert statements.count("BEGIN IMMEDIATE") == 7
    fill(store, 8, to=BOB, at=NOW + 100)
    statements.clear()
    assert len(store.bury_all("bob", "removed", NOW + 101)) == 8
    assert statements.count("BEGIN IMMEDIATE") == 4
    store.read(lambda db: db.set_trace_callback(None))
    assert store.depth(ALICE) == 24


def test_expired_notice_is_gone_quietly(store: SpoolStore) -> None:
    fill(store, 1)
    store.expire(NOW + 100, 60)
    (again,) = store.expire(NOW + 1000, 60)
    assert again.kind is Kind.NOTICE
    assert again.notice is None
    assert store.waiting() == {}


def test_retried_message_goes_to_the_tail_with_a_fresh_start(store: SpoolStore) -> None:
    first, second = fill(store, 2)
    leased(store)
    store.release(first.id, "no receipt", NOW, attempted=True)
    store.bury(first.id, "poison", NOW)
    store.retry(first.id, NOW + 1000)
    assert [event.event for event in known(store, first).events] == [
        "accepted",
        "leased",
        "attempted",
        "dead",
        "retried",
    ]
    third = store.enqueue(letter("third", at=NOW + 1001), **LIMITS).message
    assert second.id in [buried.id for buried in store.expire(NOW + 1010, 500)]
    lease = leased(store)
    assert (lease.message, lease.attempts) == (first, 0)
    store.consume(first.id, "transcript", NOW)
    assert leased(store, now=NOW + 1002).message == third


def test_only_a_dead_letter_is_retried(store: SpoolStore) -> None:
    (message,) = fill(store, 1)
    with pytest.raises(MessageSettled, match="is queued; only a dead letter can be repeated"):
        store.retry(message.id, NOW)


def test_order_numbers_are_never_used_again(store: SpoolStore) -> None:
    (message,) = fill(store, 1, sender=OPERATOR)
    store.bury(message.id, "poison", NOW)
    store.retry(message.id, NOW)
    store.drop(message.id, NOW)
    assert store.purge(NOW + 1, NOW + 1) == 1
    fill(store, 1)
    assert store.read(lambda db: db.execute("SELECT seq FROM messages").fetchall()) == [(3,)]


def test_dropped_dead_letter_is_gone_without_another_notice(store: SpoolStore) -> None:
    (message,) = fill(store, 1)
    store.bury(message.id, "poison", NOW)
    assert store.drop(message.id, NOW + 1).notice is None
    assert store.depth(ALICE) == 1
    assert store.dead() == []
    record = known(store, message)
    assert record.state is MessageState.DEAD
    assert [event.event for event in record.events] == ["accepted", "dead", "dropped"]
    with pytest.raises(MessageSettled, match="dropped already"):
        store.drop(message.id, NOW)
    with pytest.raises(MessageSettled, match="is dropped; only a dead letter"):
        store.retry(message.id, NOW)


def test_dropped_waiting_message_is_reported_to_its_sender(store: SpoolStore) -> None:
    first, second = fill(store, 2)
    notice = store.drop(first.id, NOW).notice
    assert notice is not None
    assert "was dropped by an operator" in notice.body
    assert "retry" not in notice.body
    assert leased(store).message == second
    assert store.dead() == []


def test_leased_message_is_not_dropped(store: SpoolStore) -> None:
    (message,) = fill(store, 1)
    leased(store)
    with pytest.raises(MessageSettled, match="is being delivered or worked on; wait"):
        store.drop(message.id, NOW)
    assert store.leased(BOB) is not None
