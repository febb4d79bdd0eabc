"""`peerwake config`: what is set, where, and what of it a running server has."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mcp_server.settings import ALL
from tests.mcp_server.cli.conftest import Run
from tests.mcp_server.cli.control_server import ControlServer
from transport.paths import Root


def rows(text: str) -> dict[str, list[str]]:
    return {words[0]: words[1:] for words in (line.split() for line in text.splitlines()[1:]) if words}


def test_every_setting_is_shown_with_value_unit_source_and_default(peerwake: Run, root: Root) -> None:
    root.config.write_text("\nattempts = 7\n")
    done = peerwake("config", PEERWAKE_PORT="0")
    shown = rows(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(shown) == list(ALL)
    assert shown["attempts"] == ["7", "count", "config.toml:2", "5"]
    assert shown["port"] == ["0", "port", "PEERWAKE_PORT", "8765"]
    assert shown["idle_seconds"] == ["3600", "seconds", "default", "3600"]
    assert shown["tcp"] == ["true", "true", "or", "false", "default", "true"]


def test_settings_asked_for_by_name_say_what_they_mean(peerwake: Run) -> None:
    done = peerwake("config", "attempts", "PEERWAKE_EPHEMERAL_MAX_SECONDS")
    assert done.returncode == 0
    assert list(rows(done.stdout))[:2] == ["attempts", "ephemeral_max_seconds"]
    assert f"attempts: {ALL['attempts'].meaning}; between 1 and 100\n" in done.stdout
    assert "or 0 (no bound)\n" in done.stdout


def test_an_unknown_name_suggests_the_nearest(peerwake: Run) -> None:
    done = peerwake("config", "attemps")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'attempts'?" in done.stderr


def test_what_is_wrong_is_told_line_by_line_and_the_rest_is_still_shown(peerwake: Run, root: Root) -> None:
    root.config.write_text("attempts = 0\nprot = 1\n")
    done = peerwake("config", PEERWAKE_TIKC_SECONDS="1", PEERWAKE_HOP_LIMIT="9")
    assert done.returncode == 1
    assert rows(done.stdout)["hop_limit"][:3] == ["9", "count", "PEERWAKE_HOP_LIMIT"]
    attempts, prot, tick = done.stderr.splitlines()
    assert attempts.startswith(f"peerwake: {root.config}:1: attempts = 0 cannot be used; ")
    assert prot.startswith(f"peerwake: {root.config}:2: there is no setting 'prot' (did you mean 'port'?)")
    assert tick.startswith("peerwake: PEERWAKE_TIKC_SECONDS: there is no such setting (did you mean")


@pytest.mark.parametrize(("text", "code"), [("attempts = 5\n", 0), ("attempts = 0\n", 1), ("[", 1)])
def test_a_check_prints_only_what_is_wrong(peerwake: Run, root: Root, text: str, code: int) -> None:
    root.config.write_text(text)
    done = peerwake("config", "--check")
    assert (done.returncode, done.stdout) == (code, "")
    assert bool(done.stderr) == bool(code)


def test_the_document_says_the_same(peerwake: Run, root: Root) -> None:
    root.config.write_text("attempts = 7\n")
    done = peerwake("config", "attempts", "--json", PEERWAKE_PROT="1")
    found = json.loads(done.stdout)
    (row,) = found["settings"]
    assert (row["name"], row["value"], row["default"], row["unit"]) == ("attempts", 7, 5, "count")
    assert (row["source"], row["range"]) == (f"{root.config}:1", "between 1 and 100")
    assert row["host"] and row["tenant_id"]
    assert (found["problems"], found["running"], len(found["warnings"])) == ([], None, 1)


def test_a_broken_file_is_a_document_too(peerwake: Run, root: Root) -> None:
    root.config.write_text("port =\n")
    done = peerwake("config", "--json")
    assert done.returncode == 1
    (problem,) = json.loads(done.stdout)["problems"]
    assert str(root.config) in problem


def announce(root: Root, pid: int, settings: dict[str, Any]) -> None:
    root.discovery.write_text(json.dumps({"pid": pid, "settings": settings}))


def answering(root: Root, pid: int) -> ControlServer:
    return ControlServer(Path(root.server_socket), lambda verb, args: {"pid": pid})


def test_a_running_server_with_other_settings_is_named_with_what_to_do(peerwake: Run, root: Root) -> None:
    root.config.write_text("attempts = 7\nhop_limit = 3\n")
    announce(root, 4711, {"attempts": [5, None], "hop_limit": [3, None], "port": [0, "command line"]})
    with answering(root, 4711):
        done = peerwake("config")
        (row, _) = json.loads(peerwake("config", "--json").stdout)["running"]["differs"]
    assert done.returncode == 0
    attempts, port = done.stderr.splitlines()
    assert attempts == (
        f"peerwake: the running server (pid 4711) has attempts = 5 (default), not 7 ({root.config}:1);"
        " it takes the new value when it is restarted"
    )
    assert port.endswith("has port = 0 (command line), not 8765 (default); it was started so")
    assert (row["name"], row["value"], row["here"]) == ("attempts", 5, 7)


def test_only_the_settings_that_were_asked_for_are_compared(peerwake: Run, root: Root) -> None:
    announce(root, 4711, {"attempts": [6, None], "hop_limit": [3, None]})
    with answering(root, 4711):
        done = peerwake("config", "hop_limit")
    assert done.stderr.count("the running server") == 1 and "hop_limit = 3" in done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"pid": 4711}',
        '{"pid": "x"}',
        '{"pid": 4711, "settings": 5}',
        '{"pid": 4711, "settings": {"attempts": 5, "new": [1, null]}}',
    ],
)
def test_a_discovery_file_that_says_nothing_of_settings_is_no_fault(peerwake: Run, root: Root, text: str) -> None:
    root.discovery.write_text(text)
    with answering(root, 4711):
        done = peerwake("config", "--json")
    assert (done.returncode, done.stderr) == (0, "")


def test_what_a_dead_server_left_behind_is_not_compared(peerwake: Run, root: Root) -> None:
    announce(root, os.getpid(), {"attempts": [6, None]})
    assert peerwake("config").stderr == ""
    with answering(root, 4711):
        assert peerwake("config").stderr == ""
