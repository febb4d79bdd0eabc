"""Purging and renaming."""

import pytest

from tests.transport.spool.support import ALICE, BOB, CAROL, LIMITS, NOW, fill, letter
from transport.spool import upkeep
from transport.spool.records import MessageSettled
from transport.spool.store import SpoolStore

DAY = 86_400.0


def settle(store: SpoolStore, count: int, **changes: object) -> list[str]:
    messages = fill(store, count, **changes)
    for message in messages:
        store.lease(BOB, "fence", NOW)
        store.consume(message.id, "transcript", NOW)
    return [message.id for message in messages]


def test_purge_takes_old_settled_messages_with_everything_of_theirs(store: SpoolStore) -> None:
    settle(store, 5)
    store.write(lambda db: db.execute("UPDATE messages SET settled_at = settled_at - 1000 WHERE seq <= 3"))
    assert store.purge(NOW - 10, NOW) == 3
    assert store.purge(NOW - 10, NOW) == 0
    for table, rows in (("messages", 2), ("bodies", 2), ("events", 4)):
        assert store.read(lambda db, table=table: db.execute(f"SELECT count(*) FROM {table}").fetchone()) == (rows,)


def test_purge_leaves_what_waits_and_what_is_dead(store: SpoolStore) -> None:
    _, dead, _ = fill(store, 3)
    store.bury(dead.id, "poison", NOW)
    store.lease(BOB, "fence", NOW)
    assert store.purge(NOW + 10 * DAY, NOW + 10 * DAY) == 0
    store.drop(dead.id, NOW)
    assert store.purge(NOW + 10 * DAY, NOW + 10 * DAY) == 1


def test_purge_goes_on_until_nothing_is_left(store: SpoolStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "PURGE_ROWS", 2)
    settle(store, 5)
    assert store.purge(NOW + 1, NOW + 1) == 5


def test_purge_respects_the_day_of_a_key(store: SpoolStore) -> None:
    settle(store, 1, idempotency_key="k")
    assert store.purge(NOW + 3600, NOW + DAY) == 0
    assert store.enqueue(letter(idempotency_key="k", at=NOW + DAY - 1), **LIMITS).duplicate
    assert store.purge(NOW + 3600, NOW + DAY + 1) == 1


def test_last_receipt_outlives_the_purge(store: SpoolStore) -> None:
    settle(store, 1)
    store.purge(NOW + 1, NOW + 1)
    assert store.queue(BOB, NOW).last_receipt_at == NOW


def test_renamed_identity_keeps_its_queue_in_order(store: SpoolStore) -> None:
    first, dead, third = fill(store, 3)
    store.bury(dead.id, "poison", NOW)
    (other,) = fill(store, 1, to=CAROL)
    assert store.rename(BOB, CAROL, NOW) == 3
    assert (store.waiting(), store.queue(CAROL, NOW).dead) == ({ALICE: 1, CAROL: 3}, 1)
    for message in (first, third, other):
        lease = store.lease(CAROL, "fence", NOW)
        assert lease is not None
        assert lease.message.id == message.id
        store.consume(message.id, "transcript", NOW)


def test_renamed_sender_gets_its_notices(store: SpoolStore) -> None:
    (message,) = fill(store, 1)
    store.rename(ALICE, CAROL, NOW)
    notice = store.bury(message.id, "poison", NOW).notice
    assert notice is not None
    assert notice.recipient == CAROL


def test_no_renaming_in_the_middle_of_a_delivery(store: SpoolStore) -> None:
    fill(store, 2)
    store.lease(BOB, "fence", NOW)
    with pytest.raises(MessageSettled, match="is being delivered to codex-bob; wait"):
        store.rename(BOB, CAROL, NOW)
    assert store.waiting() == {BOB: 2}


def test_renaming_onto_a_delivery_waits_for_it(store: SpoolStore) -> None:
    (first,) = fill(store, 1)
    (second,) = fill(store, 1, to=CAROL)
    store.lease(CAROL, "fence", NOW)
    store.rename(BOB, CAROL, NOW)
    assert store.lease(CAROL, "fence", NOW) is None
    store.consume(second.id, "transcript", NOW)
    lease = store.lease(CAROL, "fence", NOW)
    assert lease is not None
    assert lease.message.id == first.id
