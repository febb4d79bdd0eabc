"""What runs on a tmux server, also when it does not answer."""

import os
import signal
import threading

import pytest

from tests.terminal import directory, terminal, until
from transport.tmux.control import TmuxGone, TmuxUnknown
from transport.tmux.survey import Surveyor

pytestmark = pytest.mark.live


async def test_panes_and_clients() -> None:
    async with terminal() as term:
        found = await Surveyor().survey(term.spec.socket)
        (pane,) = found.panes
        assert (pane.pane_id, pane.pid) == (term.started.pane_id, term.started.pane.pid)
        assert not pane.dead
        (client,) = found.clients
        assert client.control and found.people == ()
        term.tmux("rename-session", "-t", "=demo-alice", "my own 1")
        assert [client.session for client in (await Surveyor().survey(term.spec.socket)).clients] == ["my own 1"]


async def test_names_with_blanks() -> None:
    async with terminal() as term:
        term.tmux("new-session", "-d", "-s", "my own work", "sleep 60")
        found = await Surveyor().survey(term.spec.socket)
        assert len(found.panes) == 2
        assert all(pane.command and " " not in pane.command for pane in found.panes)
        term.tmux("rename-session", "-t", "demo-alice", "not demo")
        found = await Surveyor().survey(term.spec.socket)
        assert [client.session for client in found.clients] == ["not demo"]


async def test_nobody_there_is_gone() -> None:
    with directory() as path, pytest.raises(TmuxGone):
        await Surveyor().survey(path / "nothing.sock")


async def test_a_killed_server_is_gone() -> None:
    async with terminal() as term:
        os.kill(term.started.tmux.pid, signal.SIGKILL)
        await until(lambda: not term.started.tmux.is_alive())
        with pytest.raises(TmuxGone):
            await Surveyor().survey(term.spec.socket)


async def test_a_stopped_server_is_unknown_and_costs_one_thread() -> None:
    async with terminal() as term:
        surveyor, before = Surveyor(), threading.active_count()
        os.kill(term.started.tmux.pid, signal.SIGSTOP)
        for _ in range(5):
            with pytest.raises(TmuxUnknown):
                await surveyor.survey(term.spec.socket, deadline=0.3)
        assert threading.active_count() <= before + 1
        os.kill(term.started.tmux.pid, signal.SIGCONT)

        async def answered() -> bool:
            try:
                return bool((await surveyor.survey(term.spec.socket)).panes)
            except TmuxUnknown:
                return False

        await until(answered)
