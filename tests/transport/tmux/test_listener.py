"""Who listens on a socket, as the kernel tells it."""

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.terminal import directory, terminal
from transport.process import identify
from transport.tmux.control import TmuxUnknown
from transport.tmux.listener import answers, listener


def test_the_listening_process_is_found_though_it_never_answers() -> None:
    with directory() as path, socket.socket(socket.AF_UNIX) as ours:
        ours.bind(str(path / "s"))
        ours.listen()
        assert listener(path / "s") == identify(os.getpid())


def test_nobody_listens_on_a_missing_or_stale_socket() -> None:
    with directory() as path:
        with socket.socket(socket.AF_UNIX) as ours:
            ours.bind(str(path / "s"))
        assert listener(path / "s") is None
        assert listener(path / "missing") is None


@pytest.mark.live
async def test_it_is_the_tmux_server_also_when_that_is_stopped() -> None:
    async with terminal() as term:
        os.kill(term.started.tmux.pid, signal.SIGSTOP)
        assert listener(term.spec.socket) == term.started.tmux


@pytest.mark.parametrize("look", [listener, answers])
def test_another_users_socket_is_no_tmux_server_of_ours(
    monkeypatch: pytest.MonkeyPatch, look: Callable[[Path], object]
) -> None:
    with directory() as path, socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(path / "s"))
        theirs.listen()
        theirs.setblocking(False)
        uid = os.geteuid()
        monkeypatch.setattr("transport.tmux.peer.os.geteuid", lambda: uid + 1)
        with pytest.raises(TmuxUnknown, match=rf"another user's \(uid {uid}\).* rm {path / 's'}"):
            look(path / "s")
        with pytest.raises(BlockingIOError):
            theirs.accept()


@pytest.mark.parametrize("look", [listener, answers])
def test_a_link_is_no_tmux_server_of_ours(look: Callable[[Path], object]) -> None:
    """It could lead to where another user exchanges the socket."""
    with directory() as path, socket.socket(socket.AF_UNIX) as ours:
        ours.bind(str(path / "s"))
        ours.listen()
        (path / "l").symlink_to(path / "s")
        with pytest.raises(TmuxUnknown, match=f"symbolic link.* rm {path / 'l'}"):
            look(path / "l")
