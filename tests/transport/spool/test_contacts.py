"""Who exchanged messages with a peer lately."""

from pathlib import Path

from tests.transport.spool.support import ALICE, BOB, CAROL, NOW, fill
from transport.identity import Identity
from transport.spool import contacts as module
from transport.spool.contacts import contacts
from transport.spool.store import SpoolStore


def test_the_latest_come_first_in_both_directions_and_once(store: SpoolStore) -> None:
    fill(store, 2, to=BOB)
    fill(store, 1, to=CAROL)
    (message,) = fill(store, 1, to=BOB)
    store.lease(BOB, "fence", NOW)
    assert message.sender == ALICE
    assert contacts(store.path, [ALICE]) == ("bob", "carol")
    assert contacts(store.path, [BOB, CAROL]) == ("alice",)
    assert contacts(store.path, [Identity("claude", "dora")]) == ()


def test_settled_messages_count_and_old_ones_do_not(store: SpoolStore, monkeypatch) -> None:
    (first,) = fill(store, 1, to=CAROL)
    store.lease(CAROL, "fence", NOW)
    store.consume(first.id, "transcript", NOW)
    assert contacts(store.path, [ALICE]) == ("carol",)
    monkeypatch.setattr(module, "RECENT_MESSAGES", 2)
    fill(store, 2, to=BOB)
    assert contacts(store.path, [ALICE]) == ("bob",)


def test_a_peer_that_writes_to_itself_is_no_contact_of_its_own(store: SpoolStore) -> None:
    fill(store, 1, to=BOB)
    assert contacts(store.path, [ALICE, BOB]) == ()


def test_where_there_is_nothing_to_read_there_is_nobody(tmp_path: Path, store: SpoolStore) -> None:
    assert contacts(tmp_path / "absent.db", [ALICE]) == ()
    (tmp_path / "broken.db").write_bytes(b"not a database" * 100)
    assert contacts(tmp_path / "broken.db", [ALICE]) == ()
    assert contacts(store.path, [ALICE]) == ()
    assert not (tmp_path / "absent.db").exists()
