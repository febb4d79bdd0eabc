"""Ephemeral workers on scripted peers in real tmux: order, one task per session, and servers that die."""

import random
import re
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from lifecycle.session import Sessions
from tests.contract.wires import wire
from tests.live.control import Control
from tests.live.workers import WORKER, accepted, all_settled, bodies, books, sessions, set_policy, settle_on, states
from tests.live.world import TOP, World, until
from transport.identity import parse_identity
from transport.process import ProcessId, identify, terminate
from transport.vocabulary import WakePolicy

pytestmark = pytest.mark.live


def server_of(world: World) -> ProcessId | None:
    """Return the server that runs, whoever started it."""
    pid = world.server_pid()
    return None if pid is None else identify(pid)


def kill_server(world: World) -> None:
    server = server_of(world)
    assert server is not None
    terminate(server, signal.SIGKILL)
    for own in world.servers:
        own.poll()
    until(lambda: identify(server.pid) != server, 10, "the death of a server")


def samples(world: World, stop: threading.Event, found: list[tuple[Any, Any]]) -> None:
    """Ask the server for the worker's queue, with what the books say; only where the books stood still."""
    question = """
        SELECT (SELECT depth FROM queues WHERE recipient = ?1),
            (SELECT id FROM messages WHERE recipient = ?1 AND state = 'leased'),
            (SELECT max(seq) FROM messages), (SELECT count(*) FROM events)
    """
    with Control(world.root) as control:
        while not stop.is_set():
            before = books(world, question, WORKER)
            (row,) = control.call("queue", personality="worker")["result"]["rows"]
            if books(world, question, WORKER) == before:
                found.append((before[0], row))


def test_tasks_of_many_processes_are_done_in_the_order_of_their_acceptance(ready: World) -> None:
    """Commands, a control connection, HTTP, the bridge, and processes that spooled before there was a server."""
    (ready.root.peers / "worker/scripted.json").write_text('[{"done": true}]')
    for number in range(3):
        early = ready.send("worker", f"early {number}", "--from", "bob")
        assert (early["status"], early["reason"]) == ("queued", "no-supervisor")
    ready.serve()
    token = ready.run("mcp-config", "bob", "--client", "scripted", "--credential").stdout.strip()

    def by_wire(kind: str) -> None:
        with wire(kind, ready, token) as connection:
            for number in range(4):
                connection.send(personality="worker", message=f"{kind} {number}")

    def by_control() -> None:
        with Control(ready.root) as control:
            for number in range(4):
                control.send("worker", f"control {number}")

    def by_command() -> None:
        for number in range(4):
            ready.send("worker", f"command {number}", "--from", "bob")

    threads = [threading.Thread(target=by_wire, args=(kind,)) for kind in ("unix-http", "bridge")]
    threads += [threading.Thread(target=by_control), threading.Thread(target=by_command)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    order = accepted(ready)
    assert len(order) == 19
    for kind in ("early", "unix-http", "bridge", "control", "command"):
        own = [body for body in order if body.startswith(kind)]
        assert own == [f"{kind} {number}" for number in range(len(own))]
    all_settled(ready, 120)
    assert bodies(ready, "worker") == order
    assert sessions(ready) == 19


@pytest.mark.parametrize("seed", range(4))
def test_each_task_is_done_once_however_often_the_server_is_killed(ready: World, seed: int) -> None:
    """The moments are chance: before the lease, during the wake, the paste, the work, the reply, the closing."""
    chance = random.Random(seed)
    settle_on(ready, attempts=20, ephemeral_silence_seconds=20)  # a bridge may take some seconds to come back
    (ready.root.peers / "worker/scripted.json").write_text('[{"busy_seconds": 0.1, "reply": "done {body}"}]')
    ready.serve()
    for number in range(5):
        ready.send("worker", f"task {number}", "--from", "bob", "--wait", "0")
    for _ in range(6):
        time.sleep(chance.uniform(0.0, 0.6))  # the moment of the kill is the point
        kill_server(ready)
        ready.start_server()
        until(lambda: server_of(ready), 30, "the start of a server, by us or by a bridge")
    all_settled(ready)
    until(lambda: ready.depth("bob") == 0, 20, "the last answer")
    assert bodies(ready, "worker") == [f"task {number}" for number in range(5)]
    assert bodies(ready, "bob") == [f"done task {number}" for number in range(5)]
    assert {state for state, _ in states(ready)} == {"consumed"}


def test_the_queue_s_status_never_contradicts_the_books(ready: World) -> None:
    rules = '[{"match": "bad", "crash": "SIGKILL"}, {"busy_seconds": 0.1, "reply": "done {body}"}]'
    (ready.root.peers / "worker/scripted.json").write_text(rules)
    settle_on(ready, attempts=2, backoff_seconds=0.5)
    ready.serve()
    stop, found = threading.Event(), []
    sampler = threading.Thread(target=samples, args=(ready, stop, found))
    sampler.start()
    for body in ("one", "bad", "two", "three"):
        ready.send("worker", body, "--from", "bob")
    all_settled(ready)
    stop.set()
    sampler.join(10)
    assert len(found) > 50
    holds = {row["hold"] for _, row in found}
    assert {"ephemeral", "backoff", None} <= holds
    for (depth, in_flight, *_), row in found:
        assert (row["depth"], row["in_flight"]) == (depth or 0, in_flight)
        assert (row["hold"] is None) == (row["depth"] == 0) == (row["head_age_seconds"] is None)
        if in_flight is not None:
            assert row["hold"] not in ("backoff", "no-supervisor", "waking")
        if row["hold"] == "backoff":
            assert row["detail"] == "the worker died before it replied"


def test_the_conversation_of_a_person_takes_no_task(ready: World) -> None:
    ready.serve()
    with Control(ready.root) as control:
        attached = control.call("attach", name="worker")["result"]
        socket, identity = attached["socket"], attached["identity"]
        sent = control.send("worker", "task", **{"from": "bob"})
        until(lambda: control.call("queue", personality="worker")["result"]["rows"][0]["hold"] == "busy", 10, "busy")
        (row,) = control.call("queue", personality="worker")["result"]["rows"]
        assert (row["in_flight"], "in use" in row["detail"]) == (None, True)
        assert bodies(ready, "worker") == []
        subprocess.run(["tmux", "-S", socket, "kill-session", "-t", identity], check=True, timeout=10)
        until(lambda: control.call("message", message_id=sent["message_id"])["result"]["state"] == "consumed", 30)
    assert bodies(ready, "worker") == ["task"]
    assert sessions(ready) == 1


def test_a_person_who_attaches_to_a_task_s_session_does_not_get_the_next_one(ready: World) -> None:
    (ready.root.peers / "worker/scripted.json").write_text('[{"busy_seconds": 1, "done": true}]')
    ready.serve()
    with Control(ready.root) as control:
        for number in range(2):
            control.send("worker", f"task {number}")
        until(lambda: bodies(ready, "worker") == ["task 0"], 20, "the first task")
        assert control.call("attach", name="worker")["result"]["mode"] == "live"
    all_settled(ready)
    assert (bodies(ready, "worker"), sessions(ready)) == (["task 0", "task 1"], 2)


def test_a_worker_that_becomes_warm_and_ephemeral_again_loses_and_repeats_nothing(ready: World) -> None:
    rules = '[{"match": "slow", "busy_seconds": 1.5, "reply": "done {body}"}, {"reply": "done {body}"}]'
    (ready.root.peers / "worker/scripted.json").write_text(rules)
    ready.serve()
    ready.send("worker", "slow 1", "--from", "bob")
    ready.send("worker", "two", "--from", "bob")
    until(lambda: bodies(ready, "worker") == ["slow 1"], 20, "the first task")
    set_policy(ready, WakePolicy.WARM)
    until(lambda: "done two" in bodies(ready, "bob"), 30, "the second, as a message")
    assert ready.state("worker") in ("live", "busy")
    set_policy(ready, WakePolicy.EPHEMERAL)
    ready.run("stop", "worker")
    ready.run("start", "worker")
    ready.send("worker", "three", "--from", "bob")
    all_settled(ready)
    until(lambda: ready.depth("bob") == 0, 20, "the last answer")
    assert bodies(ready, "worker") == ["slow 1", "two", "three"]
    assert bodies(ready, "bob") == ["done slow 1", "done two", "done three"]


def test_a_worker_that_becomes_warm_while_no_server_runs_keeps_its_session_as_a_conversation(ready: World) -> None:
    rules = '[{"match": "slow", "busy_seconds": 1.5, "reply": "done {body}"}, {"reply": "done {body}"}]'
    (ready.root.peers / "worker/scripted.json").write_text(rules)
    server = ready.serve()
    ready.send("worker", "slow", "--from", "bob")
    until(lambda: bodies(ready, "worker") == ["slow"], 20, "the first task")
    server.kill()
    server.wait()
    set_policy(ready, WakePolicy.WARM)
    ready.serve()
    kept = Sessions(ready.root)
    worker = parse_identity(WORKER, "worker")
    until(lambda: (live := kept.live(worker)) is not None and live.task is None, 30, "the end of the task")
    ready.send("worker", "two", "--from", "bob")
    until(lambda: "done two" in bodies(ready, "bob"), 30, "the second, as a message")
    assert (bodies(ready, "worker"), sessions(ready)) == (["slow", "two"], 1)


def test_a_session_that_died_while_no_server_ran_is_judged_by_its_reply(ready: World) -> None:
    (ready.root.peers / "worker/scripted.json").write_text('[{"match": "slow", "busy_seconds": 60}, {"done": true}]')
    server = ready.serve()
    for body in ("slow", "two"):
        ready.send("worker", body, "--from", "bob")
    until(lambda: bodies(ready, "worker") == ["slow"], 20, "the first task")
    server.kill()
    server.wait()
    tmux = ready.tmux(WORKER)
    terminate(tmux, signal.SIGKILL)
    until(lambda: not tmux.is_alive(), 10, "the death")
    assert ready.send("bob", "here it is", "--from", "worker")["reason"] == "no-supervisor"
    ready.serve()
    all_settled(ready)
    assert states(ready) == [("consumed", "reply, after the session's end"), ("consumed", "done")]
    assert bodies(ready, "worker") == ["slow", "two"]


def test_sends_of_commands_that_run_at_once_without_a_server_are_all_done(ready: World) -> None:
    (ready.root.peers / "worker/scripted.json").write_text('[{"done": true}]')
    argv = [sys.executable, "-m", "mcp_server", "send", "worker"]
    commands = [
        subprocess.Popen(
            [*argv, f"task {number}"], env=ready.env, cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for number in range(5)
    ]
    said = [command.communicate(timeout=60) for command in commands]
    assert [command.returncode for command in commands] == [3] * 5, said
    ready.serve()
    all_settled(ready)
    assert bodies(ready, "worker") == accepted(ready)
    assert re.fullmatch(r"(task \d ?){5}", " ".join(accepted(ready)))
