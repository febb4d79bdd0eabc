"""Agents that answer everything: what ends a loop, for each kind of it."""

import itertools
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.live.world import World, until
from transport.identity import SYSTEM, Identity
from transport.message import Draft, accept
from transport.paths import Root
from transport.spool.records import HopLimitReached, SpoolCapped
from transport.spool.store import SpoolStore
from transport.vocabulary import Kind

HOPS = 6
A_MINUTE = 12
NAMES = ("alice", "bob", "carol", "dave", "erin")


@pytest.fixture
def world() -> Iterator[World]:
    """Agents with tools, few hops and few messages a minute."""
    home = Path(tempfile.mkdtemp(prefix="pw-", dir="/tmp"))
    root = Root(home)
    root.prepare()
    root.config.write_text(
        f"tcp = false\nsystemd_scope = false\nstandby = false\nhop_limit = {HOPS}\nsends_per_minute = {A_MINUTE}\n"
    )
    world = World(root)
    try:
        yield world
    finally:
        world.close()
        shutil.rmtree(home, ignore_errors=True)


def said(world: World, name: str) -> list[str]:
    """Return the errors that the calls of an agent were answered with."""
    return [
        record["text"] for record in world.transcript(name) if record["type"] == "tool_result" and record["is_error"]
    ]


def accepted(world: World) -> list[tuple[str, str, int, str]]:
    """Return sender, recipient, hops and kind of every message, in the order of acceptance."""
    query = "SELECT sender, recipient, hops, kind FROM messages ORDER BY seq"
    with closing(sqlite3.connect(f"file:{world.root.spool}?mode=ro", uri=True, timeout=10)) as db:
        return db.execute(query).fetchall()


def is_over(world: World) -> bool:
    """Tell whether nothing waits and nobody is about to answer."""
    rows = world.json("list")["peers"]
    states = [presence["state"] for row in rows for presence in row["runtimes"]]
    return all(state in ("live", "asleep") for state in states) and not any(world.depth(row["name"]) for row in rows)


@pytest.mark.live
def test_two_that_answer_each_other_stop_at_the_hop_limit(world: World) -> None:
    for name in NAMES[:2]:
        world.create(name, rules=[{"reply": "and to you"}])
    world.serve()
    world.send("alice", "hello", "--from", "bob", "--wait", "0")
    until(lambda: said(world, "alice") or said(world, "bob"), 60, "the end of the chain")
    until(lambda: is_over(world), 30, "quiet")
    (refused,) = said(world, "alice") + said(world, "bob")
    assert f"limit is {HOPS}" in refused
    assert [hops for _, _, hops, _ in accepted(world)] == list(range(HOPS + 1))


@pytest.mark.live
def test_a_circle_of_five_that_names_no_message_stops_at_the_rate_and_nobody_else_does(world: World) -> None:
    """Without `reply_to` no chain is known: each sender's rate alone bounds it, and what was accepted arrives."""
    for name, following in zip(NAMES, (*NAMES[1:], NAMES[0]), strict=True):
        world.create(name, rules=[{"send": [{"to": following, "message": "pass it on"}]}])
    world.create("frank")
    world.serve()
    for _ in range(2):
        world.send("alice", "pass it on", "--wait", "0")
    until(lambda: any(said(world, name) for name in NAMES), 120, "a refusal")
    assert world.send("frank", "are you well", "--wait", "60")["status"] == "delivered"
    until(lambda: sum(len(said(world, name)) for name in NAMES) == 2, 120, "the end of both")
    until(lambda: is_over(world), 60, "quiet")
    assert all("messages a minute" in text for name in NAMES for text in said(world, name))
    rows = accepted(world)
    for name in NAMES:
        assert sum(sender == f"scripted-{name}" for sender, *_ in rows) <= A_MINUTE + 5
        assert len(world.prompts(name)) == sum(recipient == f"scripted-{name}" for _, recipient, *_ in rows)


@pytest.mark.live
def test_an_answer_to_a_notice_reaches_nobody_and_causes_none(world: World) -> None:
    world.create("alice", rules=[{"match": "^go$", "send": [{"to": "bob", "message": "x"}]}, {"reply": "thank you"}])
    cwd = world.create("bob")
    (cwd / "scripted.json").write_text('{"boot": {"seconds": 600}}')
    world.serve()
    world.send("alice", "go", "--wait", "30")
    rows = until(lambda: [row for row in accepted(world) if row[1] == "scripted-bob"], 30, "what alice sent")
    assert len(rows) == 1
    until(lambda: world.depth("bob") == 1, 30, "that it waits")
    assert world.run("remove", "bob", "--force").returncode == 0
    until(lambda: said(world, "alice"), 60, "the refusal of an answer")
    until(lambda: is_over(world), 30, "quiet")
    assert [kind for *_, kind in accepted(world)].count(Kind.NOTICE) == 1
    assert len(said(world, "alice")) == 1
    assert "peerwake" in said(world, "alice")[0]


def enqueue(store: SpoolStore, sender: str, recipient: str, *, cap: int = 100, reply_to: str | None = None) -> str:
    draft = Draft("x", reply_to=reply_to)
    message = accept(draft, Identity("scripted", sender), Identity("scripted", recipient), hops=0, now=1.0)
    return store.enqueue(message, cap=cap, hop_limit=HOPS).message.id


def test_a_chain_is_as_long_whoever_answers(root: Root) -> None:
    """A circle of five, and one in which each answers the message before last."""
    with SpoolStore(root.spool) as store:
        for step in (1, 2):
            ids = [enqueue(store, "alice", "bob")]
            with pytest.raises(HopLimitReached):
                for number in itertools.count(1):
                    sender, recipient = NAMES[number % 5], NAMES[(number + 1) % 5]
                    ids.append(enqueue(store, sender, recipient, reply_to=ids[max(0, number - step)]))
            assert len(ids) == HOPS * step + 1


def test_a_queue_takes_no_more_than_its_cap_from_all_together(root: Root) -> None:
    with SpoolStore(root.spool) as store:
        for number in range(10):
            enqueue(store, NAMES[number % 4 + 1], "alice", cap=10)
        for name in NAMES[1:]:
            with pytest.raises(SpoolCapped):
                enqueue(store, name, "alice", cap=10)
        enqueue(store, "alice", "bob", cap=10)


def test_a_notice_that_is_given_up_causes_no_other(root: Root) -> None:
    with SpoolStore(root.spool) as store:
        enqueue(store, "alice", "bob")
        rounds = [store.expire(now, 1.0) for now in (10.0, 20.0, 30.0)]
        assert [len(each) for each in rounds] == [1, 1, 0]
        (notice,) = rounds[1]
        assert (notice.kind, notice.sender) == (Kind.NOTICE, SYSTEM)
