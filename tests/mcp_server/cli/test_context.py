"""The environment is read once, and leads to the same root as everywhere else."""

import io
import os
from pathlib import Path

import pytest

from mcp_server.cli.context import Context
from transport.paths import root_from_environment


@pytest.mark.parametrize("home", ["/srv/pw", "relative/pw", "~/pw", ""])
def test_the_command_and_the_server_mean_the_same_root(
    home: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PEERWAKE_HOME", home)
    monkeypatch.chdir(tmp_path)
    context = Context(os.environ, io.StringIO(), io.StringIO())
    root = root_from_environment()
    assert Path(context.home) == root.home
    assert Path(context.server_socket) == root.server_socket


def test_a_directory_that_is_gone_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert Context({"HOME": "/", "PEERWAKE_HOME": "/x"}, io.StringIO(), io.StringIO()).cwd is None


def test_a_credential_that_is_empty_is_none() -> None:
    context = Context({"HOME": "/", "PEERWAKE_CREDENTIAL": ""}, io.StringIO(), io.StringIO())
    assert context.credential is None
