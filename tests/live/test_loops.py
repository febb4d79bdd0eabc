"""Crash loops are told to those who wait, and many deaths at once are one event: real tmux, a real server."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.live.control import Control
from tests.live.world import World, until
from transport.process import terminate

pytestmark = pytest.mark.live


def dies_at_its_start(world: World) -> None:
    """A peer whose client ends while it boots, and two senders with a mouth of their own."""
    cwd = world.create("alice")
    (cwd / "scripted.json").write_text('{"boot": {"seconds": 0.3, "exit": 3}}')
    for name in ("bob", "carol"):
        world.create(name)
    world.extra["PEERWAKE_BACKOFF_SECONDS"] = "0.3"


def test_who_waits_is_answered_at_once_and_each_sender_gets_one_notice(world: World) -> None:
    dies_at_its_start(world)
    world.serve()
    for name in ("bob", "bob", "carol"):
        assert world.send("alice", "hello", "--from", name, "--wait", "0")["status"] == "queued"

    def wait() -> tuple[dict[str, object], float]:
        began = time.monotonic()
        with Control(world.root) as control:
            return control.send("alice", "are you there", wait_seconds=60), time.monotonic() - began

    with ThreadPoolExecutor() as threads:
        result, seconds = threads.submit(wait).result()
    assert (result["status"], result["reason"]) == ("queued", "crash-looping")
    assert seconds < 30
    assert world.state("alice") == "failed" and world.depth("alice") == 4
    for name in ("bob", "carol"):
        until(lambda name=name: world.prompts(name), 30, f"the notice to {name}")  # type: ignore[misc]
        until(lambda name=name: world.depth(name) == 0, 10, f"its end for {name}")  # type: ignore[misc]
        (notice,) = world.prompts(name)
        assert "dies again and again" in notice and "peerwake start alice" in notice
    assert world.run("send", "alice", "more").returncode == 4
    (world.root.peers / "alice" / "scripted.json").write_text("[]")
    assert world.run("start", "alice").returncode == 0
    until(lambda: world.depth("alice") == 0, 30, "the delivery of what waited")
    assert len(world.prompts("alice")) == 4
    assert (len(world.prompts("bob")), len(world.prompts("carol"))) == (1, 1)


def test_many_sessions_that_die_at_once_are_one_event(world: World) -> None:
    names = [f"peer{number}" for number in range(6)]
    for name in names:
        world.create(name)
    server = world.serve()
    with Control(world.root) as control:
        for name in names:
            assert control.send(name, "good morning", wait_seconds=60)["status"] == "delivered"
    # Stopped, the server cannot see the first death long before the last one, however busy the machine is.
    server.send_signal(signal.SIGSTOP)
    for each in [world.tmux(f"scripted-{name}") for name in names]:
        terminate(each, signal.SIGKILL)
    server.send_signal(signal.SIGCONT)
    until(lambda: "ev=mass-death" in world.log("lifecycle"), 15, "the report")
    (line,) = [line for line in world.log("lifecycle").splitlines() if "ev=mass-death" in line]
    assert "count=6" in line and all(f"scripted-{name}" in line for name in names)
    assert "ev=session-gone" not in world.log("lifecycle") and "ev=server-dead" not in world.log("lifecycle")
    until(lambda: world.log("exits").count("ev=server-exit") == 6, 15, "a cause for each")
    assert all(world.state(name) == "asleep" for name in names)
