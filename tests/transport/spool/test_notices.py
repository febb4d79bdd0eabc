"""Those whose messages wait for a peer that nobody wakes are told, once each."""

from tests.transport.spool.support import ALICE, BOB, CAROL, LIMITS, NOW, check_counts, letter
from transport.identity import OPERATOR, SYSTEM, Identity
from transport.spool.store import SpoolStore
from transport.vocabulary import Kind, MessageState

WHY = "3 deaths in 300 s"


def test_each_sender_is_told_once_with_its_messages(store: SpoolStore) -> None:
    first = store.enqueue(letter(sender=ALICE), **LIMITS).message
    for _ in range(7):
        store.enqueue(letter(sender=CAROL), **LIMITS)
    store.lease(BOB, "fence", NOW)
    one, many = store.tell_waiting(BOB, WHY, NOW)
    assert (one.recipient, one.sender, one.kind, one.reply_to) == (ALICE, SYSTEM, Kind.NOTICE, first.id)
    assert one.body.startswith(f"Your message ({first.id}) to bob (") and WHY in one.body
    assert many.recipient == CAROL and "Your 7 messages" in many.body and "and 2 more" in many.body
    assert "peerwake start bob" in many.body
    assert (store.depth(BOB), store.depth(ALICE), store.depth(CAROL)) == (8, 1, 1)
    check_counts(store)


def test_nobody_is_told_of_a_notice_nor_is_who_cannot_read_it(store: SpoolStore) -> None:
    store.enqueue(letter(sender=SYSTEM, kind=Kind.NOTICE), **LIMITS)
    store.enqueue(letter(sender=ALICE, kind=Kind.NOTICE), **LIMITS)
    store.enqueue(letter(sender=OPERATOR), **LIMITS)
    store.enqueue(letter(sender=BOB), **LIMITS)
    settled = store.enqueue(letter(sender=CAROL), **LIMITS).message
    store.bury(settled.id, "poison", NOW)
    store.enqueue(letter(sender=Identity("codex", "dave")), **LIMITS)
    store.disown("dave")
    assert store.tell_waiting(BOB, WHY, NOW) == []


def test_a_notice_about_waiting_dies_without_another(store: SpoolStore) -> None:
    store.enqueue(letter(sender=ALICE), **LIMITS)
    (notice,) = store.tell_waiting(BOB, "it said:\n\x1b[31mno\x00", NOW)
    assert "\x1b" not in notice.body and "\n" not in notice.body and "\x00" not in notice.body
    assert store.bury(notice.id, "nobody reads it", NOW).notice is None
    record = store.message(notice.id)
    assert record is not None and record.state is MessageState.DEAD
