"""What `doctor` says of sessions that a restart of the server's unit would end."""

import io
import json
import os
from pathlib import Path

import pytest

from lifecycle.session import Session, Sessions
from lifecycle.states import Mode
from mcp_server.cli.commands.doctor import checks
from mcp_server.cli.context import Context
from mcp_server.cli.doctor.finding import Level
from mcp_server.cli.doctor.scopes import scopes
from transport.identity import Identity
from transport.paths import Root
from transport.process import identify

SLICE = "/user.slice/user-1000.slice/user@1000.service/app.slice"
UNIT = f"{SLICE}/peerwake.service"
SERVER = 4_000_001


def place(proc: Path, pid: int, cgroup: str) -> None:
    (proc / str(pid)).mkdir(exist_ok=True)
    (proc / str(pid) / "cgroup").write_text(f"0::{cgroup}\n")


@pytest.fixture
def proc(root: Root, tmp_path: Path) -> Path:
    """A server in its unit, and the live session of alice, whose tmux server is this process."""
    root.discovery.write_text(json.dumps({"pid": SERVER}))
    place(tmp_path, SERVER, UNIT)
    save(root, "alice")
    return tmp_path


def save(root: Root, name: str, pid: int | None = None) -> None:
    tmux = identify(pid or os.getpid())
    Sessions(root).save(Session(Identity("scripted", name), "h", "t", "/", "f", 0.0, Mode.FRESH, "s", tmux=tmux))


def test_a_session_in_the_unit_of_the_server_is_named(root: Root, proc: Path) -> None:
    place(proc, os.getpid(), UNIT)
    (finding,) = scopes(root, proc)
    assert (finding.level, finding.subject) == (Level.WARNING, "scopes")
    assert finding.text.startswith("scripted-alice is in peerwake.service with the server: to restart or stop")
    assert finding.mend is not None and finding.mend.endswith("peerwake new alice")
    for name in ("bob", "carol", "dave"):
        save(root, name)
    (finding,) = scopes(root, proc)
    assert finding.text.startswith("scripted-alice, scripted-bob, scripted-carol and 1 more are in peerwake.service")


def test_a_session_elsewhere_is_not(root: Root, proc: Path) -> None:
    place(proc, os.getpid(), f"{SLICE}/run-r1.scope")
    assert list(scopes(root, proc)) == []


def test_a_server_that_is_in_no_service_says_nothing(root: Root, proc: Path) -> None:
    for cgroup in ("/", "/user.slice/user-1000.slice/session-3.scope"):
        place(proc, SERVER, cgroup)
        place(proc, os.getpid(), cgroup)
        assert list(scopes(root, proc)) == []


def test_nothing_is_said_without_a_server_or_of_what_cannot_be_read(root: Root, proc: Path) -> None:
    place(proc, os.getpid(), UNIT)
    Sessions(root).path(Identity("scripted", "alice")).write_text("{")
    assert list(scopes(root, proc)) == []
    save(root, "alice")
    root.discovery.write_text("{}")
    assert list(scopes(root, proc)) == []
    root.discovery.unlink()
    assert list(scopes(root, proc)) == []


def test_the_report_looks_for_it(root: Root) -> None:
    context = Context({"PEERWAKE_HOME": str(root.home)}, io.StringIO(), io.StringIO())
    assert list(checks(context)["scopes"]()) == []
