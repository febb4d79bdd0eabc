"""Which control clients have a file open."""

import os

import pytest

from tests.terminal import terminal
from transport.tmux.orphans import clients_holding

pytestmark = pytest.mark.live


async def test_a_control_client_is_found_by_the_lock_that_it_inherited() -> None:
    async with terminal() as term:
        lock = term.directory / "lock"
        pane = term.another_pane(lock)
        await pane.capture()
        (client,) = clients_holding(lock)
        assert client.pid != os.getpid()
        assert str(client.pid) in term.tmux("list-clients", "-F", "#{client_pid}").split()
        await pane.aclose()
        assert clients_holding(lock) == []


async def test_what_is_no_control_client_is_not_found_by_the_file_it_has_open() -> None:
    async with terminal() as term:
        lock = term.directory / "lock"
        with lock.open("w"):
            assert clients_holding(lock) == []
        with pytest.raises(FileNotFoundError):
            clients_holding(term.directory / "nothing")
