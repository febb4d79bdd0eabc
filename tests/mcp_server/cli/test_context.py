"""The environment is read once, and leads to the same root as everywhere else."""

import io
import os
from pathlib import Path

import pytest

from mcp_server.cli.context import Context
from mcp_server.serve.bridge import configure
from transport.paths import root_from_environment


@pytest.mark.parametrize(
    ("home", "expected"),
    [
        ("/srv/pw", "/srv/pw"),
        ("/srv//./pw/", "/srv/pw"),
        ("relative/pw", "{here}/relative/pw"),
        ("~/pw", "{here}/pw"),
        ("", "{here}/.peerwake"),
        ("{here}/link/../pw", "{here}/link/../pw"),
        ("link/../pw", "{here}/link/../pw"),
    ],
)
def test_the_command_the_server_and_the_bridge_mean_the_same_root(
    home: str, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A symbolic link may lead elsewhere, so what follows it is the kernel's to follow, `..` too."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PEERWAKE_HOME", home.format(here=tmp_path))
    monkeypatch.chdir(tmp_path)
    context = Context(os.environ, io.StringIO(), io.StringIO())
    root = root_from_environment()
    bridged = configure([], os.environ)
    assert context.home == str(root.home) == bridged.home == expected.format(here=tmp_path)
    assert context.server_socket == str(root.server_socket) == bridged.socket


def test_a_directory_that_is_gone_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert Context({"HOME": "/", "PEERWAKE_HOME": "/x"}, io.StringIO(), io.StringIO()).cwd is None


def test_a_credential_that_is_empty_is_none() -> None:
    context = Context({"HOME": "/", "PEERWAKE_CREDENTIAL": ""}, io.StringIO(), io.StringIO())
    assert context.credential is None
