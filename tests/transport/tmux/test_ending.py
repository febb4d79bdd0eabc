"""Ending real tmux servers, and noticing their end."""

import os
import signal
import subprocess
from dataclasses import replace
from typing import Any

import anyio
import anyio.from_thread
import pytest

from tests.clock import FakeClock
from tests.terminal import directory, until
from tests.tmux_servers import running, sh, written
from transport.process import DeadlinePassed, group, identify, start_time, terminate
from transport.tmux import server
from transport.tmux.ending import kill, wait_agents, wait_dead, wait_noticed
from transport.tmux.exit_script import exit_script
from transport.tmux.listener import answers
from transport.tmux.server import StartFailed, start

pytestmark = pytest.mark.live


async def test_the_cause_of_a_death_is_written_even_when_tmux_misses_the_signal() -> None:
    with directory() as path:
        hook = exit_script(path / "exits.log", "claude-alice")
        for number in range(12):
            started = await start(sh(path, f"sleep 0.{number + 5:02}; kill -9 $$", exit_hook=hook))
            with anyio.fail_after(8):
                assert await wait_noticed(started.tmux, started.pane)
        lines = (path / "exits.log").read_text().splitlines()
        assert len(lines) == 12
        assert all(" dead_status= dead_signal=9 cause=SIGKILL by=tmux" in line for line in lines)


async def test_a_deliberate_end_writes_nothing() -> None:
    with directory() as path:
        hook = exit_script(path / "exits.log", "claude-alice")
        async with running(sh(path, "read x", exit_hook=hook)):
            pass
        assert not (path / "exits.log").exists()
        assert not (path / "t.sock").exists()


@pytest.mark.parametrize("is_known", [True, False])
async def test_killing_ends_what_ignores_the_hangup(is_known: bool) -> None:
    with directory() as path:
        script = "trap '' HUP TERM; (trap '' HUP TERM; sleep 60) & echo $! >out; sleep 60; sleep 60"
        started = await start(sh(path, script))
        child = int(await written(path / "out"))
        assert {process.pid for process in group(started.pane.pid)} >= {started.pane.pid, child}
        await kill(path / "t.sock", started.tmux, pane=started.pane if is_known else None)
        assert not started.tmux.is_alive()
        assert start_time(child) is None and not started.pane.is_alive()


async def test_a_start_that_is_late_leaves_no_client_that_ignores_the_hangup(monkeypatch: pytest.MonkeyPatch) -> None:
    set_up = server._set_up
    with directory() as path:

        def late(*arguments: Any) -> None:
            set_up(*arguments)
            anyio.from_thread.run(written, path / "out")
            raise DeadlinePassed("tmux took too long")

        monkeypatch.setattr(server, "_set_up", late)
        with pytest.raises(StartFailed):
            await start(sh(path, "trap '' HUP TERM; echo $$ >out; sleep 60; sleep 60"))
        assert start_time(int((path / "out").read_text())) is None


async def test_a_daemon_that_left_its_pane_outlives_an_end_without_a_known_pane() -> None:
    with directory() as path:
        started = await start(sh(path, "setsid sleep 60 & echo $! >out; sleep 60"))
        child = identify(int(await written(path / "out")))
        assert child is not None
        try:
            await kill(path / "t.sock", started.tmux)
            assert child.is_alive() and not started.pane.is_alive()
        finally:
            terminate(child)


async def test_killing_a_stopped_server() -> None:
    with directory() as path:
        started = await start(sh(path, "read x"))
        os.kill(started.tmux.pid, signal.SIGSTOP)
        await kill(path / "t.sock", started.tmux, 0.3, pane=started.pane)
        assert not started.tmux.is_alive()
        await until(lambda: not started.pane.is_alive())


async def test_killing_touches_only_that_process() -> None:
    with directory() as path:
        sleeper = subprocess.Popen(["/bin/sleep", "60"])  # noqa: ASYNC220
        try:
            other = replace(identify(sleeper.pid), started="1")
            await kill(path / "t.sock", other)
            assert sleeper.poll() is None
        finally:
            sleeper.kill()
            sleeper.wait()


async def test_killing_a_server_spares_another_one_in_its_place() -> None:
    with directory() as path:
        started = await start(sh(path, "read x"))
        (path / "t.sock").unlink()
        other = await start(sh(path, "read x"))
        await kill(path / "t.sock", started.tmux, pane=started.pane)
        assert not started.tmux.is_alive()
        assert other.tmux.is_alive()
        assert answers(path / "t.sock")
        await kill(path / "t.sock", other.tmux, pane=other.pane)
        assert not (path / "t.sock").is_socket()


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="without pidfds a death is polled for")
async def test_a_death_is_noticed_without_looking_for_it() -> None:
    clock = FakeClock()
    with directory() as path:
        started = await start(sh(path, "read x"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: wait_dead(started.tmux, clock=clock))
            await anyio.wait_all_tasks_blocked()
            assert clock.sleeping == 0
            os.kill(started.tmux.pid, signal.SIGKILL)
        await wait_dead(started.tmux, clock=clock)
        await kill(path / "t.sock", started.tmux, pane=started.pane)


async def test_what_is_left_of_a_pane_is_waited_for_but_not_for_ever() -> None:
    """A shell goes with its terminal, a program that it runs writes on for a while."""
    clock = FakeClock()
    with directory() as path:
        started = await start(sh(path, "(trap '' HUP; echo ready >out; exec sleep 60) & read x"))
        await written(path / "out")
        os.kill(started.tmux.pid, signal.SIGKILL)
        await until(lambda: not started.pane.is_alive())
        (left,) = group(started.pane.pid)
        for ends in (False, True):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: wait_agents(started.pane, 1.0, clock=clock))
                await until(lambda: clock.sleeping == 1)
                if ends:
                    os.kill(left.pid, signal.SIGKILL)
                    await until(lambda: not left.is_alive())
                await clock.advance(0.02 if ends else 1.1)
        assert clock.now < 1.2
