"""Many messages accepted at once are what they would be one after the other."""

import random
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.transport.spool.support import ALICE, BOB, CAROL, LIMITS, NOW, check_counts, letter
from transport.message import Message
from transport.spool import accept
from transport.spool.accept_many import LARGEST, Asked, enqueue_all
from transport.spool.faults import SpoolError
from transport.spool.records import Accepted, SpoolCapped
from transport.spool.store import SpoolStore

DAY = 86_400.0
TABLES = ("messages", "bodies", "queues", "events", "sqlite_sequence")


@pytest.fixture
def twin(tmp_path: Path) -> Iterator[SpoolStore]:
    """A second store, for the same messages one after the other."""
    with SpoolStore(tmp_path / "twin.db") as store:
        yield store
        check_counts(store)


def rows(store: SpoolStore) -> dict[str, list[tuple[object, ...]]]:
    def all_of(db: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
        return {table: sorted(db.execute(f"SELECT * FROM {table}"), key=repr) for table in TABLES}

    return store.read(all_of)


def one_by_one(db: sqlite3.Connection, asked: list[Asked]) -> list[Accepted | SpoolError]:
    outcomes: list[Accepted | SpoolError] = []
    for one in asked:
        try:
            outcomes.append(accept.enqueue(db, *one))
        except SpoolError as refusal:
            outcomes.append(refusal)
    return outcomes


def shown(outcomes: list[Accepted | SpoolError]) -> list[object]:
    return [one if isinstance(one, Accepted) else (type(one), str(one)) for one in outcomes]


def plain(count: int, **changes: object) -> list[Asked]:
    return [Asked(letter(f"message {number}", **changes), **LIMITS) for number in range(count)]


def mixed(chance: random.Random, count: int, known: list[Message]) -> list[Asked]:
    """Return messages that repeat keys, answer each other, go on too long and fill queues."""
    asked = []
    for number in range(count):
        parents = [message.id for message in known] + ["m_00000000000000000000"]
        message = letter(
            f"{number} " + "ä" * chance.choice((0, 10, 5000)),
            to=chance.choice((ALICE, BOB, CAROL)),
            sender=chance.choice((ALICE, BOB)),
            at=NOW + chance.choice((0, 1, DAY, 2 * DAY)),
            idempotency_key=chance.choice((None, None, "a", "b", "c")),
            reply_to=chance.choice((None, None, chance.choice(parents))),
            attachments=chance.choice(((), ("/etc/hosts", "/etc/ü"))),
        )
        known.append(message)
        asked.append(Asked(message, chance.choice((10**6, 40, 0)), chance.choice((20, 2, 1))))
    return asked


@pytest.mark.parametrize("seed", range(12))
def test_all_at_once_is_one_after_the_other(store: SpoolStore, twin: SpoolStore, seed: int) -> None:
    chance, known = random.Random(seed), []
    for count in (1, 2, 31, chance.randrange(1, 200)):
        asked = mixed(chance, count, known)
        together, apart = store.write(enqueue_all, asked), twin.write(one_by_one, asked)
        assert shown(together) == shown(apart)
        assert rows(store) == rows(twin)


@pytest.mark.parametrize("count", [1, 2, 3, LARGEST - 1, LARGEST, LARGEST + 1, 2 * LARGEST + 37])
def test_every_body_stands_with_its_message_and_in_its_place(store: SpoolStore, count: int) -> None:
    asked = plain(count)
    store.write(enqueue_all, asked)
    found = store.read(lambda db: db.execute("SELECT id, body FROM messages JOIN bodies USING (seq) ORDER BY seq"))
    assert list(found) == [(one.message.id, one.message.body) for one in asked]


def test_statements_are_few_however_many_messages(store: SpoolStore) -> None:
    counts = {}
    for count in (32, 128):
        statements: list[str] = []
        store.read(lambda db, told=statements: db.set_trace_callback(told.append))
        store.write(enqueue_all, plain(count))
        store.read(lambda db: db.set_trace_callback(None))
        counts[count] = len(statements)
    assert counts[32] <= 8
    assert counts[128] <= 10


def test_the_cap_is_kept_within_the_group(store: SpoolStore) -> None:
    asked = [Asked(letter(str(number)), 5, 20) for number in range(10)]
    outcomes = store.write(enqueue_all, asked)
    assert [isinstance(one, Accepted) for one in outcomes] == [True] * 5 + [False] * 5
    assert all(isinstance(one, SpoolCapped) for one in outcomes[5:])
    assert store.depth(BOB) == 5


def test_what_sqlite_refuses_leaves_nothing_of_the_group(store: SpoolStore) -> None:
    asked = plain(10)
    broken = Asked(replace(letter(), body="half \ud800 of a pair"), **LIMITS)
    twice = asked[3]
    for bad in (broken, twice):
        with pytest.raises((UnicodeEncodeError, sqlite3.IntegrityError)):
            store.write(enqueue_all, [*asked, bad])
    assert store.depth(BOB) == 0
