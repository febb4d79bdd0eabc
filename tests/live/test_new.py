"""A session replaced by a fresh one, from outside: by the operator, by itself, across kills and stops."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.live.alice import bodies, busy, consumed, fence, is_new
from tests.live.world import World, until
from transport.process import terminate

pytestmark = pytest.mark.live

WORK = {"match": "work", "sleep_forever": True}
CONFIG = "tcp = false\nsystemd_scope = false\ntick_seconds = 0.5\n"
"""For the servers that bridges start, too: they do not get our environment."""


def test_new_gives_a_busy_peer_a_fresh_session_and_loses_nothing(world: World) -> None:
    world.create("alice", rules=[WORK])
    world.serve()
    world.send("alice", "work")
    busy(world)
    old, tmux = fence(world), world.tmux("scripted-alice")
    queued = world.send("alice", "later", "--wait", "0")
    until(lambda: any(each["type"] == "queued" for each in world.transcript("alice")), 10, "the client's queue")
    done = world.run("new", "alice", "--seed", "start here")
    assert (done.returncode, done.stdout) == (0, "scripted-alice: fresh and ready\n"), done.stderr
    assert fence(world) != old and not tmux.is_alive()
    until(lambda: bodies(world) == ["work", "start here", "later"], 20, "the message")
    assert consumed(world, queued["message_id"])["attempts"] == 0
    assert world.log("exits") == ""
    assert not (world.root.state / "scripted-alice.new").exists()


@pytest.mark.parametrize("moment", ["flag", "closing", "closed"])
def test_new_is_finished_by_the_next_server(world: World, moment: str) -> None:
    world.root.config.write_text(CONFIG)
    world.create("alice", rules=[WORK])
    server = world.serve()
    world.send("alice", "work")
    busy(world)
    old, tmux = fence(world), world.tmux("scripted-alice")
    server.kill()
    server.wait(10)
    # What the killed server had got done of `new alice --seed …`, step by step.
    wish = f'{{"replaces": "{old}", "seed": "start here", "at_turn_end": false}}'
    (world.root.state / "scripted-alice.new").write_text(wish)
    if moment != "flag":
        path = world.root.state / "scripted-alice.session"
        path.write_text(
            path.read_text().replace('"is_closing": false', '"is_closing": true').replace('"end": null', '"end": "new"')
        )
    if moment == "closed":
        terminate(tmux, signal.SIGKILL)
        until(lambda: not tmux.is_alive(), 10, "the end of tmux")
    world.start_server()
    until(lambda: bodies(world) == ["work", "start here"], 30, "the seed")
    until(lambda: is_new(world, old), 10, "the fresh session")
    assert not tmux.is_alive()
    assert not (world.root.state / "scripted-alice.new").exists()
    assert not (world.root.state / "scripted-alice.deaths").exists()


@pytest.mark.parametrize("delay", [0.0, 0.04, 0.12, 0.2, 0.3])
def test_a_server_killed_during_new(world: World, delay: float) -> None:
    world.root.config.write_text(CONFIG)
    world.create("alice", rules=[WORK])
    server = world.serve()
    world.send("alice", "work")
    old = fence(world)
    queued = world.send("alice", "later", "--wait", "0")
    with ThreadPoolExecutor(1) as pool:
        new = pool.submit(world.run, "new", "alice", "--seed", "start here")
        until((world.root.state / "scripted-alice.new").exists, 10, "the wish")
        time.sleep(delay)  # the moment of the kill, not a wait for anything
        server.kill()
        server.wait(10)
        assert new.result().returncode in (0, 5)
    world.start_server()
    until(lambda: is_new(world, old), 30, "the fresh session")
    until(lambda: bodies(world) == ["work", "start here", "later"], 30, "both messages, each once")
    until(lambda: not (world.root.state / "scripted-alice.new").exists(), 10, "the end of the wish")
    assert consumed(world, queued["message_id"])["attempts"] == 0
    assert not (world.root.state / "scripted-alice.deaths").exists()
    assert world.log("exits") == ""


def test_new_many_times_at_once(world: World) -> None:
    world.create("alice")
    world.serve()
    world.send("alice", "one")
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda number: world.run("new", "alice", "--seed", f"seed {number}"), range(4)))
    assert [each.returncode for each in done] == [0] * 4, [each.stderr for each in done]
    assert world.send("alice", "two")["status"] == "delivered"
    assert bodies(world)[-1] == "two"
    assert len([each for each in Path("/proc").glob("[0-9]*") if _runs_alice(each, world)]) == 1


def _runs_alice(entry: Path, world: World) -> bool:
    with suppress(OSError):
        words = (entry / "cmdline").read_bytes().split(b"\0")
        return b"scripted.py" in words[3] if len(words) > 3 and _home(entry, world) else False
    return False


def _home(entry: Path, world: World) -> bool:
    return f"PEERWAKE_HOME={world.root.home}\0".encode() in (entry / "environ").read_bytes()


@pytest.mark.parametrize("delay", [0.0, 0.2, 0.6])
def test_a_stop_while_new_is_under_way_wins(world: World, delay: float) -> None:
    world.create("alice", rules=[])
    (world.root.peers / "alice" / "scripted.json").write_text('{"boot": {"seconds": 2}}')
    world.serve()
    with ThreadPoolExecutor(2) as pool:
        new = pool.submit(world.run, "new", "alice", "--seed", "never")
        time.sleep(delay)  # the point of the race, not a wait for anything
        assert world.run("stop", "alice").returncode == 0
        done = new.result()
    assert done.returncode == 4
    assert "stopped" in done.stderr
    assert world.state("alice") == "stopped"
    assert not (world.root.state / "scripted-alice.session").exists()
    assert world.prompts("alice") == []
    assert not (world.root.state / "scripted-alice.new").exists()


@pytest.mark.parametrize("delay", [0.0, 0.3, 1.0])
def test_a_stop_while_a_wake_is_on_its_way(world: World, delay: float) -> None:
    world.create("alice", rules=[])
    (world.root.peers / "alice" / "scripted.json").write_text('{"boot": {"seconds": 2}}')
    world.serve()
    sent = world.send("alice", "hello", "--wait", "0")
    time.sleep(delay)  # the point of the race, not a wait for anything
    assert world.run("stop", "alice").returncode == 0
    until(lambda: not (world.root.state / "scripted-alice.session").exists(), 10, "the end of the session")
    history = world.json("queue", "show", sent["message_id"])
    assert (history["state"], history["attempts"]) == ("queued", 0)
    assert world.prompts("alice") == []
    assert not (world.root.state / "scripted-alice.deaths").exists()
    assert world.run("start", "alice").returncode == 0
    until(lambda: bodies(world) == ["hello"], 20, "the message")


def test_start_twice_starts_once(world: World) -> None:
    world.create("alice")
    world.serve()
    assert world.run("stop", "alice").returncode == 0
    world.servers[0].terminate()
    world.servers[0].wait(15)
    world.serve()
    with ThreadPoolExecutor(4) as pool:
        codes = [each.returncode for each in pool.map(lambda _: world.run("start", "alice"), range(4))]
    assert codes == [0] * 4
    assert world.send("alice", "hello")["woke"] is True
    assert bodies(world) == ["hello"]


def test_an_agent_renews_itself_after_its_turn(world: World) -> None:
    world.create(
        "alice", rules=[{"match": "renew", "new": "what was left", "busy_seconds": 1, "say": "the turn ended"}]
    )
    world.serve()
    world.send("alice", "renew yourself")
    old = fence(world)
    until(lambda: is_new(world, old), 30, "the fresh session")
    assert bodies(world) == ["renew yourself", "what was left"]
    records = world.transcript("alice")
    assert [record["text"] for record in records if record["type"] == "new"] == ["told"]
    assert "the turn ended" in [record.get("text") for record in records]
    assert world.log("exits") == ""


def test_a_renewal_of_its_own_survives_the_server(world: World) -> None:
    world.root.config.write_text(CONFIG)
    world.create("alice", rules=[{"match": "renew", "new": "what was left", "busy_seconds": 3}])
    server = world.serve()
    world.send("alice", "renew yourself")
    old = fence(world)
    until((world.root.state / "scripted-alice.new").exists, 10, "the wish")
    server.kill()
    server.wait(10)
    world.start_server()
    assert fence(world) == old
    until(lambda: is_new(world, old), 30, "the fresh session")
    assert bodies(world) == ["renew yourself", "what was left"]
    assert "ok" in [record.get("text") for record in world.transcript("alice")]


def test_a_warm_peer_that_says_done_is_closed_and_then_fresh(world: World) -> None:
    world.create("alice", rules=[{"match": "leave", "done": True}])
    world.serve()
    world.send("alice", "leave", "--topic", "a")
    old = fence(world)
    until(lambda: world.state("alice") == "asleep", 20, "the end of the session")
    world.send("alice", "back", "--topic", "a")
    assert fence(world) != old
    assert world.session("scripted-alice")["mode"] == "fresh"
    assert world.log("exits") == ""
