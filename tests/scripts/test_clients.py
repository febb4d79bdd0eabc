"""The real clients are installed once for exactly the pinned versions."""

import json
import re
from pathlib import Path

import clients
import pytest


def test_pins_are_exact_versions() -> None:
    assert set(clients.COMMANDS.values()) == set(clients.PINS)
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", pin) for pin in clients.PINS.values())


def test_a_complete_installation_is_current(tmp_path: Path) -> None:
    (tmp_path / "installed.json").write_text(json.dumps(clients.PINS))
    assert not clients.is_current(tmp_path)
    (tmp_path / "node_modules/.bin").mkdir(parents=True)
    for command in clients.COMMANDS:
        (tmp_path / "node_modules/.bin" / command).touch()
    assert clients.is_current(tmp_path)


@pytest.mark.parametrize("text", [None, "", "{", "{}", "[]", '{"@openai/codex": "0.169.0"}'])
def test_anything_else_is_not(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "installed.json").write_text(text)
    assert not clients.is_current(tmp_path)


@pytest.mark.parametrize(
    ("says", "is_right"), [("2.1.328 (Claude Code)", True), ("2.1.197 (Claude Code)", False), ("", False)]
)
def test_an_installed_client_must_say_its_pin(tmp_path: Path, says: str, is_right: bool) -> None:
    command = tmp_path / "node_modules/.bin/claude"
    command.parent.mkdir(parents=True)
    command.write_text(f"#!/bin/sh\necho '{says}'\n")
    command.chmod(0o755)
    if is_right:
        clients.check_version(tmp_path, "claude")
    else:
        with pytest.raises(SystemExit, match=r"claude should be 2\.1\.328"):
            clients.check_version(tmp_path, "claude")
