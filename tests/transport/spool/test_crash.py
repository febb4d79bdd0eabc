"""Writers killed at random moments: what was answered is there, in order, and the file is sound."""

import random
import time
from pathlib import Path

import pytest

from tests.transport.spool.support import BOB, NOW, check_counts, child, rest, said
from transport.spool.store import SpoolStore


def killed(what: str, path: Path, seconds: float) -> list[object]:
    """Let a child work for a while, kill it, and return what it said."""
    with child(what, path) as process:
        first = said(process)
        time.sleep(seconds)
        process.kill()
        return [first, *rest(process)]


@pytest.mark.parametrize("what", ["enqueue", "enqueue_together"])
def test_what_was_answered_is_on_disk_in_order(path: Path, what: str) -> None:
    chance, answered = random.Random(what), []
    for _ in range(6):
        answered += killed(what, path, chance.uniform(0, 0.08))
        with SpoolStore(path, busy_seconds=1) as store:
            check_counts(store)
            ids = [
                row[0] for row in store.read(lambda db: db.execute("SELECT id FROM messages ORDER BY seq").fetchall())
            ]
        known = set(answered)
        assert [message_id for message_id in ids if message_id in known] == answered
        unanswered = [message_id for message_id in ids if message_id not in known]
        assert len(unanswered) <= 16 * 6
        answered = ids


def test_every_step_that_was_answered_holds(path: Path) -> None:
    chance = random.Random(7)
    for _ in range(8):
        steps = killed("deliver", path, chance.uniform(0, 0.08))
        with SpoolStore(path, busy_seconds=1) as store:
            check_counts(store)
            last = dict(steps)
            for message_id, state in last.items():
                record = store.message(message_id)
                assert record is not None
                assert _order(record.state.value) >= _order(state), (message_id, state, record)
            dead = {message_id for message_id, state in last.items() if state == "dead"}
            told = store.read(lambda db: db.execute("SELECT reply_to FROM messages WHERE kind = 'notice'").fetchall())
            assert dead <= {message_id for (message_id,) in told}
            _finish(store)


def test_lock_of_a_killed_writer_is_free_at_once(path: Path) -> None:
    for _ in range(3):
        killed("enqueue", path, 0.02)
        with SpoolStore(path, busy_seconds=0.5) as store:
            assert store.depth(BOB) > 0


def _order(state: str) -> int:
    return {"queued": 0, "leased": 1, "consumed": 2, "dead": 2}[state]


def _finish(store: SpoolStore) -> None:
    """Settle what the killed one left, as the next server would."""
    for lease in store.all_leased():
        store.release(lease.message.id, "adopted", NOW, attempted=True)
    while (lease := store.lease(BOB, "next", NOW * 2)) is not None:
        store.consume(lease.message.id, "transcript", NOW)
