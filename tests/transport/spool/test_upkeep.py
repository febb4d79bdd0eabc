"""Purging and renaming."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.transport.spool.support import ALICE, BOB, CAROL, LIMITS, NOW, check_counts, fill, letter
from transport.identity import OPERATOR, Identity
from transport.spool import upkeep
from transport.spool.records import MessageSettled
from transport.spool.spool import Spool
from transport.spool.store import SpoolStore

DAY = 86_400.0
CODEX_CAROL = Identity("codex", "carol")


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


def test_purge_takes_the_oldest_first_until_nothing_is_left(store: SpoolStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "PURGE_ROWS", 2)
    ids = settle(store, 5)
    assert store.purgeable(NOW + 1, NOW + 1) == [(message_id, BOB) for message_id in ids[:2]]
    assert [store.purge(NOW + 1, NOW + 1) for _ in range(4)] == [2, 2, 1, 0]
    assert store.purgeable(NOW + 1, NOW + 1) == []


def test_purge_respects_the_day_of_a_key(store: SpoolStore) -> None:
    settle(store, 1, idempotency_key="k")
    assert store.purge(NOW + 3600, NOW + DAY) == 0
    assert store.enqueue(letter(idempotency_key="k", at=NOW + DAY - 1), **LIMITS).duplicate
    assert store.purge(NOW + 3600, NOW + DAY + 1) == 1


def test_last_receipt_outlives_the_purge(store: SpoolStore) -> None:
    settle(store, 1)
    store.purge(NOW + 1, NOW + 1)
    assert store.queue(BOB, NOW).last_receipt_at == NOW


def test_renamed_peer_keeps_its_queues_in_order(store: SpoolStore) -> None:
    first, dead, third = fill(store, 3)
    store.bury(dead.id, "poison", NOW)
    (other,) = fill(store, 1, to=CODEX_CAROL)
    fill(store, 2, to=Identity("claude", "bob"))
    assert store.rename("bob", "carol", NOW) == 5
    assert (store.waiting(), store.queue(CODEX_CAROL, NOW).dead) == ({ALICE: 1, CODEX_CAROL: 3, CAROL: 2}, 1)
    for message in (first, third, other):
        lease = store.lease(CODEX_CAROL, "fence", NOW)
        assert lease is not None
        assert lease.message.id == message.id
        store.consume(message.id, "transcript", NOW)
    assert store.rename("bob", "carol", NOW) == 0
    check_counts(store)


def test_a_name_that_ends_in_another_is_another(store: SpoolStore) -> None:
    fill(store, 1, to=Identity("claude", "old-bob"), sender=Identity("claude", "old-alice"))
    assert store.rename("bob", "carol", NOW) == 0
    assert store.rename("alice", "carol", NOW) == 0
    assert store.waiting() == {Identity("claude", "old-bob"): 1}


def test_attached_files_follow_a_directory_that_moved(store: SpoolStore) -> None:
    attached = ("/peers/alice/a.txt", "/peers/alice-b/b.txt", "/etc/hosts")
    (message,) = fill(store, 1, attachments=attached)
    (read,) = fill(store, 1, to=CAROL, attachments=attached)
    store.consume(read.id, "transcript", NOW)
    store.rename("alice", "alicia", NOW, ("/peers/alice", "/peers/alicia"))
    found, settled = store.message(message.id), store.message(read.id)
    assert found is not None and settled is not None
    assert found.message.attachments == ("/peers/alicia/a.txt", "/peers/alice-b/b.txt", "/etc/hosts")
    assert settled.message.attachments == attached


def test_renamed_sender_gets_its_notices(store: SpoolStore) -> None:
    (message,) = fill(store, 1)
    store.rename("alice", "carol", NOW)
    notice = store.bury(message.id, "poison", NOW).notice
    assert notice is not None
    assert notice.recipient == CAROL


def test_no_renaming_in_the_middle_of_a_delivery(store: SpoolStore) -> None:
    fill(store, 2)
    store.lease(BOB, "fence", NOW)
    with pytest.raises(MessageSettled, match="is being delivered to codex-bob; wait"):
        store.rename("bob", "carol", NOW)
    assert store.waiting() == {BOB: 2}


def test_renaming_onto_a_delivery_waits_for_it(store: SpoolStore) -> None:
    (first,) = fill(store, 1)
    (second,) = fill(store, 1, to=CODEX_CAROL)
    store.lease(CODEX_CAROL, "fence", NOW)
    store.rename("bob", "carol", NOW)
    assert store.lease(CODEX_CAROL, "fence", NOW) is None
    store.consume(second.id, "transcript", NOW)
    lease = store.lease(CODEX_CAROL, "fence", NOW)
    assert lease is not None
    assert lease.message.id == first.id


def test_what_a_removed_peer_has_sent_is_no_later_peers(store: SpoolStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "BATCH", 2)
    others = [Identity("claude", "old-alice"), CAROL]
    kept = [*fill(store, 1, sender=others[0]), *fill(store, 1, sender=others[1], idempotency_key="nightly")]
    first, *more = (*fill(store, 1, idempotency_key="nightly"), *fill(store, 4))
    fill(store, 1, sender=Identity("codex", "alice"))
    store.disown("alice")
    again = store.enqueue(letter("another", idempotency_key="nightly", at=NOW + 1), **LIMITS)
    assert (again.duplicate, again.message.body) == (False, "another")
    assert store.repeated(ALICE, "nightly", NOW + 1) == replace(again, duplicate=True)
    assert store.repeated(CAROL, "nightly", NOW + 1) is not None
    assert store.bury(first.id, "poison", NOW).notice is None
    assert store.drop(more[0].id, NOW).notice is None
    assert len(store.expire(NOW + 9, 8.5)) == 6
    assert store.waiting() == {BOB: 1} | dict.fromkeys(others, 1)
    senders = {record.message.id: record.message.sender for record in store.dead()}
    assert [senders[message.id] for message in kept] == others
    assert str(senders[first.id]) == "claude-alice~removed"
    check_counts(store)


async def test_a_rename_leaves_what_a_removed_peer_of_the_name_has_sent(path: Path) -> None:
    with SpoolStore(path) as store:
        (old,) = fill(store, 1)
        async with Spool(path) as spool:
            await spool.disown("alice")
        (new,) = fill(store, 1)
        store.rename("alice", "alicia", NOW)
        assert store.bury(old.id, "poison", NOW).notice is None
        notice = store.bury(new.id, "poison", NOW).notice
        assert notice is not None and notice.recipient == Identity("claude", "alicia")


def test_all_that_waits_for_a_peer_is_buried_with_notices(store: SpoolStore) -> None:
    fill(store, 2)
    fill(store, 1, to=Identity("claude", "bob"), sender=OPERATOR)
    fill(store, 1, to=CAROL)
    store.lease(BOB, "fence", NOW)
    buried = store.bury_all("bob", "bob was removed", NOW)
    assert [each.reason for each in buried] == ["bob was removed"] * 3
    assert [each.notice is None for each in sorted(buried, key=lambda one: str(one.sender))] == [
        False,
        False,
        True,
    ]
    assert store.waiting() == {ALICE: 2, CAROL: 1}
    assert len(store.dead(BOB)) == 2
    assert store.bury_all("bob", "bob was removed", NOW) == []
    check_counts(store)
