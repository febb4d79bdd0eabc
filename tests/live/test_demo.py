"""The README's first command, as it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent.parent

pytestmark = pytest.mark.live


def test_the_demo_shows_the_main_job_and_leaves_nothing(tmp_path: Path) -> None:
    before = set(Path("/tmp").glob("peerwake-demo-*"))
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PEER", "TMUX"))}
    env |= {"HOME": str(tmp_path), "PYTHONPATH": str(TOP)}
    argv = [sys.executable, str(TOP / "scripts/demo.py")]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "delivered to alice (scripted), woken for it" in done.stdout
    assert "alice is stopped; nothing was queued" in done.stdout
    read = done.stdout.partition("what bob read")[2]
    places = [read.index(text) for text in ("All green", "done: task 1", "done: task 2", "done: task 3")]
    assert places == sorted(places)
    assert set(Path("/tmp").glob("peerwake-demo-*")) <= before


def test_the_demo_refuses_what_it_does_not_know() -> None:
    argv = [sys.executable, str(TOP / "scripts/demo.py"), "emacs"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert "usage: scripts/demo" in done.stderr
