"""Every death leaves its cause, a deliberate end leaves nothing: real sessions, real tmux, a real server."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from lifecycle import canary
from tests.live.world import World, until
from transport.paths import Root
from transport.process import ProcessId, identify, terminate

pytestmark = pytest.mark.live


def exits(world: World) -> list[dict[str, str]]:
    """Return the lines of exits.log as fields, without their times."""
    lines = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in world.log("exits").splitlines()]
    assert all(line.pop("ts") for line in lines)
    return lines


def watched(world: World) -> list[str]:
    """Return the sessions whose deaths would be reported."""
    return sorted(path.name for path in canary.directory(world.root).glob("s*") if _size(path))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0  # the watcher removed it between the listing and the look


def watcher(world: World) -> ProcessId | None:
    """Return this world's watcher."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"watcher.py\0{world.root.home}\0".encode() in (entry / "cmdline").read_bytes():
                return identify(int(entry.name))
        except OSError:
            continue
    return None


def under_watch(world: World, process: ProcessId) -> None:
    """Return when the watcher would be told how this process ends; before that it could say no more than `unknown`."""
    until(lambda: _is_held(watcher(world), process), 20, f"the watch over {process.pid}")


def _is_held(holder: ProcessId | None, process: ProcessId) -> bool:
    """Tell whether a process holds the pidfd of another."""
    infos = [] if holder is None else Path(f"/proc/{holder.pid}/fdinfo").glob("*")
    try:
        return any(f"Pid:\t{process.pid}\n" in info.read_text() for info in infos)
    except OSError:
        return False  # one of them was closed, or the watcher has ended


def ended(process: ProcessId) -> None:
    until(lambda: not process.is_alive(), 20, f"the end of {process.pid}")


@pytest.mark.parametrize(
    ("rule", "fields"),
    [
        ({"exit": 0}, {"dead_status": "0"}),
        ({"exit": 1}, {"dead_status": "1"}),
        ({"exit": 137}, {"dead_status": "137"}),
        ({"crash": "SIGTERM"}, {"dead_status": "143"}),
        ({"crash": "SIGKILL"}, {"dead_signal": "9"}),
        ({"crash": "SIGSEGV"}, {"dead_signal": "11"}),
        ({"crash": "SIGABRT"}, {"dead_signal": "6"}),
    ],
    ids=str,
)
def test_the_end_of_an_agent_leaves_one_line_and_no_snapshot(
    world: World, rule: dict[str, object], fields: dict[str, str]
) -> None:
    world.create("alice", rules=[{"match": "die", **rule}])
    world.serve()
    world.send("alice", "hello")
    tmux = world.tmux("scripted-alice")
    world.send("alice", "die", "--wait", "0")
    ended(tmux)
    until(lambda: not watched(world), 10, "the end of the watch")
    server = world.servers[0]
    server.terminate()
    server.wait(20)
    until(lambda: watcher(world) is None, 10, "the end of the watcher")
    (line,) = exits(world)
    assert (line["ev"], line["identity"]) == ("session-exit", "scripted-alice")
    # The scripted agent answers SIGTERM by leaving in order, with the status a shell would give.
    assert {name: value for name, value in line.items() if value and name.startswith("dead_")} == fields
    assert not (world.root.logs / "server-deaths").exists()


def test_the_death_of_a_tmux_server_leaves_one_line_and_a_snapshot(world: World) -> None:
    world.create("alice")
    world.serve()
    world.send("alice", "hello")
    tmux = world.tmux("scripted-alice")
    under_watch(world, tmux)
    began = time.monotonic()
    terminate(tmux, signal.SIGKILL)
    (line,) = until(lambda: exits(world), 10, "the line")
    print(f"tmux killed, line seen after {(time.monotonic() - began) * 1e3:.1f} ms")
    assert (line["ev"], line["server_pid"], line["cause"]) == ("server-exit", str(tmux.pid), "SIGKILL")
    snapshot = world.root.logs / line["forensics"]
    until(snapshot.exists, 10, "the snapshot")
    assert "ev=wake identity=scripted-alice" in snapshot.read_text()
    assert world.send("alice", "again")["status"] == "delivered"
    assert len(exits(world)) == 1


def test_deliberate_ends_are_silent(world: World) -> None:
    world.create("alice")
    world.create("worker", "--ephemeral", rules=[{"match": "task", "done": True}])
    world.serve()
    world.send("alice", "hello")
    tmux = world.tmux("scripted-alice")
    assert world.run("stop", "alice").returncode == 0
    ended(tmux)
    world.send("worker", "task")
    until(lambda: world.depth("worker") == 0 and not watched(world), 60, "the end of the task")
    # Dismissed before it ends: a server that goes in between leaves its bridge, which starts the next one.
    until(lambda: not list((world.root.run / "tmux").iterdir()), 20, "the end of the worker's session")
    world.servers[0].terminate()
    world.servers[0].wait(20)
    until(lambda: watcher(world) is None, 10, "the end of the watcher")
    assert exits(world) == []
    assert not (world.root.logs / "server-deaths").exists()


def test_a_death_after_the_death_of_peerwake_is_recorded_all_the_same(world: World) -> None:
    world.create("alice")
    world.create("bob")
    server = world.serve()
    world.send("alice", "hello")
    world.send("bob", "hello")
    server.kill()
    server.wait(10)
    under_watch(world, world.tmux("scripted-alice"))
    terminate(world.tmux("scripted-alice"), signal.SIGKILL)
    (line,) = until(lambda: exits(world), 10, "the line")
    assert (line["identity"], line["cause"]) == ("scripted-alice", "SIGKILL")
    found = watcher(world)
    assert found is not None
    os.kill(found.pid, signal.SIGKILL)
    # The bridge of a session that is left may have started one already: then this one stands by.
    world.start_server()
    until(lambda: world.server_pid() not in (None, server.pid), 20, "another server")
    until(lambda: watcher(world) not in (None, found), 20, "another watcher")
    terminate(world.tmux("scripted-bob"), signal.SIGKILL)
    until(lambda: len(exits(world)) == 2, 10, "the second line")
    assert exits(world)[1]["identity"] == "scripted-bob"


def test_a_killed_watcher_is_replaced_within_a_tick(world: World) -> None:
    world.extra["PEERWAKE_TICK_SECONDS"] = "0.5"
    world.create("alice")
    world.serve()
    world.send("alice", "hello")
    found = until(lambda: watcher(world), 10, "the watcher")
    terminate(found, signal.SIGKILL)
    until(lambda: watcher(world) not in (None, found), 20, "another watcher")
    terminate(world.tmux("scripted-alice"), signal.SIGKILL)
    (line,) = until(lambda: exits(world), 10, "the line")
    assert line["ev"] == "server-exit"


def test_any_root_a_user_can_have(root: Root) -> None:
    odd = Root(root.home / "a b'\"$(touch x)%d#{pid}ü")
    odd.prepare()
    world = World(odd)
    try:
        world.create("alice", rules=[{"match": "die", "exit": 3}])
        world.serve()
        world.send("alice", "hello")
        tmux = world.tmux("scripted-alice")
        world.send("alice", "die", "--wait", "0")
        ended(tmux)
        until(lambda: not watched(world), 10, "the end of the watch")
        world.send("alice", "hello again")
        under_watch(world, world.tmux("scripted-alice"))
        terminate(world.tmux("scripted-alice"), signal.SIGKILL)
        until(lambda: len(exits(world)) >= 2, 10, "the lines")
        first, second = exits(world)
        assert (first["ev"], first["dead_status"]) == ("session-exit", "3")
        assert (second["ev"], second["cause"]) == ("server-exit", "SIGKILL")
        assert not list(root.home.rglob("x"))
    finally:
        world.close()


def test_memory_that_ran_out_is_what_the_line_says(world: World) -> None:
    eat = "ulimit -v 200000; exec python3 -c 'bytearray(1 << 30)'"
    world.run("create", "eater", "--runtime", "command", "--", "/bin/sh", "-c", eat)
    world.serve()
    world.send("eater", "hello", "--wait", "0")
    until(lambda: exits(world), 30, "the line")
    assert world.run("stop", "eater").returncode == 0
    assert {(line["ev"], line["dead_status"]) for line in exits(world)} == {("session-exit", "1")}


def test_why_and_logs_tell_of_a_death(world: World) -> None:
    world.create("alice", rules=[{"match": "die", "crash": "SIGSEGV"}])
    world.serve()
    world.send("alice", "hello")
    tmux = world.tmux("scripted-alice")
    world.send("alice", "die", "--wait", "0")
    ended(tmux)
    until(lambda: exits(world), 10, "the line")
    state, since, why = world.run("why", "alice").stdout.splitlines()
    assert "scripted-alice is " in state
    assert "unknown" not in since
    assert "the client was killed by signal 11" in why
    shown = world.run("logs", "alice").stdout
    assert " ev=wake " in shown
    assert " dead_signal=11" in shown


def test_a_program_that_is_missing_is_named(world: World) -> None:
    world.run("create", "ghost", "--runtime", "command", "--", "/nonexistent/ghost")
    world.serve()
    world.send("ghost", "hello", "--wait", "2")
    (_, _, why) = world.run("why", "ghost").stdout.splitlines()
    assert "/nonexistent/ghost" in why
    assert exits(world) == []
