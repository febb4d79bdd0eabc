"""The command as its users run it: a process with an environment of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from transport.paths import Root

TOP = Path(__file__).parents[3]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environ(root: Root, tmp_path: Path) -> dict[str, str]:
    """An environment with a root, a HOME and nothing of this session's."""
    home = tmp_path / "home"
    home.mkdir()
    return {"PATH": os.environ["PATH"], "HOME": str(home), "PEERWAKE_HOME": str(root.home), "PYTHONPATH": str(TOP)}


@pytest.fixture
def peerwake(environ: dict[str, str], tmp_path: Path) -> Run:
    """Run `peerwake` with arguments; `cwd`, `stdin` and further variables as keywords."""

    def run(*argv: str, cwd: Path = tmp_path, stdin: bytes = b"", **extra: str) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [sys.executable, "-m", "mcp_server", *argv],
            input=stdin,
            capture_output=True,
            cwd=cwd,
            env=environ | extra,
            timeout=60,
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    return run
