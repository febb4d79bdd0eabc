"""`peerwake serve`: what it refuses before it starts, and one line for what keeps it from starting."""

import socket
from pathlib import Path

import pytest

from tests.mcp_server.cli.conftest import Run
from transport.paths import Root


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["--transport", "stdio", "--port", "0"], "--port goes with --transport http"),
        (["--transport", "stdio", "--background"], "--background goes with --transport http"),
        (["--in-process"], "--in-process goes with --transport stdio"),
        (["--no-tcp", "--port", "1"], "--no-tcp goes without"),
        (["--no-tcp", "--host", ""], "--no-tcp goes without"),
        (["--background", "--host", ""], "--host is empty"),
        (["--allow-remote", "--host", ""], "--host is empty"),
        (["--port", "70000"], "--port 70000 is not between 0 and 65535"),
        (["--port", "-1"], "--port -1 is not between 0 and 65535"),
        (["--transport", "pigeon"], "invalid choice: 'pigeon'"),
        (["extra"], "one word too many: 'extra'"),
    ],
)
def test_usage(peerwake: Run, root: Root, argv: list[str], problem: str) -> None:
    done = peerwake("serve", *argv)
    assert (done.returncode, done.stdout) == (2, "")
    assert problem in done.stderr
    assert done.stderr.count("\n") == 1
    assert not root.server_socket.exists()


def test_a_port_that_is_taken(peerwake: Run, root: Root) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = peerwake("serve", "--port", str(port), PEERWAKE_STANDBY="true")
    assert done.returncode == 1
    assert str(port) in done.stderr
    assert done.stderr.count("\n") == 1
    assert not root.server_socket.exists()


def test_an_address_that_others_can_reach_needs_a_word(peerwake: Run, root: Root) -> None:
    done = peerwake("serve", "--host", "0.0.0.0", "--port", "0", PEERWAKE_STANDBY="true")
    assert done.returncode == 1
    assert "can be reached from other machines" in done.stderr
    assert done.stderr.count("\n") == 1


def test_settings_that_cannot_be_used(peerwake: Run, root: Root) -> None:
    done = peerwake("serve", PEERWAKE_PORT="many")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "PEERWAKE_PORT" in done.stderr


def test_a_root_that_cannot_be_used(peerwake: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = peerwake("serve", PEERWAKE_HOME=str(tmp_path / "file"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "PEERWAKE_HOME" in done.stderr
