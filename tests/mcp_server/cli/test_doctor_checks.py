"""What `doctor` says of the clock, of clients' versions and configurations, of servers and of what hangs."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lifecycle.runtimes.table import load_table
from mcp_server.cli.commands.doctor import gathered
from mcp_server.cli.context import Context
from mcp_server.cli.doctor import clock, server
from mcp_server.cli.doctor.finding import Finding, Level, ok
from mcp_server.version import VERSION
from tests.mcp_server.cli.conftest import Run
from tests.mcp_server.cli.control_server import ControlServer
from tests.mcp_server.cli.test_doctor import status
from transport.clock import iso
from transport.create import NewPeer, create
from transport.files import locked
from transport.logs import logfmt
from transport.paths import Root
from transport.registry import Registry

Look = Callable[..., list[tuple[str, str]]]


@pytest.fixture
def look(peerwake: Run) -> Look:
    """Return what `doctor` says of one subject: levels and texts."""

    def findings(subject: str, **environ: str) -> list[tuple[str, str]]:
        found = json.loads(peerwake("doctor", "--json", **environ).stdout)["findings"]
        return [(each["level"], each["text"]) for each in found if each["subject"] == subject]

    return findings


def discovered(root: Root, started: float, **changes: Any) -> ControlServer:
    """Serve a root whose server says that it started at a wall time; it has an uptime of 100 s, and grows older."""
    root.discovery.write_text(json.dumps({"pid": os.getpid(), "started_at": iso(started)}))
    began = time.monotonic() - 100
    return ControlServer(
        root.server_socket, lambda verb, args: status(uptime_seconds=time.monotonic() - began, **changes)(verb, args)
    )


@pytest.mark.parametrize(
    ("ahead", "said"),
    [
        (0, ("ok", "steady")),
        (-60, ("warning", "it was set back by ")),
        (9e6, ("warning", "it jumped ahead by 90000")),
    ],
)
def test_a_clock_that_jumped(look: Look, root: Root, ahead: float, said: tuple[str, str]) -> None:
    with discovered(root, time.time() - 100 - ahead):
        ((level, text),) = look("clock")
    assert level == said[0]
    assert text.startswith(said[1])


@pytest.mark.parametrize("uptime", [100.0, 130.0, 160.0])
def test_a_server_that_answers_late_is_no_jump(root: Root, monkeypatch: pytest.MonkeyPatch, uptime: float) -> None:
    """It looked at its clock at some moment between the question and the answer."""
    now = [1_800_000_000.0]
    root.discovery.write_text(json.dumps({"started_at": iso(now[0] - 100)}))

    def ask_late(*_: Any, **options: Any) -> dict[str, float]:
        now[0] += 60
        return {"uptime_seconds": uptime}

    monkeypatch.setattr(clock, "ask", ask_late)
    monkeypatch.setattr(time, "time", lambda: now[0])
    findings = clock.clock(Context({"PEERWAKE_HOME": str(root.home)}, sys.stdout, sys.stderr), root)
    assert [each.text for each in findings] == ["steady"]


def test_files_from_the_future(look: Look, root: Root) -> None:
    for name in ("lifecycle.log", "exits.log"):
        (root.logs / name).touch()
    assert look("clock") == [("ok", "steady")]
    for name in ("lifecycle.log", "exits.log"):
        os.utime(root.logs / name, (time.time() + 3600,) * 2)
    ((level, text),) = look("clock")
    assert level == "warning"
    assert text == f"{root.logs / 'exits.log'} and 1 more have a time in the future"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Return a function that puts a `claude` of one version on a PATH, and returns that PATH."""

    def of(version: str) -> str:
        program = tmp_path / "claude"
        program.write_text(f"#!/bin/sh\necho '{version} (Claude Code)'\n")
        program.chmod(0o700)
        return f"{tmp_path}:/usr/bin:/bin"

    yield of


def claudes(found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(level, text) for level, text in found if text.startswith("claude")]


def test_a_client_of_a_version_that_nobody_tried(look: Look, root: Root, client: Callable[[str], str]) -> None:
    newest = load_table(root.runtimes).get("claude").verified[-1]
    assert claudes(look("clients", PATH=client("99.0.1")))[0][0] == "ok"  # no peer uses it
    create(Registry(root), NewPeer(runtimes=("claude",), name="alice"))
    ((level, text),) = claudes(look("clients", PATH=client("99.0.1")))
    assert (level, text.partition("version ")[2]) == (
        "warning",
        f"99.0.1: newer than {newest}, the last one its screens were verified with",
    )
    ((level, text),) = claudes(look("clients", PATH=client("1.0.0")))
    assert (level, "1.0.0: not 2." in text) == ("warning", True)
    assert claudes(look("clients", PATH=client(newest)))[0][0] == "ok"
    root.runtimes.mkdir()
    (root.runtimes / "claude.toml").write_text('verified = ["99.0.1"]\n')
    assert claudes(look("clients", PATH=client("99.0.1")))[0][0] == "ok"


def test_servers_of_other_versions(look: Look, root: Root) -> None:
    with ControlServer(root.server_socket, status(version="99.1")):
        assert look("server")[1] == ("warning", f"it runs version 99.1, newer than this command, which is {VERSION}")
    with ControlServer(root.server_socket, status(version="0.0.1")):
        assert look("server")[1] == ("warning", f"it runs version 0.0.1, this command is {VERSION}")
    with ControlServer(root.server_socket, status()):
        assert [level for level, _ in look("server")] == ["ok"]


def test_who_supervises_when_the_server_stands_by(look: Look, root: Root) -> None:
    with ControlServer(root.server_socket, status(role="standby")):
        assert look("supervisor")[0][0] == "error"
        with locked(root.supervisor_lock):
            ((level, text),) = look("supervisor")
    assert (level, text) == ("ok", f"pid {os.getpid()}; this server is its hot standby")


def test_lines_that_could_not_be_written_are_counted(look: Look, root: Root) -> None:
    with ControlServer(root.server_socket, status(log_failures=3)):
        assert look("logs") == [("warning", "3 log lines could not be written")]
    with ControlServer(root.server_socket, status(log_failures=0)):
        assert look("logs") == []


def test_a_snapshot_that_is_not_there(look: Look, root: Root) -> None:
    (root.logs / "server-deaths").mkdir()
    (root.logs / "server-deaths" / "a.txt").touch()
    fields = [{"forensics": f"server-deaths/{name}.txt"} for name in ("a", "b")] + [{"forensics": "none"}]
    lines = [logfmt(time.time() - 60, "server-exit", {"identity": "scripted-bob", **each}) for each in fields]
    (root.logs / "exits.log").write_text("\n".join(lines) + "\n")
    assert look("canary") == [
        ("warning", "1 snapshots of deaths could not be written, the last is server-deaths/b.txt")
    ]
    (root.logs / "server-deaths" / "b.txt").touch()
    assert look("canary") == []


@pytest.mark.parametrize("runtime", ["claude", "codex"])
def test_a_configuration_as_peerwake_writes_it(peerwake: Run, look: Look, root: Root, runtime: str) -> None:
    assert look("mcp") == []
    assert peerwake("create", "alice", "--runtime", runtime).returncode == 0
    assert look("mcp") == [("ok", "1 configuration of clients lead here")]


BRIDGE = {"type": "stdio", "command": sys.executable, "args": ["serve"]}


@pytest.mark.parametrize(
    ("text", "level", "said"),
    [
        (None, "warning", ".mcp.json has no server peerwake"),
        ("{}", "warning", ".mcp.json has no server peerwake"),
        ("{broken", "error", ".mcp.json cannot be read: "),
        ('{"mcpServers": {"peerwake": 7}}', "error", "mcpServers.peerwake is not a table"),
        ("[]", "error", "is not an object"),
        (BRIDGE | {"command": "/nonexistent/peerwake"}, "error", "it starts /nonexistent/peerwake, which is not there"),
        (BRIDGE | {"args": ["-S", "/old/bridge.py"]}, "error", "it runs /old/bridge.py, which is not there"),
        (BRIDGE | {"env": {"PEERWAKE_HOME": "/another"}}, "error", "it leads to the root /another, not to "),
        ({"type": "stdio"}, "error", "its entry has neither a command nor a url"),
    ],
    ids=str,
)
def test_a_configuration_that_does_not_lead_here(
    peerwake: Run, look: Look, root: Root, text: str | dict[str, Any] | None, level: str, said: str
) -> None:
    peerwake("create", "alice", "--runtime", "claude")
    path = root.peers / "alice" / ".mcp.json"
    path.unlink()
    if text is not None:
        path.write_text(text if isinstance(text, str) else json.dumps({"mcpServers": {"peerwake": text}}))
    ((found, shown),) = look("mcp")
    assert found == level
    assert said in shown
    before = path.read_bytes() if text is not None else None
    assert (path.read_bytes() if path.exists() else None) == before


def test_an_address_where_the_server_is_not(peerwake: Run, look: Look, root: Root) -> None:
    peerwake("create", "alice", "--runtime", "claude")
    ours, nowhere = "http://127.0.0.1:8765", None
    for url, listening, level in (
        ("http://127.0.0.1:1234/mcp", ours, "error"),
        ("http://localhost:8765/mcp", ours, "ok"),
        ("https://relay.example/mcp", ours, "ok"),
        ("http://localhost:8765/mcp", nowhere, "error"),
        ("https://relay.example/mcp", nowhere, "ok"),
    ):
        entry = {"mcpServers": {"peerwake": {"type": "http", "url": url}}}
        (root.peers / "alice" / ".mcp.json").write_text(json.dumps(entry))
        root.discovery.write_text(json.dumps({"http": listening}))
        assert [found for found, _ in look("mcp")] == [level]
        root.discovery.unlink()
        assert [found for found, _ in look("mcp")] == ["ok"]


def test_tools_that_the_client_would_ask_for(peerwake: Run, look: Look, root: Root) -> None:
    peerwake("create", "alice", "--runtime", "claude")
    (root.peers / "alice" / ".claude" / "settings.json").write_text('{"permissions": {"allow": ["mcp__peerwake__x"]}}')
    ((level, text),) = look("mcp")
    assert (level, "the client will ask before it uses send_to_peer" in text) == ("warning", True)


def test_many_broken_configurations_are_summed_up(look: Look, root: Root) -> None:
    registry = Registry(root)
    for number in range(8):
        create(registry, NewPeer(runtimes=("claude",), name=f"peer{number}"))
    found = look("mcp")
    assert len(found) == 6
    assert found[-1] == ("warning", "and 3 more are not as they should be")


def test_what_hangs_is_told_and_holds_up_nothing() -> None:
    never = threading.Event()

    def hang() -> list[Finding]:
        never.wait(30)
        return []

    found = gathered({"a": lambda: [ok("a", "1")], "b": hang, "c": lambda: [ok("c", "3")]}, seconds=0.5)
    never.set()
    assert [(each.subject, each.level) for each in found] == [("a", Level.OK), ("b", Level.ERROR), ("c", Level.OK)]
    assert found[1].text == "gave no answer in 0.5 s: a disk or a program hangs"


def test_versions_are_compared_by_their_numbers() -> None:
    assert server._numbers("0.10.0") > server._numbers("0.9.12")
