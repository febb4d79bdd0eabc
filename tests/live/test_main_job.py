"""The main job on scripted peers in real tmux: wake, deliver, prove."""

import os
import signal
import subprocess

import pytest

from tests.live.world import World, until
from transport.identity import Identity
from transport.process import terminate
from transport.tmux.program import find_tmux

pytestmark = pytest.mark.live


def test_a_message_wakes_a_sleeping_peer_and_is_delivered(world: World) -> None:
    world.create("alice")
    world.serve()
    result = world.send("alice", "hello\n  two lines, tab\there, #{pane_id} $(id) `id` \\")
    assert result["status"] == "delivered"
    assert result["woke"] is True
    (prompt,) = world.prompts("alice")
    assert "\nhello\n  two lines, tab\there, #{pane_id} $(id) `id` \\\n" in prompt
    assert world.state("alice") == "live"


def test_a_second_message_to_the_live_session_does_not_wake(world: World) -> None:
    world.create("alice")
    world.serve()
    world.send("alice", "one")
    first = world.tmux("scripted-alice")
    result = world.send("alice", "two")
    assert (result["status"], result["woke"]) == ("delivered", False)
    assert world.tmux("scripted-alice") == first
    assert [text.splitlines()[1] for text in world.prompts("alice")] == ["one", "two"]


def test_a_peer_answers_through_its_own_tool(world: World) -> None:
    world.create("alice", rules=[{"match": "status", "reply": "all green"}])
    world.create("bob")
    world.serve()
    assert world.send("alice", "status?", "--from", "bob")["status"] == "delivered"
    until(lambda: world.prompts("bob"), 20, "the answer")
    (answer,) = world.prompts("bob")
    assert ' from="alice" runtime="scripted" intelligence="artificial"' in answer
    assert "\nall green\n" in answer


def test_a_stopped_peer_refuses_until_it_is_started(world: World) -> None:
    world.create("alice")
    world.serve()
    world.send("alice", "one")
    tmux = world.tmux("scripted-alice")
    assert world.run("stop", "alice").returncode == 0
    until(lambda: not tmux.is_alive(), 10, "the end of the session")
    refused = world.run("send", "alice", "two")
    assert refused.returncode == 4
    assert "stopped" in refused.stderr
    assert world.state("alice") == "stopped"
    assert world.run("start", "alice").returncode == 0
    assert world.send("alice", "three")["status"] == "delivered"
    assert [text.splitlines()[1] for text in world.prompts("alice")] == ["one", "three"]


def test_messages_spooled_without_a_server_are_delivered_by_the_next(world: World) -> None:
    world.create("alice")
    spooled = world.send("alice", "early")
    assert (spooled["status"], spooled["reason"]) == ("queued", "no-supervisor")
    world.serve()
    until(lambda: world.prompts("alice"), 20, "the delivery")
    assert world.depth("alice") == 0


def test_what_a_client_took_while_no_server_ran_is_not_typed_again_into_its_next_conversation(world: World) -> None:
    world.create("alice", rules=[{"match": "slow", "busy_seconds": 2}])
    server = world.serve()
    assert world.send("alice", "slow")["status"] == "delivered"
    assert world.send("alice", "two")["status"] == "queued"
    until(lambda: any(record["type"] == "queued" for record in world.transcript("alice")), 20, "the client's own queue")
    server.kill()
    server.wait()
    until(lambda: len(world.prompts("alice")) == 2, 20, "the second prompt")
    socket = world.root.tmux_socket(Identity("scripted", "alice"))
    argv = [find_tmux(), "-N", "-S", str(socket), "send-keys", "-t", "%0"]
    subprocess.run([*argv, "/clear", "Enter"], check=True, timeout=60)
    until(lambda: [record["type"] for record in world.transcript("alice")].count("cleared") == 1, 20, "the next one")
    world.serve()
    until(lambda: world.depth("alice") == 0, 30, "the settlement")
    assert len(world.prompts("alice")) == 2


def test_a_deliberate_stop_of_the_server_exits_0_and_kills_no_session(world: World) -> None:
    world.create("alice")
    server = world.serve()
    world.send("alice", "one")
    tmux = world.tmux("scripted-alice")
    server.terminate()
    assert server.wait(15) == 0
    assert tmux.is_alive()
    world.serve()
    result = world.send("alice", "two")
    assert (result["status"], result["woke"]) == ("delivered", False)
    assert world.tmux("scripted-alice") == tmux


def test_a_standby_takes_over_within_a_second_of_a_kill(world: World) -> None:
    world.create("alice")
    first = world.serve()
    second = world.start_server()
    until(lambda: "standing by" in world.log("server"), 20, "the standby")
    world.send("alice", "one")
    first.send_signal(signal.SIGKILL)
    first.wait()
    until(lambda: world.server_pid() == second.pid, 10, "the takeover")
    result = world.send("alice", "two")
    assert (result["status"], result["woke"]) == ("delivered", False)


def test_ephemeral_tasks_get_a_fresh_session_each_in_order(world: World) -> None:
    world.extra["PEERWAKE_EPHEMERAL_QUIET_SECONDS"] = "0.2"
    world.create("worker", "--ephemeral", rules=[{"reply": "done {body}"}])
    world.create("bob")
    world.serve()
    for number in range(3):
        result = world.send("worker", f"task {number}", "--from", "bob")
        assert (result["status"], result["reason"]) == ("queued", "ephemeral")
    until(lambda: len(world.prompts("bob")) == 3, 40, "three answers")
    assert [text.splitlines()[1] for text in world.prompts("bob")] == ["done task 0", "done task 1", "done task 2"]
    until(lambda: world.depth("worker") == 0, 20, "an empty queue")
    until(lambda: world.state("worker") == "asleep", 20, "the end of the last session")
    transcripts = (world.root.peers / "worker/.peerwake/runtimes/scripted").glob("*.jsonl")
    assert len(list(transcripts)) == 3


def test_a_dead_agent_is_noticed_and_woken_again_by_the_next_message(world: World) -> None:
    world.create("alice")
    world.serve()
    world.send("alice", "one")
    first = world.tmux("scripted-alice")
    pane = world.session("scripted-alice")["pane"]["pid"]
    os.kill(pane, signal.SIGKILL)
    until(lambda: not first.is_alive(), 10, "the end of the tmux server")
    until(lambda: world.state("alice") == "asleep", 10, "the state")
    assert "ev=session-exit identity=scripted-alice" in world.log("exits")
    result = world.send("alice", "two")
    assert (result["status"], result["woke"]) == ("delivered", True)
    assert world.tmux("scripted-alice") != first


def test_a_killed_tmux_server_is_noticed(world: World) -> None:
    world.create("alice")
    world.serve()
    world.send("alice", "one")
    terminate(world.tmux("scripted-alice"), signal.SIGKILL)
    until(lambda: world.state("alice") == "asleep", 10, "the state")
    assert world.send("alice", "two")["status"] == "delivered"


def test_windows_that_a_person_opens_beside_the_agent_end_nothing(world: World) -> None:
    world.create("alice")
    world.serve()
    world.send("alice", "one")
    server = world.tmux("scripted-alice")
    socket = world.root.tmux_socket(Identity("scripted", "alice"))
    for words in (("new-window", "-d", "true"), ("split-window", "-d", "true")):
        subprocess.run(["tmux", "-S", str(socket), *words], check=True, timeout=10)
    list_panes = ["tmux", "-S", str(socket), "list-panes", "-a", "-F", "#{pane_id}"]
    until(lambda: subprocess.run(list_panes, capture_output=True, text=True).stdout == "%0\n", what="the panes' end")
    assert world.send("alice", "two")["woke"] is False
    assert world.tmux("scripted-alice") == server
