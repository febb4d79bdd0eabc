"""A person at a session, from outside: attach, watch, run, refresh, interrupt, compact."""

import subprocess
from pathlib import Path

import pytest

from tests.live.alice import bodies, busy, fence, screen, tmux_socket
from tests.live.keyboard import at_a_terminal
from tests.live.world import World, until
from transport.process import identify

pytestmark = pytest.mark.live

ASLEEP = "asleep"
WORK = {"match": "work", "sleep_forever": True}


def test_refresh_takes_effect_at_the_next_wake(world: World) -> None:
    world.create("alice")
    world.serve()
    world.send("alice", "one", "--topic", "a")
    first = fence(world)
    assert "its session goes on until then" in world.run("refresh", "alice").stdout
    world.send("alice", "two", "--topic", "a")
    assert fence(world) == first
    world.run("stop", "alice")
    world.run("start", "alice")
    world.send("alice", "three", "--topic", "a")
    assert world.session("scripted-alice")["mode"] == "fresh"
    world.run("stop", "alice")
    world.run("start", "alice")
    world.send("alice", "four", "--topic", "a")
    assert world.session("scripted-alice")["mode"] == "resume"


def test_interrupt_and_compact(world: World) -> None:
    world.create("alice", rules=[WORK])
    world.serve()
    assert world.run("interrupt", "alice").returncode == 4
    assert world.state("alice") == ASLEEP
    world.send("alice", "work")
    busy(world)
    refused = world.run("compact", "alice")
    assert (refused.returncode, "busy: the screen of alice is busy; nothing was typed" in refused.stderr) == (4, True)
    done = world.run("interrupt", "alice")
    assert (done.returncode, done.stdout) == (0, "scripted-alice: interrupted, its screen is ready\n"), done.stderr
    refused = world.run("interrupt", "alice")
    assert (refused.returncode, "alice is not busy, its screen is ready" in refused.stderr) == (4, True)
    done = world.run("compact", "alice")
    assert (done.returncode, done.stdout) == (0, "scripted-alice: the client took the command, its screen is ready\n")
    kinds = [record["type"] for record in world.transcript("alice")]
    assert (kinds.count("interrupted"), kinds.count("compacted")) == (1, 1)
    assert world.send("alice", "next")["status"] == "delivered"


def test_watch_wakes_nobody_and_leaves_no_trace(world: World) -> None:
    world.create("alice")
    world.serve()
    with at_a_terminal(world, "watch", "alice") as terminal:
        terminal.shows("alice is asleep")
        assert terminal.process.wait(10) == 4
    assert world.state("alice") == ASLEEP
    world.send("alice", "one")
    with at_a_terminal(world, "watch", "alice") as terminal:
        terminal.shows("watching scripted-alice, read-only")
        terminal.type(b"nobody reads this\r")
        assert world.send("alice", "two")["status"] == "delivered"
        assert "nobody reads this" not in screen(world)
    sessions = ["tmux", "-N", "-S", str(tmux_socket(world, "scripted-alice")), "list-sessions", "-F", "#{session_name}"]
    until(
        lambda: subprocess.run(sessions, capture_output=True, text=True).stdout == "scripted-alice\n",
        10,
        "the end of the viewer",
    )
    assert bodies(world) == ["one", "two"]


def test_run_in_a_directory(world: World, tmp_path: Path) -> None:
    world.create("alice")
    world.serve()
    cwd = world.root.peers / "alice"
    (cwd / "below").mkdir()
    with at_a_terminal(world, "run", cwd=tmp_path) as terminal:
        terminal.shows("peerwake init")
        assert terminal.process.wait(10) == 4
    with at_a_terminal(world, "run", cwd=cwd / "below") as terminal:
        terminal.shows("»")
        first = fence(world)
        assert world.session("scripted-alice")["mode"] == "fresh"
        terminal.command(b"d")
        assert terminal.process.wait(10) == 0
    with at_a_terminal(world, "run", cwd=cwd) as terminal:
        terminal.shows("peerwake attach alice, or replace it: peerwake run --replace")
        assert terminal.process.wait(10) == 4
    assert fence(world) == first
    with at_a_terminal(world, "run", "scripted", "--replace", cwd=cwd) as terminal:
        terminal.shows("»")
        assert fence(world) != first
    assert world.send("alice", "hello")["woke"] is False
    world.run("stop", "alice")
    with at_a_terminal(world, "run", cwd=cwd) as terminal:
        terminal.shows("alice is stopped; start it first: peerwake start alice")
        assert terminal.process.wait(10) == 4


def test_attach_during_a_wake(world: World) -> None:
    world.create("alice")
    (world.root.peers / "alice" / "scripted.json").write_text('{"boot": {"seconds": 2}}')
    world.serve()
    world.send("alice", "hello", "--wait", "0")
    with at_a_terminal(world, "attach", "alice") as terminal:
        terminal.shows("»")
        terminal.shows("hello")
        terminal.command(b"d")
        assert terminal.process.wait(10) == 0
    until(lambda: bodies(world) == ["hello"], 20, "the message")


def test_attach_of_a_peer_whose_conversation_is_gone(world: World) -> None:
    cwd = world.create("alice")
    world.serve()
    with at_a_terminal(world, "attach", "alice") as terminal:
        terminal.shows("it never ran before")
        terminal.shows("»")
    world.send("alice", "hello")
    world.run("stop", "alice")
    world.run("start", "alice")
    for path in (cwd / ".peerwake/runtimes/scripted").glob("*.jsonl"):
        path.unlink()
    with at_a_terminal(world, "attach", "alice") as terminal:
        terminal.shows("peerwake new alice")
        assert terminal.process.wait(10) == 4
    assert world.run("new", "alice").returncode == 0


def test_nothing_of_these_verbs_is_for_agents(world: World) -> None:
    world.create("alice")
    world.serve()
    world.send("alice", "one")
    pane = world.session("scripted-alice")["pane"]["pid"]
    assert identify(pane) is not None
    credential = {"PEERWAKE_CREDENTIAL": _credential(pane)}
    for verb in ("new", "refresh", "interrupt", "compact"):
        done = world.run(verb, "alice", env=credential)
        assert (done.returncode, "for the operator" in done.stderr) == (4, True), done.stderr
    assert bodies(world) == ["one"]


def _credential(pid: int) -> str:
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(pair.partition("=")[::2] for pair in pairs)["PEERWAKE_CREDENTIAL"]
