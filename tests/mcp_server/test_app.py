"""The task tree: who supervises, who stands by, and what a server is allowed to open."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from dataclasses import replace

import anyio
import pytest

from mcp_server import app
from mcp_server.app import OPEN_FILES, supervisor_lock
from mcp_server.settings import Settings
from tests.lifecycle.workshop import until as until_async
from tests.live.world import TOP, World, until
from tests.mcp_server.cli.conftest import Run, environ, peerwake
from transport.paths import Root

__all__ = ["environ", "peerwake"]
SETTINGS = replace(Settings(), takeover_poll_seconds=0.01)
QUIET = replace(SETTINGS, standby=False)


async def test_the_first_supervises_and_the_second_takes_over_when_it_ends(root: Root) -> None:
    said: list[str] = []
    order: list[str] = []
    done = anyio.Event()

    async def first() -> None:
        async with supervisor_lock(root, SETTINGS, anyio.Event(), said.append) as ours:
            assert ours
            order.append("first")
            await done.wait()
        order.append("ended")

    async def second() -> None:
        async with supervisor_lock(root, SETTINGS, anyio.Event(), said.append) as ours:
            assert ours
            order.append("second")

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            await until_async(lambda: order)
            tasks.start_soon(second)
            await until_async(lambda: said)
            done.set()
    assert order == ["first", "ended", "second"]
    assert said == ["another server supervises this root; standing by to take over"]


async def test_a_standby_that_is_told_to_stop_never_supervises(root: Root) -> None:
    stopping = anyio.Event()
    async with supervisor_lock(root, SETTINGS, anyio.Event(), print) as ours:
        assert ours
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:

                async def standby() -> None:
                    async with supervisor_lock(root, SETTINGS, stopping, lambda _: stopping.set()) as is_ours:
                        assert not is_ours

                tasks.start_soon(standby)


async def test_who_may_not_stand_by_leaves_as_soon_as_another_answers(root: Root) -> None:
    async with supervisor_lock(root, SETTINGS, anyio.Event(), print) as ours:
        assert ours
        async with await anyio.create_unix_listener(root.server_socket):
            with anyio.fail_after(5):
                async with supervisor_lock(root, QUIET, anyio.Event(), print) as is_ours:
                    assert not is_ours


async def test_who_may_not_stand_by_waits_for_one_that_ends(root: Root) -> None:
    over, tried = anyio.Event(), anyio.Event()

    async def ending() -> None:
        async with supervisor_lock(root, SETTINGS, anyio.Event(), print) as ours:
            assert ours
            tried.set()
            await over.wait()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ending)
            await tried.wait()
            tasks.start_soon(set_later, over)
            async with supervisor_lock(root, QUIET, anyio.Event(), print) as is_ours:
                assert is_ours and over.is_set()


async def set_later(event: anyio.Event) -> None:
    for _ in range(100):
        await anyio.lowlevel.checkpoint()
    event.set()


async def test_who_may_not_stand_by_does_not_wait_for_ever(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "GIVE_WAY_SECONDS", 0.05)
    quiet = replace(QUIET, stop_seconds=0.0)
    async with supervisor_lock(root, SETTINGS, anyio.Event(), print) as ours:
        assert ours
        with anyio.fail_after(5):
            async with supervisor_lock(root, quiet, anyio.Event(), print) as is_ours:
                assert not is_ours


def test_a_server_raises_its_limit_of_open_files_and_no_further_than_it_may() -> None:
    program = (
        "import resource as r, mcp_server.app as a; hard = r.getrlimit(r.RLIMIT_NOFILE)[1];"
        "r.setrlimit(r.RLIMIT_NOFILE, (200, hard)); a.allow_files(); print(r.getrlimit(r.RLIMIT_NOFILE)[0]);"
        "r.setrlimit(r.RLIMIT_NOFILE, (200, 300)); a.allow_files(); print(r.getrlimit(r.RLIMIT_NOFILE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=TOP, capture_output=True, text=True, timeout=60)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert done.stdout.split() == [str(min(OPEN_FILES, hard) if hard > 0 else OPEN_FILES), "300"], done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_a_server_cleanly(root: Root, number: signal.Signals) -> None:
    world = World(root)
    try:
        server = world.serve()
        assert root.discovery.exists()
        server.send_signal(number)
        assert server.wait(15) == 0
        assert not root.discovery.exists()
    finally:
        world.close()


def test_a_killed_server_leaves_nothing_in_the_way_of_the_next(root: Root) -> None:
    world = World(root)
    try:
        world.serve().kill()
        second = world.serve()
        assert until(lambda: world.server_pid() == second.pid)
    finally:
        world.close()


@pytest.mark.parametrize(("standby", "word"), [("false", "--port"), ("true", None)])
def test_a_server_whose_port_is_taken_serves_the_unix_socket(root: Root, standby: str, word: str | None) -> None:
    """One that a bridge starts, whatever its port; in the foreground one that was not told a port by a flag."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        world = World(root, {"PEERWAKE_TCP": "true", "PEERWAKE_STANDBY": standby, "PEERWAKE_PORT": port})
        try:
            world.serve(*([word, port] if word else []))
            assert json.loads(root.discovery.read_text())["http"] is None
            said = f"port {port} of 127.0.0.1 is taken by another program"
            until(lambda: f"{said}; choose another with --port or the setting port" in world.log("server"))
            until(lambda: said in world.log("lifecycle"))
            assert said in world.run("doctor").stdout
            world.create("alice")
            assert world.send("alice", "one")["status"] == "delivered"
        finally:
            world.close()


def test_a_standby_whose_port_was_taken_meanwhile_takes_over_all_the_same(root: Root) -> None:
    world = World(root, {"PEERWAKE_TCP": "true"})
    with socket.create_server(("127.0.0.1", 0)) as other:
        try:
            first = world.serve("--no-tcp")
            second = world.start_server("--port", str(other.getsockname()[1]))
            until(lambda: "standing by" in world.log("server"), what="the standby")
            first.terminate()
            until(lambda: world.server_pid() == second.pid, what="the takeover")
        finally:
            world.close()


def test_who_has_nobody_to_tell_goes_on(root: Root) -> None:
    """A standby whose terminal is gone has to take over all the same (I13)."""
    reading, writing = os.pipe()
    os.close(reading)
    script = "import os; from mcp_server.app import say; say('a'); os.write(2, b'b'); say('c'); print('on')"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=TOP, stdout=subprocess.PIPE, stderr=writing, text=True, timeout=20
    )
    os.close(writing)
    assert (done.returncode, done.stdout) == (0, "on\n")


def test_a_bad_setting_starts_nothing(peerwake: Run, root: Root) -> None:
    done = peerwake("serve", "--no-tcp", PEERWAKE_ATTEMPTS="many")
    assert done.returncode != 0
    assert "PEERWAKE_ATTEMPTS: attempts = 'many' cannot be used" in done.stderr
    assert not root.server_socket.exists()
