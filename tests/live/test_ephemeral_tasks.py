"""What ends a task of an ephemeral worker, and what every accident leaves of it."""

import signal
from collections.abc import Iterator

import pytest

from tests.live.workers import WORKER, all_settled, bodies, books, sessions, settle_on, states
from tests.live.world import World, until
from transport.process import terminate
from transport.registry import Registry

pytestmark = pytest.mark.live


def poison(world: World, kind: str) -> Iterator[str]:
    """Yield a body that cannot be handed over because of what surrounds it, and mend that afterwards."""
    home = world.root.peers / "worker"
    match kind:
        case "body file":
            (home / ".peerwake").mkdir(exist_ok=True)
            (home / ".peerwake/inbox").write_text("a file where a directory should be")
            yield "long " * 4000
        case "directory":
            home.rename(world.root.home / "elsewhere")
            yield "nowhere"
            (world.root.home / "elsewhere").rename(home)
        case "script":
            yield "crash"


def test_a_worker_that_replies_twice_has_both_delivered_and_the_task_done_once(ready: World) -> None:
    rule = '[{"send": [{"to": "bob", "message": "one {body}"}, {"to": "bob", "message": "two {body}"}]}]'
    (ready.root.peers / "worker/scripted.json").write_text(rule)
    ready.serve()
    ready.send("worker", "task", "--from", "bob")
    all_settled(ready)
    until(lambda: ready.depth("bob") == 0, 20, "the answers")
    assert (bodies(ready, "bob"), bodies(ready, "worker")) == (["one task", "two task"], ["task"])


def test_a_worker_that_never_replies_is_tried_again_then_given_up_with_a_notice(ready: World) -> None:
    settle_on(ready, ephemeral_silence_seconds=1.5, attempts=2)
    (ready.root.peers / "worker/scripted.json").write_text('[{"match": "good", "done": true}, {"say": "hm"}]')
    ready.serve()
    sent = ready.send("worker", "mystery", "--from", "bob")
    ready.send("worker", "good", "--from", "bob")
    all_settled(ready)
    assert bodies(ready, "worker") == ["mystery", "mystery", "good"]
    assert states(ready) == [("dead", "the worker was silent for 1.5 s"), ("consumed", "done")]
    until(lambda: bodies(ready, "bob"), 20, "the notice")
    (notice,) = bodies(ready, "bob")
    assert sent["message_id"] in notice and "silent for 1.5 s" in notice


def test_a_reply_after_the_window_is_delivered_and_the_task_not_done_again(ready: World) -> None:
    settle_on(ready, ephemeral_silence_seconds=0.5, backoff_seconds=4)
    (ready.root.peers / "worker/scripted.json").write_text('[{"say": "hm"}]')
    ready.serve()
    ready.send("worker", "task", "--from", "bob")
    until(lambda: states(ready)[0][1].startswith("the worker was silent"), 20, "the closing")
    assert ready.send("bob", "late but here", "--from", "worker")["status"] == "delivered"
    all_settled(ready)
    assert states(ready) == [("consumed", "reply, after its session was closed")]
    assert (bodies(ready, "bob"), bodies(ready, "worker")) == (["late but here"], ["task"])


def test_a_worker_busy_for_ever_is_given_up_where_there_is_a_bound(ready: World) -> None:
    settle_on(ready, ephemeral_max_seconds=1.5, attempts=1)
    (ready.root.peers / "worker/scripted.json").write_text('[{"match": "good", "done": true}, {"busy_seconds": 99}]')
    ready.serve()
    ready.send("worker", "endless", "--from", "bob")
    ready.send("worker", "good", "--from", "bob")
    all_settled(ready)
    given_up, done = states(ready)
    assert given_up == ("dead", "the worker took longer than 1.5 s")
    # On a busy machine the bound is over for the second task too, and its reply is found in the last moment.
    assert done in (("consumed", "done"), ("consumed", "reply, in the last moment"))


def test_a_worker_that_crashes_at_boot_wedges_nothing_when_it_is_started_again(ready: World) -> None:
    settle_on(ready, attempts=5, crash_count=3)
    script = ready.root.peers / "worker/scripted.json"
    script.write_text('{"boot": {"exit": 3}}')
    ready.serve()
    first = ready.send("worker", "one", "--from", "bob")
    ready.send("worker", "two", "--from", "bob")
    until(lambda: ready.state("worker") == "failed", 40, "the crash loop")
    (row,) = ready.json("queue", "worker")["queues"]
    assert (row["depth"], row["in_flight"], row["hold"]) == (2, None, "crash-looping")
    assert ready.json("queue", "show", first["message_id"])["attempts"] == 3
    assert ready.run("send", "worker", "three").returncode == 4
    assert ready.run("start", "worker").returncode == 0
    until(lambda: states(ready)[0][0] == "dead", 40, "the end of the attempts")
    script.write_text('[{"reply": "done {body}"}]')
    ready.run("start", "worker")
    all_settled(ready)
    assert (states(ready)[1][0], bodies(ready, "worker")) == ("consumed", ["two"])
    until(lambda: "done two" in bodies(ready, "bob"), 20, "the answer")


@pytest.mark.parametrize("kind", ["body file", "directory", "script"])
def test_a_poisoned_task_becomes_a_dead_letter_and_never_a_wedge(ready: World, kind: str) -> None:
    settle_on(ready, attempts=2)
    rules = '[{"match": "crash", "crash": "SIGKILL"}, {"reply": "done {body}"}]'
    (ready.root.peers / "worker/scripted.json").write_text(rules)
    ready.serve()
    trouble = poison(ready, kind)
    ready.send("worker", next(trouble), "--from", "bob")
    until(lambda: states(ready)[0][0] == "dead", 40, "the dead letter")
    next(trouble, None)
    ready.send("worker", "good", "--from", "bob")
    all_settled(ready)
    assert [state for state, _ in states(ready)] == ["dead", "consumed"]
    until(lambda: len(bodies(ready, "bob")) == 2, 20, "notice and answer")
    assert "was given up" in bodies(ready, "bob")[0] and bodies(ready, "bob")[1] == "done good"


def test_a_task_of_a_sender_that_is_gone_is_done_and_its_notice_dies_silently(ready: World) -> None:
    settle_on(ready, attempts=2)
    ready.create("ghost")
    (ready.root.peers / "worker/scripted.json").write_text('[{"match": "bad", "exit": 0}, {"done": true}]')
    ready.send("worker", "bad", "--from", "ghost")
    ready.send("worker", "good", "--from", "ghost")
    Registry(ready.root).remove("ghost")
    ready.serve()
    all_settled(ready)
    assert [state for state, _ in states(ready)] == ["dead", "consumed"]
    question = "SELECT kind, state FROM messages WHERE recipient = 'scripted-ghost'"
    until(lambda: books(ready, question) == [("notice", "dead")], 20, "the silent end of the notice")
    assert books(ready, "SELECT count(*) FROM messages WHERE kind = 'notice'") == [(1,)]


def test_stop_in_the_middle_of_a_task_gives_it_back_and_start_does_it_again(ready: World) -> None:
    (ready.root.peers / "worker/scripted.json").write_text('[{"busy_seconds": 60}]')
    ready.serve()
    sent = ready.send("worker", "task", "--from", "bob")
    until(lambda: bodies(ready, "worker") == ["task"], 20, "the task")
    refused = ready.run("queue", "drop", sent["message_id"])
    assert (refused.returncode, "is being delivered or worked on" in refused.stderr) == (4, True)
    assert ready.run("stop", "worker").returncode == 0
    until(lambda: ready.json("queue", "show", sent["message_id"])["state"] == "queued", 10, "the task's return")
    (row,) = ready.json("queue", "worker")["queues"]
    assert (row["depth"], row["in_flight"], row["hold"]) == (1, None, "stopped")
    (ready.root.peers / "worker/scripted.json").write_text('[{"reply": "done {body}"}]')
    ready.run("start", "worker")
    all_settled(ready)
    shown = ready.json("queue", "show", sent["message_id"])
    assert (shown["state"], shown["attempts"]) == ("consumed", 0)


def test_a_worker_killed_in_the_middle_of_its_task_does_it_again_in_a_fresh_session(ready: World) -> None:
    (ready.root.peers / "worker/scripted.json").write_text('[{"busy_seconds": 60}]')
    ready.serve()
    ready.send("worker", "task", "--from", "bob")
    until(lambda: bodies(ready, "worker") == ["task"], 20, "the task")
    (ready.root.peers / "worker/scripted.json").write_text('[{"reply": "done {body}"}]')
    terminate(ready.tmux(WORKER), signal.SIGKILL)
    all_settled(ready)
    assert (bodies(ready, "worker"), sessions(ready)) == (["task", "task"], 2)
    until(lambda: bodies(ready, "bob") == ["done task"], 20, "the answer")
