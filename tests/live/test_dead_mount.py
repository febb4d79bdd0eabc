"""A mount that nobody serves, with a peer on it and named by another: everybody else goes on, and the server ends."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.contract.bad_input import QuietWorld
from tests.contract.private_mount import on_a_dead_mount
from tests.live.control import Control
from tests.live.world import World, until
from transport.paths import Root

pytestmark = pytest.mark.live

SOON = {
    "PEERWAKE_TICK_SECONDS": "0.2",
    "PEERWAKE_MESSAGE_TTL_SECONDS": "20",
    "PEERWAKE_BACKOFF_SECONDS": "0.05",
    "PEERWAKE_WAKES_AT_ONCE": "1",
}
ENDLESS: Any = {"queue_while_busy": False, "rules": [{"match": "", "sleep_forever": True}]}


def beside_a_dead_mount(work: Callable[[World, Path], None]) -> None:
    """Run `work` in a world with the peers alice, bob (busy for ever) and dora, whose directory is on a dead mount."""
    home, place = (Path(tempfile.mkdtemp(prefix="pw-", dir="/tmp")) for _ in range(2))
    root = Root(home)
    root.prepare()
    world = QuietWorld(root, extra=SOON)
    world.create("alice")
    world.create("bob", rules=ENDLESS)
    (place / "dora").mkdir()
    made = world.run("create", "dora", "--runtime", "scripted", "--no-client-config", "--cwd", str(place / "dora"))
    assert made.returncode == 0, made.stderr

    def run() -> None:
        try:
            work(world, place)
        finally:
            world.close()

    try:
        on_a_dead_mount(place, run)
    finally:
        for path in (home, place):
            shutil.rmtree(path)


def test_a_dead_mount_holds_up_nobody_else() -> None:
    def work(world: World, place: Path) -> None:
        server = world.serve()
        refusals: list[dict[str, Any]] = []

        def attach() -> None:
            with Control(world.root) as control:
                for _ in range(2):
                    arguments = {"personality": "alice", "message": "see", "attachments": [str(place / "file")]}
                    refusals.append(control.call("send", **arguments))

        with Control(world.root) as control:
            assert control.send("dora", "are you there?", wait_seconds=0)["status"] == "queued"

            def held_back() -> str:
                (row,) = control.call("queue", personality="dora")["result"]["rows"]
                return f"{row['hold']}: {row['detail']}"

            until(lambda: held_back().startswith(f"unknown: {place / 'dora'} g"), 20, "the reason that dora waits")
            assert control.send("bob", "work", wait_seconds=60)["status"] == "delivered"
            waits = control.send("bob", "and then this", wait_seconds=0)["message_id"]
            sender = Thread(target=attach)
            sender.start()
            assert control.call("ping")["ok"]
            assert control.send("alice", "hello", wait_seconds=60)["status"] == "delivered"
            until(lambda: control.call("message", message_id=waits)["result"]["state"] == "dead", 40, "the expiry")
            sender.join(60)
        for refusal, said in zip(refusals, ("gave no answer in 5 s", "an earlier look at it still waits"), strict=True):
            assert (refusal["error"]["code"], refusal["error"]["field"]) == ("invalid", "attachments")
            assert said in refusal["error"]["message"], refusal
        log = world.log("lifecycle")
        assert log.count(f"area=directory path={place / 'dora'}") == 1, log
        server.terminate()
        assert server.wait(60) == 0

    beside_a_dead_mount(work)
