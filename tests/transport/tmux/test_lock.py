"""Who holds a pane, and what a crash leaves of that."""

import json
import os
import signal
import subprocess
import sys

import anyio
import pytest

from tests.terminal import TUI, terminal, until
from transport.files import LockHeld, locked
from transport.tmux.orphans import clients_holding

pytestmark = pytest.mark.live

HOLDER = """
import os, signal, sys, anyio
from pathlib import Path
from transport.clock import SystemClock
from transport.process import ProcessId
from transport.tmux import control
from transport.tmux.control import ControlClient

async def main():
    socket, lock, pid, started, is_killed_early = sys.argv[1:]
    if is_killed_early == "True":
        # Killed after the start of its client, before it could write down which one that is.
        control.note = lambda descriptor, client: os.kill(os.getpid(), signal.SIGKILL)
    client = ControlClient(tmux="tmux", socket=Path(socket), session="demo-alice",
        server=ProcessId(int(pid), started), clock=SystemClock(), lock=Path(lock))
    await client.command("list-sessions")
    print("holding", flush=True)
    await anyio.sleep_forever()

anyio.run(main)
"""


@pytest.mark.parametrize("is_stopped", [False, True])
async def test_a_crash_frees_the_lock_and_leaves_no_client(is_stopped: bool) -> None:
    async with terminal() as term:
        lock, tmux = term.directory / "lock", term.started.tmux
        argv = [sys.executable, "-c", HOLDER, str(term.spec.socket), str(lock), str(tmux.pid), tmux.started, "False"]
        holder = subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=TUI.parent.parent)  # noqa: ASYNC220
        assert holder.stdout is not None
        assert await anyio.to_thread.run_sync(holder.stdout.readline) == b"holding\n"
        holder.stdout.close()
        pane = term.another_pane(lock)
        with pytest.raises(LockHeld, match=f"held by process {holder.pid}"):
            await pane.capture()
        if is_stopped:
            os.kill(tmux.pid, signal.SIGSTOP)
        holder.kill()
        await anyio.to_thread.run_sync(holder.wait)
        os.kill(tmux.pid, signal.SIGCONT)
        await pane.capture()
        await term.pane.aclose()
        await until(lambda: len(term.tmux("list-clients").splitlines()) == 1)
        await pane.aclose()


@pytest.mark.parametrize("is_stopped", [False, True])
async def test_a_crash_between_the_start_of_a_client_and_its_note_holds_nobody_up(is_stopped: bool) -> None:
    async with terminal() as term:
        lock, tmux = term.directory / "lock", term.started.tmux
        argv = [sys.executable, "-c", HOLDER, str(term.spec.socket), str(lock), str(tmux.pid), tmux.started, "True"]
        if is_stopped:
            os.kill(tmux.pid, signal.SIGSTOP)
            argv[2] = HOLDER.replace("client = Con", "control.is_stopped = lambda pid: False; client = Con")
        holder = await anyio.run_process(argv, cwd=TUI.parent.parent, check=False)
        assert holder.returncode == -signal.SIGKILL
        assert "client" not in json.loads(lock.read_text())
        orphans = clients_holding(lock)
        if is_stopped:  # else it may have ended by itself
            assert len(orphans) == 1
            with pytest.raises(LockHeld), locked(lock):
                pass
        os.kill(tmux.pid, signal.SIGCONT)
        pane = term.another_pane(lock)
        await pane.capture()
        assert not any(orphan.is_alive() for orphan in orphans)
        await term.pane.aclose()
        await until(lambda: len(term.tmux("list-clients").splitlines()) == 1)
        await pane.aclose()


async def test_a_lock_file_full_of_nonsense_is_held_as_long_as_it_is() -> None:
    async with terminal() as term:
        lock = term.directory / "lock"
        for text in ("", "{}", "[]", '{"owner": 1, "client": 2}', "\xff" * 5000):
            lock.write_text(text)
            pane = term.another_pane(lock)
            with locked(lock), pytest.raises(LockHeld):
                await pane.capture()
            await pane.capture()
            await pane.aclose()
