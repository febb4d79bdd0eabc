"""A full disk: the sender is told, nothing is half-written, nothing is lost, and it works again when there is space.

Checklist of issue 2: a full disk while spooling.
"""

import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.contract.bad_input import QuietWorld, files, private_world, refused, stored
from tests.contract.private_mount import fill, on_a_small_disk
from tests.live.control import Control
from tests.live.world import World, until
from transport.paths import Root
from transport.process import terminate

pytestmark = pytest.mark.live

MEBIBYTES = 24
BODY = "x" * 5_000


def on_a_full_disk(work: Callable[[World], None]) -> None:
    """Run `work` in a world whose root is a small disk."""
    home = Path(tempfile.mkdtemp(prefix="pw-", dir="/tmp"))

    def run() -> None:
        root = Root(home)
        root.prepare()
        world = QuietWorld(root)
        try:
            work(world)
        finally:
            (home / "filler").unlink(missing_ok=True)
            world.close()

    try:
        on_a_small_disk(home, MEBIBYTES, run)
    finally:
        shutil.rmtree(home)


def whole(world: World) -> bool:
    """Tell whether the database is sound."""
    with closing(sqlite3.connect(f"file:{world.root.spool}?mode=ro", uri=True)) as db:
        return bool(db.execute("PRAGMA integrity_check").fetchone() == ("ok",))


def until_refused(world: World, control: Control, name: str) -> tuple[list[str], dict[str, Any]]:
    """Send until the disk is full; returns the ids of what was accepted, and the error."""
    accepted: list[str] = []
    for number in range(3_000):
        answer = control.call("send", personality=name, message=f"{number} {BODY}", wait_seconds=0)
        if not answer["ok"]:
            return accepted, answer["error"]
        accepted.append(answer["result"]["message_id"])
    raise AssertionError("the disk is never full")


def test_a_sender_is_told_of_a_full_disk_and_nothing_is_half_written() -> None:
    def work(world: World) -> None:
        for name in ("alice", "bob"):
            world.create(name)
        server = world.serve()
        assert world.send("alice", "live")["status"] == "delivered"
        fill(world.root.home / "filler")
        with Control(world.root) as control:
            accepted, error = until_refused(world, control, "bob")
            assert error["code"] == "spool-full"
            for text in (str(world.root.spool), "no space", "nothing was stored", "free space"):
                assert text in error["message"]
            assert [row[0] for row in stored(world)][1:] == accepted
            line = refused(world.run("send", "alice", BODY * 5), 1, "no space", "free space")
            assert str(world.root.spool) in line
            assert [row[0] for row in stored(world)][1:] == accepted
            assert whole(world)
            assert server.poll() is None
            (world.root.home / "filler").unlink()
            assert control.send("alice", "again", wait_seconds=60)["status"] == "delivered"
            until(lambda: world.depth("bob") == 0, 60, "the deliveries")
            assert {row[3] for row in stored(world)} == {"consumed"}
            assert len(world.prompts("bob")) == len(accepted)
            assert whole(world)

    on_a_full_disk(work)


def test_without_a_server_a_sender_is_told_too() -> None:
    def work(world: World) -> None:
        world.create("alice")
        assert world.run("send", "alice", "kept").returncode == 3
        before = stored(world)
        fill(world.root.home / "filler")
        refused(world.run("send", "alice", BODY * 20), 1, "no space", str(world.root.home))
        (world.root.home / "filler").unlink()
        assert stored(world) == before
        assert whole(world)
        assert world.run("send", "alice", BODY * 20).returncode == 3
        assert len(stored(world)) == 2

    on_a_full_disk(work)


def test_a_session_that_dies_on_a_full_disk_does_not_take_the_server_with_it() -> None:
    def work(world: World) -> None:
        for name in ("alice", "bob"):
            world.create(name)
        server = world.serve()
        for name in ("alice", "bob"):
            assert world.send(name, "live")["status"] == "delivered"
        fill(world.root.home / "filler")
        tmux = world.tmux("scripted-alice")
        terminate(tmux, signal.SIGKILL)
        until(lambda: not tmux.is_alive(), 10, "the death")
        until(lambda: world.state("alice") == "asleep", 20, "the state")
        assert server.poll() is None
        (world.root.home / "filler").unlink()
        assert world.send("alice", "again")["status"] == "delivered"
        assert world.send("bob", "again")["woke"] is False

    on_a_full_disk(work)


def test_a_peer_is_made_whole_or_not_at_all() -> None:
    def work(world: World) -> None:
        world.create("alice")
        before = files(world.root.home)
        fill(world.root.home / "filler")
        refused(world.run("create", "dora", "--runtime", "scripted"), 1, str(world.root.home), "No space left")
        (world.root.home / "filler").unlink()
        after = {name: data for name, data in files(world.root.home).items() if not name.endswith(".lock")}
        assert after == {name: data for name, data in before.items() if not name.endswith(".lock")}
        assert [row["name"] for row in world.json("list")["peers"]] == ["alice"]
        world.create("dora")

    on_a_full_disk(work)


def test_files_that_may_not_grow_are_told_and_the_next_server_goes_on() -> None:
    with private_world() as world:
        world.create("alice")
        world.create("bob")
        assert world.run("stop", "bob").returncode in (0, 6)
        world.prefix = ("/bin/sh", "-c", 'ulimit -f 800; exec "$@"', "sh")
        server = world.serve()
        with Control(world.root) as control:
            control.call("stop", name="alice")
            control.call("start", name="alice")
            accepted, error = until_refused(world, control, "alice")
            assert error["code"] in ("spool-failed", "spool-full", "spool-uncertain"), error
            assert str(world.root.spool) in error["message"]
            certain = error["code"] != "spool-uncertain"
        assert server.poll() is None
        server.terminate()
        assert server.wait(20) == 0
        world.prefix = ()
        kept = [row[0] for row in stored(world)]
        assert kept[: len(accepted)] == accepted
        assert len(kept) == len(accepted) if certain else len(kept) <= len(accepted) + 1
        world.serve()
        until(lambda: world.depth("alice") == 0, 60, "the deliveries")
        assert len(world.prompts("alice")) == len(kept)
        assert whole(world)
