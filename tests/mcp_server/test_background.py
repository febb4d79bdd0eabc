"""A server that is started detached from whoever asks."""

import argparse
import io
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from mcp_server import background
from mcp_server.background import NotStarted, answers, command, start
from mcp_server.cli import control
from mcp_server.cli.context import Context
from mcp_server.cli.main import run
from tests.live.world import TOP, World, until
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
        again = world.run("serve", "--background", "--no-tcp")
        assert (again.returncode, world.server_pid()) == (0, pid)
        assert again.stderr == "peerwake: it ran before; --no-tcp has no effect until it is started again\n"
        assert world.run("serve", "--background").stderr == ""
    finally:
        world.close()


def test_a_server_that_greets_nobody_does_not_answer(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(control, "CONNECT_SECONDS", 0.2)
    monkeypatch.setenv("PEERWAKE_HOME", str(root.home))
    said = io.StringIO()
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(root.server_socket))
        hung.listen()
        code = run(Context({"PEERWAKE_HOME": str(root.home)}, said, said), ["serve", "--background", "--no-tcp"])
    text = f"peerwake: the server at {root.server_socket} does not answer; see: peerwake doctor\n"
    assert (code, said.getvalue()) == (1, text)
    assert not (root.logs / "server.log").exists()


@pytest.mark.parametrize("is_told_to_end", [False, True])
def test_a_server_that_answers_late_is_waited_for_and_one_that_ends_replaced(root: Root, is_told_to_end: bool) -> None:
    world = World(root)
    try:
        server = world.serve()
        server.send_signal(signal.SIGSTOP)
        if is_told_to_end:
            server.terminate()
        argv = [sys.executable, "-m", "mcp_server", "serve", "--background"]
        with subprocess.Popen(argv, env=world.env, cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as asking:
            until(lambda: asking.poll() is not None or has_socket(asking.pid), what="the question")
            server.send_signal(signal.SIGCONT)
            assert asking.wait(60) == 0, asking.stdout and asking.stdout.read()
        assert (until(world.server_pid) == server.pid) is not is_told_to_end
        assert answers(root)
    finally:
        world.close()


def has_socket(pid: int) -> bool:
    with suppress(OSError):
        return any(str(path.readlink()).startswith("socket:") for path in Path(f"/proc/{pid}/fd").iterdir())
    return False


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
        start(Context({"PEERWAKE_HOME": str(root.home)}, io.StringIO(), io.StringIO()), root, asked())
    assert "attempts = 'many'" in (root.logs / "server.log").read_text()
