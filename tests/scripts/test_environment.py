"""The environment is rebuilt when what it was built from changes, by one process at a time."""

import select
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import environment
import pytest

TOP = Path(__file__).parent.parent.parent
HOLD = """
import environment, pathlib, sys
with environment.locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    top = tmp_path / "clone"
    top.mkdir()
    for name in ("pyproject.toml", *environment.LOCKS):
        shutil.copy(TOP / name, top / name)
    return top


@pytest.mark.parametrize("name", environment.LOCKS)
def test_a_changed_lock_asks_for_a_new_base(clone: Path, name: str) -> None:
    before = environment.wanted(clone, clone / ".venv")
    (clone / name).write_text("another==1\n")
    after = environment.wanted(clone, clone / ".venv")
    assert before.base != after.base
    assert before.project == after.project


def test_a_changed_project_asks_only_for_its_own_installation(clone: Path) -> None:
    before = environment.wanted(clone, clone / ".venv")
    (clone / "pyproject.toml").write_text("")
    after = environment.wanted(clone, clone / ".venv")
    assert before.base == after.base
    assert before.project != after.project


def test_a_moved_clone_asks_for_everything(clone: Path, tmp_path: Path) -> None:
    before = environment.wanted(clone, clone / ".venv")
    moved = clone.rename(tmp_path / "moved")
    after = environment.wanted(moved, moved / ".venv")
    assert before.base != after.base
    assert before.project != after.project


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"base": "x"}', '{"base": "x", "project": "y", "more": 1}'])
def test_a_broken_stamp_is_no_stamp(tmp_path: Path, text: str) -> None:
    (tmp_path / "peerwake.json").write_text(text)
    assert environment.found(tmp_path) is None


def test_a_stamp_is_read_back(tmp_path: Path) -> None:
    stamp = environment.Stamp("a", "b")
    environment.leave(tmp_path, stamp)
    assert environment.found(tmp_path) == stamp
    assert asdict(stamp) == {"base": "a", "project": "b"}


def test_only_an_environment_is_cleared(tmp_path: Path) -> None:
    precious = tmp_path / "home"
    precious.mkdir()
    (precious / "letter").write_text("dear")
    with pytest.raises(SystemExit, match="is not a virtual environment"):
        environment.clear(precious)
    assert (precious / "letter").exists()
    (precious / "pyvenv.cfg").write_text("")
    environment.clear(precious)
    assert not precious.exists()
    environment.clear(precious)


def test_one_process_at_a_time_and_a_killed_one_is_forgotten(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    argv = [sys.executable, "-c", HOLD, str(lock)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": TOP / "scripts"}
    with subprocess.Popen(argv, **pipes) as first, subprocess.Popen(argv, **pipes) as second:
        winner, waiter = (first, second) if first_to_speak(first, second) is first else (second, first)
        assert not is_ready(waiter, seconds=0.2)
        winner.kill()
        assert is_ready(waiter, seconds=20)
        waiter.communicate()
        winner.communicate()


def is_ready(process: subprocess.Popen[bytes], seconds: float) -> bool:
    return bool(select.select([process.stdout], [], [], seconds)[0])


def first_to_speak(*processes: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    ready, _, _ = select.select([process.stdout for process in processes], [], [], 20)
    return next(process for process in processes if process.stdout in ready)
