"""Idle sessions are closed, silently; whatever is not proven idle is left alone: real tmux, a real server."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.live.control import Control
from tests.live.world import World, until
from transport.identity import parse_identity
from transport.process import terminate
from transport.tmux.commands import attach_terminal
from transport.tmux.program import find_tmux

pytestmark = pytest.mark.live

ALICE = "scripted-alice"
IDLE_SECONDS = 1.2


@pytest.fixture
def reaping(world: World) -> World:
    """A world in which a session is idle after a moment; nobody else keeps a control client open for long."""
    world.extra |= {
        "PEERWAKE_IDLE_SECONDS": str(IDLE_SECONDS),
        "PEERWAKE_TICK_SECONDS": "0.2",
        "PEERWAKE_CONTROL_IDLE_SECONDS": "0.2",
        "PEERWAKE_HUMAN_QUIET_SECONDS": "1",
    }
    return world


def closed(world: World, why: str = "idle") -> int:
    return len(re.findall(rf"ev=close identity={ALICE} why={why}", world.log("lifecycle")))


def is_live(world: World) -> bool:
    return (world.root.state / f"{ALICE}.session").exists()


def stays(world: World, seconds: float = 3 * IDLE_SECONDS) -> None:
    """See that nothing is closed for a while that is long enough to be idle in."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert is_live(world) and not closed(world), world.log("lifecycle")
        time.sleep(0.05)


def keys(world: World, *words: str) -> None:
    socket = world.root.tmux_socket(parse_identity(ALICE))
    subprocess.run([find_tmux(), "-S", str(socket), "send-keys", "-t", "%0", *words], check=True, timeout=10)


def awake(world: World, rules: list[dict[str, Any]] | None = None, body: str = "hello", *flags: str) -> None:
    world.create("alice", rules=rules)
    world.serve()
    assert world.send("alice", body, *flags)["status"] == "delivered"


def test_an_idle_session_is_closed_without_a_trace_of_a_death_and_resumed_with_its_topic(reaping: World) -> None:
    awake(reaping, None, "hello", "--topic", "release")
    tmux = reaping.tmux(ALICE)
    until(lambda: closed(reaping), 20, "the end of the idle session")
    until(lambda: not tmux.is_alive() and not is_live(reaping), 10, "the end of its tmux server")
    assert reaping.state("alice") == "asleep"
    assert reaping.log("exits") == "" and not (reaping.root.state / f"{ALICE}.deaths").exists()
    assert "session-gone" not in reaping.log("lifecycle") and "server-dead" not in reaping.log("lifecycle")
    assert reaping.send("alice", "more", "--topic", "release")["woke"] is True
    assert re.search(rf"ev=wake identity={ALICE} mode=resume", reaping.log("lifecycle"))


def test_a_long_silent_generation_is_not_idle(reaping: World) -> None:
    """The agent works: no output, no line in its transcript, for far longer than an idle session may last."""
    awake(reaping, [{"match": "think", "freeze": 4 * IDLE_SECONDS, "say": "thought"}])
    assert reaping.send("alice", "think")["status"] == "delivered"
    before = (reaping.root.pane_log(parse_identity(ALICE))).stat().st_size
    stays(reaping, 3 * IDLE_SECONDS)
    assert (reaping.root.pane_log(parse_identity(ALICE))).stat().st_size - before < 500
    until(lambda: any(each.get("text") == "thought" for each in reaping.transcript("alice")), 10, "the answer")
    until(lambda: closed(reaping), 20, "the end once it is idle")


def test_a_busy_session_is_not_idle(reaping: World) -> None:
    awake(reaping, [{"match": "work", "busy_seconds": 4 * IDLE_SECONDS}])
    assert reaping.send("alice", "work")["status"] == "delivered"
    stays(reaping)
    until(lambda: closed(reaping), 20, "the end once it is idle")


@contextmanager
def touched(world: World) -> Iterator[None]:
    """Touch the transcript and the pane's log again and again, as backups and editors do."""
    paths = [*(world.root.peers / "alice/.peerwake/runtimes/scripted").glob("*.jsonl")]
    paths.append(world.root.pane_log(parse_identity(ALICE)))
    script = "import os, sys, time\nwhile os.getppid() > 1:\n [os.utime(p) for p in sys.argv[1:]]\n time.sleep(0.05)\n"
    process = subprocess.Popen(["python3", "-c", script, *map(str, paths)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_a_file_that_is_touched_keeps_no_idle_session_alive(reaping: World) -> None:
    awake(reaping)
    with touched(reaping):
        until(lambda: closed(reaping), 20, "the end of the idle session")


@contextmanager
def attached(world: World) -> Iterator[None]:
    """Have a person look at the session without pressing a key."""
    argv = attach_terminal(find_tmux(), world.root.tmux_socket(parse_identity(ALICE)), ALICE)
    master, slave = os.openpty()
    env = world.env | {"TERM": "xterm-256color"}
    person = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True)
    os.close(slave)
    try:
        yield
    finally:
        person.terminate()
        person.wait(10)
        os.close(master)


def test_a_person_at_the_terminal_keeps_it_open_until_they_leave(reaping: World) -> None:
    awake(reaping)
    with attached(reaping):
        stays(reaping)
    until(lambda: closed(reaping), 20, "the end after they left")


def test_a_draft_keeps_it_open_until_it_is_gone(reaping: World) -> None:
    awake(reaping)
    keys(reaping, "-l", "half a thought")
    stays(reaping)
    keys(reaping, "C-u")
    until(lambda: closed(reaping), 20, "the end after the draft")


def test_a_question_keeps_it_open(reaping: World) -> None:
    awake(reaping, [{"match": "ask", "ask": True}], "please ask")
    stays(reaping)
    assert reaping.state("alice") == "blocked"


def test_a_worker_with_a_task_is_not_idle(reaping: World) -> None:
    reaping.create("alice", "--ephemeral", rules=[{"busy_seconds": 4 * IDLE_SECONDS, "done": True}])
    reaping.serve()
    reaping.send("alice", "work", "--wait", "0")
    until(lambda: is_live(reaping), 20, "the worker")
    until(lambda: reaping.depth("alice") == 0, 60, "the end of its task")
    until(lambda: closed(reaping, "task"), 20, "the end of its session")
    assert closed(reaping) == 0


def test_a_conversation_with_a_worker_gives_way_to_its_tasks_once_it_is_idle(reaping: World) -> None:
    reaping.create("alice", "--ephemeral", rules=[{"match": "task", "done": True}])
    reaping.serve()
    with Control(reaping.root) as control:
        assert control.call("attach", name="alice")["ok"]
    conversation = reaping.tmux(ALICE)
    with attached(reaping):
        assert reaping.send("alice", "task", "--wait", "0")["status"] == "queued"
        stays(reaping)
        assert conversation.is_alive() and reaping.depth("alice") == 1
    until(lambda: reaping.depth("alice") == 0, 30, "the end of the task")
    assert closed(reaping) == 1 and not conversation.is_alive()
    until(lambda: closed(reaping, "task"), 20, "the end of the worker")


def test_an_adopted_session_is_closed_when_it_is_idle_and_its_time_starts_with_the_server(reaping: World) -> None:
    reaping.extra["PEERWAKE_IDLE_SECONDS"] = "600"
    awake(reaping)
    reaping.servers[0].kill()
    reaping.servers[0].wait()
    reaping.extra["PEERWAKE_IDLE_SECONDS"] = str(IDLE_SECONDS)
    began = time.monotonic()
    reaping.serve()
    until(lambda: closed(reaping), 20, "the end of the idle session")
    assert time.monotonic() - began >= IDLE_SECONDS


def test_a_session_that_gives_no_answer_is_wedged_not_dead_not_idle(reaping: World) -> None:
    reaping.extra["PEERWAKE_WEDGED_SECONDS"] = "0.5"
    awake(reaping)
    tmux = reaping.tmux(ALICE)
    terminate(tmux, signal.SIGSTOP)
    try:
        until(lambda: f"ev=wedged identity={ALICE}" in reaping.log("lifecycle"), 30, "the report")
        assert reaping.state("alice") == "blocked"
        stays(reaping, 12.0)
        assert reaping.log("lifecycle").count("ev=wedged") == 1
        assert tmux.pid in {int(path.name) for path in Path("/proc").glob("[0-9]*")}
    finally:
        terminate(tmux, signal.SIGCONT)
    until(lambda: f"ev=recovered identity={ALICE}" in reaping.log("lifecycle"), 20, "the recovery")
    until(lambda: closed(reaping), 30, "the end of the idle session")
