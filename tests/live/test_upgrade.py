"""The server is stopped, killed, replaced, restarted again and again, while ten sessions work: nothing is lost."""

import json
import signal

import pytest

from mcp_server.background import answers
from tests.live.control import Control
from tests.live.rollout import (
    BUSY,
    CALM,
    SLOW,
    WORKER,
    Bridge,
    Flow,
    Sender,
    Team,
    deaths,
    end,
    identity,
    replaced,
    restarted,
    serve_newer,
    standing_by,
)
from tests.live.world import World, until

pytestmark = pytest.mark.live


@pytest.fixture
def team(world: World) -> Team:
    return Team(world)


@pytest.mark.parametrize("how", ["stopped", "killed", "replaced by a newer one"])
def test_a_team_at_work_survives_its_server(world: World, team: Team, how: str) -> None:
    server = world.serve()
    bridge = Bridge(world, "calm0")
    try:
        team.set_to_work()
        before = team.living()
        waiting = [Sender(world.root, name, f"{name} waits", 30) for name in (BUSY[0], SLOW[0], "calm1")]
        bridge.send(1, BUSY[1], "over the bridge", 30)
        until(lambda: len(team.accepted().get(BUSY[1], ())) == 5, 10, "the message over the bridge")
        assert all(world.session(identity(name))["is_ready"] is False for name in SLOW)
        match how:
            case "stopped":
                end(world, server.pid, signal.SIGTERM)
                restarted(world, server.pid)
            case "killed":
                end(world, server.pid, signal.SIGKILL)
                restarted(world, server.pid)
            case _:
                serve_newer(world)
                standing_by(world)
                end(world, server.pid, signal.SIGTERM)
        now = replaced(world, server.pid)
        assert now["version"] == ("99.0.0" if how.startswith("replaced") else "0.1.0")
        assert team.living() == before
        for sender in waiting:
            assert sender.answered()["status"] in ("delivered", "queued"), sender.answers
            assert len(sender.answers) == 1 or how == "killed", sender.answers
        assert bridge.answered(1)["status"] in ("delivered", "queued")
        bridge.send(2, CALM[3], "after it", 30)
        assert bridge.answered(2)["status"] == "delivered"
        with Control(world.root) as control:
            for name in (*CALM, *BUSY, *SLOW):
                team.send(control, name, f"{name} afterwards")
        team.settled()
        team.balance()
        assert team.living() == before
        assert team.sessions_of(WORKER) == 2
        assert deaths(world) == ""
    finally:
        bridge.close()


def test_five_restarts_while_messages_flow(world: World, team: Team) -> None:
    pid = restarted(world)
    team.set_to_work()
    before, flows = team.living(), [Flow(team, f"flow{number}") for number in range(3)]
    try:
        for number in range(5):
            accepted = sum(map(len, team.accepted().values()))
            until(lambda now=accepted: sum(map(len, team.accepted().values())) > now + 10, 20, "the flow")
            end(world, pid, signal.SIGKILL if number % 2 else signal.SIGTERM)
            pid = restarted(world, pid)
    finally:
        sent = sum(flow.finish() for flow in flows)
    team.settled()
    team.balance()
    assert sent > 50
    assert team.living() == before
    assert team.sessions_of(WORKER) == 2
    assert deaths(world) == ""


def test_of_two_servers_started_at_once_one_supervises_and_the_other_takes_over(world: World, team: Team) -> None:
    first = restarted(world)
    team.set_to_work()
    before = team.living()
    end(world, first, signal.SIGKILL)
    both = [world.start_server(), world.start_server()]
    supervisor = int(replaced(world, first)["pid"])
    standing_by(world)
    assert [server.poll() for server in both] == [None, None]
    end(world, supervisor, signal.SIGKILL)
    assert replaced(world, supervisor)["pid"] in {server.pid for server in both} - {supervisor}
    team.settled()
    team.balance()
    assert team.living() == before
    assert deaths(world) == ""


def test_of_two_that_do_not_stand_by_one_ends_quietly(world: World) -> None:
    world.extra["PEERWAKE_STANDBY"] = "false"
    world.create("alice")
    both = [world.start_server(), world.start_server()]
    until(lambda: any(server.poll() is not None for server in both), 20, "the end of one")
    assert sorted(str(server.poll()) for server in both) == ["0", "None"]
    (left,) = [server for server in both if server.poll() is None]
    assert replaced(world, 0)["pid"] == left.pid
    assert world.send("alice", "one")["status"] == "delivered"


def rewrite(world: World, name: str, **changes: object) -> None:
    path = world.root.state / f"{identity(name)}.session"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_an_older_server_keeps_the_sessions_and_what_a_newer_one_wrote_of_them(world: World, team: Team) -> None:
    newer = serve_newer(world)
    replaced(world, 0)
    team.set_to_work()
    end(world, newer.pid, signal.SIGTERM)
    before = team.living()
    for name in (*CALM, *BUSY, *SLOW):
        rewrite(world, name, window={"columns": 80}, budget=3)
    restarted(world, newer.pid)
    with Control(world.root) as control:
        for name in CALM:
            assert control.send(name, f"{name} after the downgrade", wait_seconds=30)["status"] == "delivered"
            assert world.session(identity(name))["window"] == {"columns": 80}
    team.settled()
    team.balance()
    assert team.living() == before
    assert {world.session(identity(name))["budget"] for name in SLOW} == {3}
    assert deaths(world) == ""


def test_a_session_whose_record_only_a_newer_version_can_read_is_left_alone(world: World) -> None:
    world.create("alice")
    world.create("bob")
    server = world.serve()
    for name in ("alice", "bob"):
        world.send(name, "one")
    tmux = world.tmux(identity("alice"))
    end(world, server.pid, signal.SIGTERM)
    rewrite(world, "alice", version=2)
    restarted(world, server.pid)
    result = world.send("alice", "two", "--wait", "2")
    assert (result["status"], result["reason"]) == ("queued", "unknown")
    assert world.send("bob", "two")["status"] == "delivered"
    doctor = world.run("doctor").stdout
    assert "another version of peerwake; upgrade, or stop the peer" in doctor
    rewrite(world, "alice", version=1)
    until(lambda: len(world.prompts("alice")) == 2, 20, "the delivery")
    assert world.tmux(identity("alice")) == tmux
    assert deaths(world) == ""


def test_a_server_that_is_started_while_another_one_still_ends_takes_over(world: World) -> None:
    world.root.config.write_text("tcp = false\nsystemd_scope = false\nstop_seconds = 8\n")
    script = {"mcp": "off", "rules": [{"match": "long", "busy_seconds": 30}]}  # no bridge that would start a server
    (world.create("alice") / "scripted.json").write_text(json.dumps(script))
    server = world.serve()
    world.send("alice", "long")
    tmux = world.tmux(identity("alice"))
    waits = Sender(world.root, "alice", "waits", 60)
    until(lambda: world.depth("alice") == 1, 10, "the waiting message")
    server.terminate()
    until(lambda: not answers(world.root), 10, "the end of the listener")
    assert server.poll() is None
    started = world.run("serve", "--background", "--no-tcp")
    assert started.returncode == 0, started.stderr + world.log("server")
    assert server.wait(15) == 0
    assert waits.answered()["status"] == "queued"
    assert [answer.error for answer in waits.answers] == [None]
    assert replaced(world, server.pid)["role"] == "supervisor"
    assert world.tmux(identity("alice")) == tmux and tmux.is_alive()
