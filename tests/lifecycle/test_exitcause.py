"""The exit line that a silent hook owes: only for a dead client below a live tmux server, once, from the kernel."""

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lifecycle import canary
from lifecycle.exitcause import write_for_hook
from lifecycle.session import Session
from lifecycle.states import Mode
from tests.live.world import until
from transport.clock import SystemClock
from transport.identity import Identity
from transport.logs import Logs
from transport.paths import Root
from transport.process import ProcessId, identify

ALICE = Identity("claude", "alice")


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    """A process whose death this one, its parent, does not notice until the end of the test."""
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        yield process
        process.kill()


def session_of(child: "subprocess.Popen[bytes]") -> Session:
    us, agent = identify(os.getpid()), identify(child.pid)
    return Session(ALICE, "h", "t", "/", "f", 0.0, Mode.FRESH, "s", tmux=us, pane=agent)


def dead(child: "subprocess.Popen[bytes]") -> None:
    os.kill(child.pid, signal.SIGKILL)
    until(lambda: Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z", 10, "a zombie")


def test_a_dead_client_leaves_its_cause_once(root: Root, child: "subprocess.Popen[bytes]") -> None:
    logs, session = Logs(root.logs, SystemClock()), session_of(child)
    canary.directory(root).mkdir()
    watch = canary.watch_file(root, ALICE, os.getpid())
    watch.write_text("some process")
    assert not write_for_hook(root, logs, session)
    dead(child)
    assert write_for_hook(root, logs, session)
    assert watch.read_text() == ""
    assert not write_for_hook(root, logs, session)
    (line,) = (root.logs / "exits.log").read_text().splitlines()
    assert session.tmux is not None
    assert line.endswith(
        'ev=session-exit identity=claude-alice dead_status="" dead_signal=9'
        f" cause=SIGKILL by=supervisor server_pid={os.getpid()} server_started={session.tmux.started}"
    )


def test_a_line_that_cannot_be_written_is_still_owed(root: Root, child: "subprocess.Popen[bytes]") -> None:
    logs, session = Logs(root.logs, SystemClock()), session_of(child)
    canary.directory(root).mkdir()
    watch = canary.watch_file(root, ALICE, os.getpid())
    watch.write_text("some process")
    dead(child)
    (root.logs / "exits.log").mkdir()
    assert not write_for_hook(root, logs, session)
    assert watch.read_text() == "some process"
    (root.logs / "exits.log").rmdir()
    assert write_for_hook(root, logs, session)
    assert watch.read_text() == ""


def test_where_the_tmux_server_is_dead_nothing_is_written(root: Root, child: "subprocess.Popen[bytes]") -> None:
    logs, session = Logs(root.logs, SystemClock()), session_of(child)
    dead(child)
    assert not write_for_hook(root, logs, replace(session, tmux=ProcessId(os.getpid(), "1")))
    assert not write_for_hook(root, logs, replace(session, tmux=None))
    assert not (root.logs / "exits.log").exists()


def test_what_cannot_be_known_is_not_guessed(root: Root, child: "subprocess.Popen[bytes]") -> None:
    logs, session = Logs(root.logs, SystemClock()), session_of(child)
    gone = replace(session, pane=ProcessId(child.pid, "1"))
    assert write_for_hook(root, logs, gone)
    assert ' dead_status="" dead_signal="" cause=unknown by=supervisor ' in (root.logs / "exits.log").read_text()
