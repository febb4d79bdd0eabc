"""What is seen of the spool from outside."""

from collections.abc import Callable
from typing import Any

from tests.transport.spool.support import ALICE, BOB, CAROL, LIMITS, NOW, fill, letter, listed
from transport.clock import iso
from transport.identity import Identity
from transport.message import Message
from transport.spool.records import Event, QueueView
from transport.spool.store import SpoolStore
from transport.vocabulary import Hold, Stage


def test_unknown_recipient_has_an_empty_queue(store: SpoolStore) -> None:
    assert store.queue(BOB, NOW) == QueueView(0, None, None, None, 0, None)
    assert store.depth(BOB) == 0
    assert store.next_due(BOB) is None
    assert store.message("m_x") is None


def test_queue_of_an_identity(store: SpoolStore) -> None:
    first, second, third = fill(store, 3)
    assert store.queue(BOB, NOW + 10) == QueueView(3, None, 10.0, None, 0, None, 0)
    store.lease(BOB, "fence", NOW + 10)
    assert store.queue(BOB, NOW + 20) == QueueView(3, first.id, 20.0, None, 0, None)
    store.consume(first.id, "transcript", NOW + 30)
    store.bury(second.id, "poison", NOW + 30)
    store.lease(BOB, "fence", NOW + 40)
    store.release(third.id, Hold.DRAFT, NOW + 40, attempted=False)
    assert store.queue(BOB, NOW + 40) == QueueView(1, None, 40.0, NOW + 30, 1, "draft", 0.0)


def test_age_is_never_negative(store: SpoolStore) -> None:
    fill(store, 1)
    assert store.queue(BOB, NOW - 100).head_age_seconds == 0.0


def test_waiting_names_only_those_with_messages(store: SpoolStore) -> None:
    fill(store, 2)
    (other,) = fill(store, 1, to=CAROL)
    assert store.waiting() == {BOB: 2, CAROL: 1}
    store.lease(CAROL, "fence", NOW)
    assert store.waiting() == {BOB: 2, CAROL: 1}
    store.consume(other.id, "transcript", NOW)
    assert store.waiting() == {BOB: 2}


def test_next_due(store: SpoolStore) -> None:
    first, _ = fill(store, 2)
    assert store.next_due(BOB) == 0
    store.lease(BOB, "fence", NOW)
    assert store.next_due(BOB) is None
    store.release(first.id, Hold.BACKOFF, NOW, not_before=NOW + 8, attempted=True)
    assert store.next_due(BOB) == NOW + 8


def test_history_counts_repetitions(store: SpoolStore) -> None:
    (message,) = fill(store, 1)
    for step in range(3):
        store.lease(BOB, "fence", NOW + 10 * step)
        store.release(message.id, Hold.BUSY, NOW + 10 * step + 1, attempted=False)
    store.lease(BOB, "fence", NOW + 30)
    store.stage(message.id, Stage.PASTING, NOW + 31)
    store.release(message.id, "no receipt", NOW + 32, attempted=True)
    record = store.message(message.id)
    assert record is not None
    assert record.attempts == 1
    assert record.events == (
        Event(NOW, "accepted", ""),
        Event(NOW, "leased", f"(4 times, last at {iso(NOW + 30)})"),
        Event(NOW + 1, "held back", f"busy (3 times, last at {iso(NOW + 21)})"),
        Event(NOW + 31, "pasting", ""),
        Event(NOW + 32, "attempted", "no receipt"),
    )


def test_dead_letters_are_listed_newest_first(store: SpoolStore) -> None:
    messages = [*fill(store, 3), *fill(store, 2, to=CAROL)]
    for message in messages:
        store.bury(message.id, "poison", NOW)
    assert [record.message for record in store.dead()] == listed(*messages[::-1])
    assert [record.message for record in store.dead(BOB)] == listed(*messages[2::-1])
    assert [record.message for record in store.dead(limit=2)] == listed(*messages[:2:-1])
    assert store.dead(ALICE) == []


def test_leases_are_listed_oldest_first(store: SpoolStore) -> None:
    (second,) = fill(store, 1, at=NOW + 1)
    (first,) = fill(store, 1, to=CAROL)
    store.lease(BOB, "fence", NOW)
    store.lease(CAROL, "fence", NOW)
    assert [lease.message for lease in store.all_leased()] == [first, second]


def steps(store: SpoolStore, action: Callable[[], object]) -> int:
    """Return how many steps of the database's machine an action takes."""
    count = 0

    def tick() -> None:
        nonlocal count
        count += 1

    store.read(lambda db: db.set_progress_handler(tick, 1))
    action()
    store.read(lambda db: db.set_progress_handler(None, 1))
    return count


def test_cost_of_waiting_does_not_grow_with_settled_messages(store: SpoolStore) -> None:
    fill(store, 1)
    before = steps(store, store.waiting)
    for message in fill(store, 300, to=CAROL):
        store.lease(CAROL, "fence", NOW)
        store.consume(message.id, "transcript", NOW)
    assert steps(store, store.waiting) == before


def test_queues_of_one_moment(store: SpoolStore) -> None:
    first, _ = fill(store, 2)
    (dead,) = fill(store, 1, to=CAROL)
    store.bury(dead.id, "poison", NOW)
    store.lease(BOB, "fence", NOW)
    assert store.queues(NOW + 5) == {
        ALICE: store.queue(ALICE, NOW + 5),
        BOB: QueueView(2, first.id, 5.0, None, 0, None),
        CAROL: QueueView(0, None, None, None, 1, None),
    }
    store.release(first.id, Hold.BACKOFF, NOW, not_before=NOW + 8, attempted=True)
    assert store.queues(NOW + 5)[BOB] == QueueView(2, None, 5.0, None, 0, "backoff", NOW + 8)


def test_a_reply_is_what_went_to_the_sender_or_names_the_task(store: SpoolStore) -> None:
    def handed(body: str) -> Message:
        task = store.enqueue(letter(body, sender=ALICE), **LIMITS).message
        store.lease(BOB, "task", NOW + 1)
        store.stage(task.id, Stage.PASTING, NOW + 2)
        return task

    def says(to: Identity, **changes: Any) -> None:
        store.enqueue(letter(to=to, sender=BOB, at=NOW + 3, **changes), **LIMITS)

    task = handed("one")
    says(CAROL)
    assert (store.sent_since(task.id), store.replied_since(task.id)) == (True, False)
    says(Identity("codex", "alice"))
    assert store.replied_since(task.id)
    store.consume(task.id, "reply", NOW + 4)
    task = handed("two")
    store.stage(task.id, Stage.PASTING, NOW + 4)
    says(CAROL, reply_to=task.id, accepted_at=NOW + 5)
    assert store.replied_since(task.id)


def test_a_reply_is_one_also_by_a_clock_that_was_set_back(store: SpoolStore) -> None:
    """Handed over an hour later than it was answered: the order of acceptance tells."""
    (task,) = fill(store, 1)
    store.lease(BOB, "task", NOW + 3600)
    store.stage(task.id, Stage.PASTING, NOW + 3600)
    assert not store.sent_since(task.id)
    store.enqueue(letter(to=task.sender, sender=BOB, at=NOW + 1), **LIMITS)
    assert store.sent_since(task.id)
    assert store.replied_since(task.id)


def test_what_was_sent_before_a_dead_letter_was_queued_again_is_no_reply_to_it(store: SpoolStore) -> None:
    (task,) = fill(store, 1)
    store.lease(BOB, "task", NOW + 1)
    store.stage(task.id, Stage.PASTING, NOW + 2)
    store.bury(task.id, "silence", NOW + 3)
    store.enqueue(letter(to=ALICE, sender=BOB, at=NOW + 4), **LIMITS)
    store.retry(task.id, NOW + 5)
    assert not store.sent_since(task.id)
    store.enqueue(letter(to=ALICE, sender=BOB, at=NOW + 6), **LIMITS)
    assert not store.sent_since(task.id)


def test_a_letter_that_was_queued_again_was_not_sent_since(store: SpoolStore) -> None:
    mine = store.enqueue(letter(to=CAROL, sender=BOB), **LIMITS).message
    (task,) = fill(store, 1)
    store.lease(BOB, "task", NOW + 2)
    store.stage(task.id, Stage.PASTING, NOW + 3)
    for at in (NOW + 4, NOW + 6):
        store.bury(mine.id, "nobody took it", at)
        store.retry(mine.id, at + 1)
        assert not store.sent_since(task.id)
        assert not store.replied_since(task.id)
    store.enqueue(letter(to=CAROL, sender=BOB, at=NOW + 8), **LIMITS)
    assert store.sent_since(task.id)


def test_the_cost_of_a_task_does_not_grow_with_those_behind_it(store: SpoolStore) -> None:
    def work(now: float) -> None:
        lease = store.lease(BOB, "task", now)
        assert lease is not None
        store.stage(lease.message.id, Stage.PASTING, now)
        store.sent_since(lease.message.id)
        store.replied_since(lease.message.id)
        store.queue(BOB, now)
        store.next_due(BOB)
        store.consume(lease.message.id, "reply", now)

    fill(store, 10)
    few = steps(store, lambda: work(NOW + 1))
    fill(store, 1_000)
    assert steps(store, lambda: work(NOW + 2)) < 1.2 * few


def test_what_a_recipient_sent_since_it_was_handed_a_message(store: SpoolStore) -> None:
    def sent(at: float) -> None:
        store.enqueue(letter(to=ALICE, sender=BOB, at=at), **LIMITS)

    (task,) = fill(store, 1)
    assert not store.sent_since(task.id)
    store.lease(BOB, "task", NOW + 1)
    sent(NOW + 2)
    store.stage(task.id, Stage.PASTING, NOW + 3)
    assert not store.sent_since(task.id)
    store.enqueue(letter(to=CAROL, sender=ALICE, at=NOW + 4), **LIMITS)
    assert not store.sent_since(task.id)
    sent(NOW + 4)
    assert store.sent_since(task.id)
    store.release(task.id, "again", NOW + 5, attempted=True)
    store.lease(BOB, "task", NOW + 6)
    store.stage(task.id, Stage.PASTING, NOW + 7)
    assert not store.sent_since(task.id)
    assert not store.sent_since("m_unknown")
