"""Dead letters and notices from outside: time to live, one notice each, and what an operator does about them."""

import sys
import time
from typing import Any

import pytest

from lifecycle.runtimes.command import ACKNOWLEDGED, DIRECTORY, load_program, save_program
from tests.live.control import Control
from tests.live.workers import bodies, books, settle_on
from tests.live.world import World, until
from transport.registry import Registry
from transport.spool.store import SpoolStore

pytestmark = pytest.mark.live

CRASH = '{"boot": {"exit": 3}}'
NEVER_READY = '{"boot": {"seconds": 600}}'
LATE = """
import json, os, sys, time
print("peerwake: ready", flush=True)
message = ""
for line in sys.stdin:
    message += line
    if line.startswith("</peer-message-"):
        with open("input", "a") as file:
            file.write(message)
        time.sleep(1.5)
        with open(os.environ["PEERWAKE_TRANSCRIPT"], "a") as file:
            file.write(json.dumps({"received": message.split('"')[1]}) + "\\n")
        message = ""
        print("peerwake: ready", flush=True)
"""


@pytest.fixture
def ready(world: World) -> World:
    """A world in which one failed attempt is enough, with the peers `alice` and `bob`."""
    settle_on(world, attempts=1)
    for name in ("alice", "bob"):
        world.create(name)
    return world


def script(world: World, name: str, text: str) -> None:
    (world.root.peers / name / "scripted.json").write_text(text)


def is_dead(world: World, count: int) -> None:
    """Wait until so many messages (notices not counted) are dead."""
    question = "SELECT count(*) FROM messages WHERE state = 'dead' AND kind = 'message'"
    until(lambda: books(world, question) == [(count,)], 40, f"{count} dead letters")


def notices(world: World) -> list[tuple[str, str]]:
    """Return recipient and state of every notice there ever was."""
    return books(world, "SELECT recipient, state FROM messages WHERE kind = 'notice' ORDER BY seq")


def test_twelve_dead_letters_are_queued_again_in_their_order(ready: World) -> None:
    script(ready, "alice", CRASH)
    ready.serve()
    with Control(ready.root) as control:
        for number in range(12):
            control.send("alice", f"message {number}", wait_seconds=0)
    is_dead(ready, 12)
    listed = ready.json("queue", "alice", "--dead")
    assert (len(listed["dead"]), listed["dead_total"], listed["queues"]) == (12, 12, [])
    first = ready.json("queue", "show", *(letter["message_id"] for letter in listed["dead"][-2:]))
    assert [each["body"] for each in first["messages"]] == ["message 1", "message 0"]
    assert ready.run("queue", "retry", "--all", "--older", "1h").stdout == "no dead letters queued again\n"
    assert ready.run("queue", "retry", "--all", "bob").stdout == "no dead letters queued again\n"
    script(ready, "alice", "[]")
    retried = ready.run("queue", "retry", "--all", "alice")
    assert (retried.returncode, retried.stdout) == (0, "12 dead letters queued again\n")
    until(lambda: len(bodies(ready, "alice")) == 12, 40, "the deliveries")
    assert bodies(ready, "alice") == [f"message {number}" for number in range(12)]
    message_id = listed["dead"][0]["message_id"]
    refused = ready.run("queue", "retry", message_id, "m_nothing")
    assert refused.returncode == 4
    assert f"{message_id} is consumed; only a dead letter can be repeated" in refused.stderr
    assert "no message has the id 'm_nothing'" in refused.stderr


def test_what_was_acknowledged_too_late_is_settled_when_it_is_queued_again_and_not_typed_twice(ready: World) -> None:
    ready.run("create", "late", "--runtime", "command", "--", sys.executable, "-c", LATE)
    cwd = ready.root.peers / "late"
    save_program(cwd, load_program(cwd).model_copy(update={"receipt_seconds": 0.5}))
    ready.serve()
    sent = ready.send("late", "once", "--wait", "0")
    is_dead(ready, 1)
    until(lambda: (cwd / DIRECTORY / ACKNOWLEDGED).exists(), 20, "the acknowledgement")
    assert ready.run("queue", "retry", sent["message_id"]).returncode == 0
    assert ready.send("late", "another", "--wait", "0")["status"] == "queued"
    until(lambda: "another" in (cwd / "input").read_text(), 20, "the next message")
    assert (cwd / "input").read_text().count("once") == 1
    shown = ready.json("queue", "show", sent["message_id"])
    assert shown["state"] == "consumed", shown


def test_dropped_dead_letters_are_gone_and_nobody_hears_of_it_again(ready: World) -> None:
    script(ready, "alice", CRASH)
    ready.serve()
    sent = [ready.send("alice", f"{number}", "--from", "bob", "--wait", "0") for number in range(3)]
    is_dead(ready, 3)
    assert ready.run("queue", "drop", sent[1]["message_id"]).stdout == f"{sent[1]['message_id']} dropped\n"
    assert ready.run("queue", "drop", "--all").stdout == "2 dead letters dropped\n"
    assert ready.run("queue", "--dead").stdout == "no dead letters\n"
    until(lambda: len(bodies(ready, "bob")) == 3, 20, "the notices")
    assert all(
        f"Your message {each['message_id']}" in body for each, body in zip(sent, bodies(ready, "bob"), strict=True)
    )
    assert len(notices(ready)) == 3


def test_what_waited_too_long_without_a_server_is_a_dead_letter_and_not_delivered(ready: World) -> None:
    settle_on(ready, message_ttl_seconds=3600, tick_seconds=60)
    ready.send("alice", "old news", "--from", "bob")
    ready.send("alice", "fresh news", "--from", "bob")
    with SpoolStore(ready.root.spool) as store:
        store.write(lambda db: db.execute("UPDATE messages SET queued_at = queued_at - 7200 WHERE seq = 1"))
    ready.serve()
    until(lambda: bodies(ready, "alice"), 20, "the delivery")
    until(lambda: bodies(ready, "bob"), 20, "the notice")
    assert bodies(ready, "alice") == ["fresh news"]
    assert "it waited longer than 1 h" in bodies(ready, "bob")[0]


def test_messages_to_peers_that_cannot_be_woken_have_a_time_to_live_too(ready: World) -> None:
    """Stopped, crash-looping, removed; and what is told of it to a sender that is stopped dies with its own."""
    settle_on(ready, message_ttl_seconds=2, attempts=50, crash_count=2, backoff_seconds=0.2)
    for name in ("looping", "removed", "carol"):
        ready.create(name)
    for name in ("alice", "removed"):
        script(ready, name, NEVER_READY)
    script(ready, "looping", CRASH)
    ready.serve()
    assert ready.run("stop", "bob").returncode == 0
    for name in ("alice", "looping", "removed"):
        ready.send(name, f"to {name}", "--from", "bob" if name == "removed" else "carol", "--wait", "0")
        if name != "looping":
            ready.run("stop", name)
    Registry(ready.root).remove("removed")
    is_dead(ready, 3)
    until(lambda: all(state in ("consumed", "dead") for _, state in notices(ready)), 30, "the end of the notices")
    assert ("scripted-bob", "dead") in notices(ready)
    assert len([each for each in notices(ready) if each[0] == "scripted-bob"]) == 1


def test_two_ephemeral_peers_whose_tasks_die_make_no_storm_of_notices(ready: World) -> None:
    settle_on(ready, attempts=1, ephemeral_silence_seconds=0.5, crash_count=50)
    rules = '[{"match": "start", "send": [{"to": "%s", "message": "your turn"}], "done": true}, {"exit": 1}]'
    for name, other in (("ping", "pong"), ("pong", "ping")):
        ready.create(name, "--ephemeral")
        script(ready, name, rules % other)
    ready.serve()
    for name in ("ping", "pong"):
        ready.send(name, "start", "--wait", "0")
    is_dead(ready, 2)
    until(lambda: [state for _, state in notices(ready)] == ["dead", "dead"], 20, "the silent end of the notices")
    kinds = dict(books(ready, "SELECT kind, count(*) FROM messages GROUP BY kind"))
    assert kinds == {"message": 4, "notice": 2}
    assert ready.run("queue", "retry", "--all").stdout == "4 dead letters queued again\n"
    until(lambda: not books(ready, "SELECT 1 FROM queues WHERE depth > 0"), 30, "the end of the second round")
    assert dict(books(ready, "SELECT kind, count(*) FROM messages GROUP BY kind")) == kinds


def test_the_operator_and_a_person_without_a_session_are_answered_without_a_storm(ready: World) -> None:
    script(ready, "alice", CRASH)
    ready.create("human", "--intelligence", "natural")
    script(ready, "human", CRASH)
    ready.serve()
    ready.send("alice", "from the operator", "--wait", "0")
    ready.send("alice", "from a person", "--from", "human", "--wait", "0")
    is_dead(ready, 2)
    until(lambda: notices(ready) == [("scripted-human", "dead")], 30, "the silent end of the notice")
    shown: list[dict[str, Any]] = ready.json("queue", "human")["dead"]
    assert [each["sender"] for each in shown] == ["system-peerwake"]


def test_ages_choose_among_dead_letters(ready: World) -> None:
    script(ready, "alice", CRASH)
    ready.serve()
    ready.send("alice", "one", "--wait", "0")
    is_dead(ready, 1)
    died = time.time()
    ready.send("alice", "two", "--wait", "0")
    is_dead(ready, 2)
    with SpoolStore(ready.root.spool) as store:
        store.write(lambda db: db.execute("UPDATE messages SET settled_at = ? WHERE seq = 1", (died - 90_000,)))
    assert [each["message_id"] for each in ready.json("queue", "--dead", "--older", "1d")["dead"]] == [
        message_id for (message_id,) in books(ready, "SELECT id FROM messages WHERE seq = 1")
    ]
    assert ready.run("queue", "drop", "--all", "--older", "25h").stdout == "1 dead letter dropped\n"
    assert ready.json("queue")["dead_total"] == 1
