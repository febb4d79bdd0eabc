"""A server that is started detached from whoever asks."""

import argparse
import os
import socket
from contextlib import ExitStack

import pytest

from mcp_server.background import NotStarted, answers, command, start
from tests.live.world import World, until
from tests.mcp_server.no_log import KINDS, take_place_of
from transport.paths import Root
from transport.process import identify


def asked(**changes: object) -> argparse.Namespace:
    known = {"host": None, "port": None, "no_tcp": True, "allow_remote": False, "verbose": False}
    return argparse.Namespace(**(known | changes))


def test_the_command_line_says_what_was_asked(root: Root) -> None:
    assert command(asked())[1:] == ["-m", "mcp_server", "serve", "--no-tcp"]
    words = command(asked(host="::1", port=0, no_tcp=False, allow_remote=True, verbose=True))
    assert words[4:] == ["--host", "::1", "--port", "0", "--allow-remote", "--verbose"]


def test_only_a_listening_socket_answers(root: Root) -> None:
    assert not answers(root)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(root.server_socket))
    assert not answers(root)
    root.server_socket.unlink()
    with socket.socket(socket.AF_UNIX) as ours:
        ours.bind(str(root.server_socket))
        ours.listen()
        assert answers(root)


def test_a_server_whose_backlog_is_full_answers(root: Root) -> None:
    with ExitStack() as stack:
        ours = stack.enter_context(socket.socket(socket.AF_UNIX))
        ours.bind(str(root.server_socket))
        ours.listen(0)
        with pytest.raises(BlockingIOError):
            while True:
                waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(str(root.server_socket))
        assert answers(root)


def test_it_answers_when_start_returns_and_a_second_start_changes_nothing(root: Root) -> None:
    world = World(root)
    (root.home / "home").mkdir()
    try:
        done = world.run("serve", "--background", "--no-tcp")
        assert done.returncode == 0, done.stderr
        assert answers(root)
        pid = until(world.server_pid)
        process = identify(pid)
        assert process is not None and os.getsid(pid) == pid
        assert world.run("serve", "--background", "--no-tcp").returncode == 0
        assert world.server_pid() == pid
    finally:
        world.close()


def test_it_says_that_its_port_is_taken(root: Root) -> None:
    world = World(root, {"PEERWAKE_TCP": "true"})
    (root.home / "home").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        try:
            done = world.run("serve", "--background", "--port", str(port))
            assert (done.returncode, done.stdout) == (0, f"a server answers on {root.server_socket}\n")
            said = f"peerwake: port {port} of 127.0.0.1 is taken by another program; choose another with --port"
            assert done.stderr.startswith(said)
            assert done.stderr.count("\n") == 1
        finally:
            world.close()


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_in_the_place_of_its_log_does_not_hold_it_up(root: Root, kind: str) -> None:
    world, target = World(root), take_place_of(root.logs / "server.log", kind)
    (root.home / "home").mkdir()
    try:
        done = world.run("serve", "--background", "--no-tcp")
        assert done.returncode == 0, done.stderr
        assert target.read_text() == "mine"
    finally:
        world.close()


def test_one_that_cannot_start_says_where_its_reason_is(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERWAKE_ATTEMPTS", "many")
    with pytest.raises(NotStarted, match=r"ended with status \d+; see .*server\.log"):
        start(root, asked())
    assert "attempts = 'many'" in (root.logs / "server.log").read_text()
