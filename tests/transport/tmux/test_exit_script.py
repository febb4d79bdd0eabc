"""The line of a death: whole, from builtins alone, with the cause that tmux or the kernel tells, never a guess."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.live.world import until
from tests.terminal import directory
from transport.logline import fields_of
from transport.tmux.exit_script import date_program, exit_script, of_server

NAMES = ["plain", "a b", "it's", '"x"', "$(touch pwned)", "`x`", "100% #{pid} ##[x", "grüße", "\\n"]
SERVER = " server_pid=77 server_started=5"


def lived(script: str, cwd: Path, **facts: object) -> "subprocess.CompletedProcess[bytes]":
    """Run a script as tmux does, with nothing on PATH."""
    given = {"ts": "now", "status": "", "signal": "", "server": "77", "started": "5", "pane": "1"} | facts
    head = " ".join(f"{name}={value}" for name, value in given.items())
    argv = ["/bin/sh", "-c", f"{head}; {script}"]
    return subprocess.run(argv, env={"PATH": "/nonexistent"}, cwd=cwd, capture_output=True, timeout=20, check=False)


def cause(**facts: object) -> str:
    """Return what the line says after the identity."""
    with directory() as path:
        assert lived(exit_script(path / "log", "claude-alice"), path, **facts).stderr == b""
        (line,) = (path / "log").read_text().splitlines()
        assert line.endswith(SERVER)
        return line.removeprefix("ts=now ev=session-exit identity=claude-alice ").removesuffix(SERVER)


@pytest.fixture
def zombie() -> Iterator["subprocess.Popen[bytes]"]:
    """A dead process that its parent, this one, does not reap before the end of the test."""
    code = "import os, sys; how = int(sys.stdin.readline()); os.kill(os.getpid(), -how) if how < 0 else os._exit(how)"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def die(process: "subprocess.Popen[bytes]", how: int) -> None:
    assert process.stdin is not None
    process.stdin.write(b"%d\n" % how)
    process.stdin.flush()
    until(lambda: Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2][0] == "Z", 10, "a zombie")


@pytest.mark.parametrize("name", NAMES)
def test_one_line_without_any_program_at_any_path(name: str) -> None:
    with directory() as path:
        log = path / name
        assert lived(exit_script(log, "claude-alice"), path, status=3).stderr == b""
        line = "ts=now ev=session-exit identity=claude-alice dead_status=3 dead_signal= cause=exit:3 by=tmux"
        assert log.read_text() == f"{line}{SERVER}\n"
        assert log.stat().st_mode & 0o777 == 0o600
        assert sorted(entry.name for entry in path.iterdir()) == [name]


@pytest.mark.parametrize("started", ["5817", "Sun Nov 29 18:34:40 2026", "it's \"$(touch pwned)"])
def test_the_line_tells_when_its_server_was_started(started: str) -> None:
    with directory() as path:
        assert lived(of_server(exit_script(path / "log", "claude-alice"), started), path, status=3).stderr == b""
        found = fields_of((path / "log").read_text())
        assert (found["server_pid"], found["server_started"]) == ("77", started)
        assert [entry.name for entry in path.iterdir()] == ["log"]


@pytest.mark.parametrize("name", NAMES)
def test_the_death_that_was_written_down_is_accounted_for(name: str) -> None:
    with directory() as path:
        watches = path / name
        watches.mkdir()
        (watches / "claude-alice.77").write_text("watched")
        for log, left in ((path / "missing" / "exits.log", "watched"), (path / "exits.log", "")):
            lived(exit_script(log, "claude-alice", watches), path, status=3)
            assert (watches / "claude-alice.77").read_text() == left
        assert not (path / "pwned").exists()


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"status": 0}, "dead_status=0 dead_signal= cause=exit:0 by=tmux"),
        ({"status": 137}, "dead_status=137 dead_signal= cause=exit:137 by=tmux"),
        ({"signal": 11}, "dead_status= dead_signal=11 cause=SIGSEGV by=tmux"),
        ({"signal": 6}, "dead_status= dead_signal=6 cause=SIGABRT by=tmux"),
        ({"signal": 15}, "dead_status= dead_signal=15 cause=SIGTERM by=tmux"),
        ({"signal": 250}, "dead_status= dead_signal=250 cause=signal:250 by=tmux"),
    ],
)
def test_what_tmux_tells(facts: dict[str, int], said: str) -> None:
    assert cause(**facts) == said


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (0, "dead_status=0 dead_signal= cause=exit:0 by=kernel"),
        (9, "dead_status=9 dead_signal= cause=exit:9 by=kernel"),
        (-signal.SIGSEGV, "dead_status= dead_signal=11 cause=SIGSEGV by=kernel"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows how a zombie died")
def test_what_tmux_does_not_tell_the_kernel_may(zombie: "subprocess.Popen[bytes]", how: int, said: str) -> None:
    die(zombie, how)
    assert cause(pane=zombie.pid) == said


def test_what_nobody_tells_is_not_guessed(zombie: "subprocess.Popen[bytes]") -> None:
    nothing = "dead_status= dead_signal= cause=unknown by=nobody"
    assert cause(pane=zombie.pid) == nothing  # it lives: it only closed its terminal
    assert cause(pane=2**22 + 1) == nothing
    assert cause(pane="") == nothing


def test_milliseconds_where_date_knows_them(tmp_path: Path) -> None:
    log, date = tmp_path / "log", date_program()
    assert date is not None
    before = time.time()
    lived(exit_script(log, "claude-alice", date=date), tmp_path, status=0)
    stamp = log.read_text().split()[0].removeprefix("ts=")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", stamp)
    assert before - 0.001 <= datetime.fromisoformat(stamp).timestamp() <= time.time()


@pytest.mark.parametrize("date", ["#!/bin/sh\necho 2026-11-20T10:00:00.3N+00:00\n", "#!/bin/sh\nexit 1\n", None])
def test_elsewhere_the_time_is_what_tmux_says(tmp_path: Path, date: str | None) -> None:
    program = tmp_path / "a 'date"
    if date is not None:
        program.write_text(date)
        program.chmod(0o700)
    lived(exit_script(tmp_path / "log", "claude-alice", date=str(program)), tmp_path, status=0)
    assert (tmp_path / "log").read_text().startswith("ts=now ev=session-exit ")


def test_a_log_that_cannot_be_written_ends_in_silence(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    assert lived(exit_script(tmp_path / "log", "claude-alice"), tmp_path, status=0).returncode != 0
    assert os.listdir(tmp_path) == ["log"]
