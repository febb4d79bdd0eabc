"""Who listens on a socket, as the kernel tells it."""

import os
import signal
import socket

import pytest

from tests.terminal import directory, terminal
from transport.process import identify
from transport.tmux.listener import listener


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
