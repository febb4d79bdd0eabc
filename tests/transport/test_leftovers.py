"""Half-made files go when the process that made them has died, and nothing else goes."""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from transport.leftovers import clear_leftovers


def dead_pid() -> int:
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


def test_what_a_dead_process_left_goes(tmp_path: Path) -> None:
    pid = dead_pid()
    (tmp_path / f".scripted-alice.session.{pid}.0123abcd.tmp").write_text("{")
    (tmp_path / f".peers.json.{pid}.ffffffff.tmp").write_text("{")
    assert clear_leftovers([tmp_path, tmp_path / "nowhere"]) == 2
    assert os.listdir(tmp_path) == []


def test_a_socket_that_was_never_put_into_place_goes() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name, socket.socket(socket.AF_UNIX) as left:
        left.bind(f"{name}/.{dead_pid()}.s")
        assert clear_leftovers([Path(name)]) == 1


def test_everything_else_stays(tmp_path: Path) -> None:
    pid = dead_pid()
    names = {
        f".state.{os.getpid()}.0123abcd.tmp",
        f"notes.{pid}.0123abcd.tmp",
        f".notes.{pid}.tmp",
        f".notes.{pid}.0123abcd.tmp.bak",
        ".notes.0.0123abcd.tmp",
        ".vimrc.s",
    }
    for name in names:
        (tmp_path / name).write_text("mine")
    (tmp_path / f".directory.{pid}.0123abcd.tmp").mkdir()
    assert clear_leftovers([tmp_path]) == 0
    assert set(os.listdir(tmp_path)) == {*names, f".directory.{pid}.0123abcd.tmp"}


def test_the_names_are_those_that_an_atomic_write_makes(tmp_path: Path) -> None:
    dies = "import os, sys, transport.files as files; files.replace = lambda *_: os._exit(9)"
    code = f"{dies}; from pathlib import Path; files.write_atomic(Path(sys.argv[1]), 'new')"
    top = Path(__file__).resolve().parent.parent.parent
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "state"], cwd=top, check=False).returncode == 9
    assert len(os.listdir(tmp_path)) == 1
    assert clear_leftovers([tmp_path]) == 1
