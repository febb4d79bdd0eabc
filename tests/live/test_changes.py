"""Removing and renaming from outside: command line in, sessions, files and conversations out."""

import os
import signal

import pytest

from lifecycle.journal import Journal, Removal, Renaming
from tests.live.control import Control
from tests.live.world import World, until
from transport.identity import Identity
from transport.relocate import Place

pytestmark = pytest.mark.live


def test_a_renamed_peer_goes_on_where_it_was(world: World) -> None:
    world.create("alice", rules=[{"match": "who", "reply": "me"}])
    world.create("bob")
    world.serve()
    world.send("alice", "one", "--topic", "t")
    refused = world.run("rename", "alice", "alicia")
    assert (refused.returncode, "peerwake stop alice" in refused.stderr) == (4, True)
    assert world.run("stop", "alice").returncode == 0
    assert world.run("rename", "alice", "alicia").returncode == 0
    assert world.state("alicia") == "stopped"
    assert world.run("send", "alicia", "two").returncode == 4
    assert world.run("start", "alicia").returncode == 0
    assert world.send("alicia", "who are you?", "--topic", "t", "--from", "bob")["status"] == "delivered"
    assert [text.splitlines()[1] for text in world.prompts("alicia")] == ["one", "who are you?"]
    until(lambda: world.prompts("bob"), 20, "the answer")
    assert ' from="alicia" ' in world.prompts("bob")[0]
    assert world.session("scripted-alicia")["mode"] == "resume"
    assert world.json("verify")["problems"] == []


def test_a_removed_peer_is_gone_with_its_session_and_its_credential(world: World) -> None:
    world.create("alice")
    world.serve()
    world.send("alice", "one")
    tmux, agent = world.tmux("scripted-alice"), world.session("scripted-alice")["pane"]["pid"]
    token = world.run("mcp-config", "alice", "--credential").stdout.strip()
    assert world.run("send", "alice", "hello", env={"PEERWAKE_CREDENTIAL": token}).returncode == 4
    assert world.run("remove", "alice").returncode == 4
    assert world.run("remove", "alice", "--force").returncode == 0
    assert not tmux.is_alive()
    until(lambda: not os.path.exists(f"/proc/{agent}"), 10, "the end of the agent")  # noqa: PTH110
    refused = world.run("list", env={"PEERWAKE_CREDENTIAL": token})
    assert (refused.returncode, "credential is not valid" in refused.stderr) == (4, True)
    assert world.run("send", "alice", "two").returncode == 4
    assert world.log("exits") == ""
    assert not list(world.root.state.glob("scripted-alice.*"))
    assert world.json("verify")["problems"] == []


def test_a_new_peer_of_the_same_name_begins_with_nothing(world: World) -> None:
    world.create("alice", rules=[{"busy_seconds": 60}])
    world.create("bob")
    world.serve()
    world.send("alice", "work", "--from", "bob")
    for number in range(3):
        world.send("alice", f"later {number}", "--from", "bob", "--wait", "0")
    done = world.json("remove", "alice", "--force", "--purge")
    assert 3 <= len(done["dead_letters"]) <= 4
    until(lambda: len(world.prompts("bob")) == len(done["dead_letters"]), 20, "the notices")
    world.create("alice")
    assert world.depth("alice") == 0
    assert world.send("alice", "first")["status"] == "delivered"
    assert [text.splitlines()[1] for text in world.prompts("alice")] == ["first"]


@pytest.mark.parametrize("how", ["rename", "remove"])
def test_a_server_finishes_what_a_killed_one_had_begun(world: World, how: str) -> None:
    world.create("alice")
    server = world.serve()
    world.send("alice", "one")
    tmux = world.tmux("scripted-alice")
    alice, alicia = (Place(name, world.root.peers / name) for name in ("alice", "alicia"))
    if how == "rename":
        world.run("stop", "alice")
    server.send_signal(signal.SIGKILL)
    server.wait()
    Journal(world.root).write(Renaming(alice, alicia) if how == "rename" else Removal(alice))
    world.serve()
    assert Journal(world.root).load() is None
    names = [row["name"] for row in world.json("list")["peers"]]
    assert names == (["alicia"] if how == "rename" else [])
    assert not tmux.is_alive()
    assert world.json("verify")["problems"] == []


def test_a_peer_may_not_remove_or_rename_anybody(world: World) -> None:
    world.create("alice")
    world.create("bob")
    world.serve()
    token = world.run("mcp-config", "alice", "--credential").stdout.strip()
    for words in (("remove", "bob"), ("rename", "bob", "bert"), ("remove", "alice", "--force")):
        refused = world.run(*words, env={"PEERWAKE_CREDENTIAL": token})
        assert (refused.returncode, "operator" in refused.stderr) == (4, True)
    assert [row["name"] for row in world.json("list")["peers"]] == ["alice", "bob"]


def test_the_verbs_refuse_what_they_do_not_take(world: World) -> None:
    world.create("alice")
    world.serve()
    with Control(world.root) as control:
        for args in (
            {"verb": "remove", "name": "alice", "force": "yes"},
            {"verb": "remove", "name": "alice", "all": True},
            {"verb": "rename", "name": "alice"},
            {"verb": "rename", "name": "alice", "new_name": "../x"},
            {"verb": "rename", "name": "alice", "new_name": 7},
        ):
            answer = control.call(**args)
            assert (answer["ok"], answer["error"]["code"]) == (False, "invalid")
        assert control.call("rename", name="alice", new_name="alicia")["result"]["former"] == "alice"
        assert control.call("remove", name="alicia")["result"]["name"] == "alicia"
    assert not list(world.root.state.glob(f"{Identity('scripted', 'alicia')}.*"))
