"""The real clients, the conformance suite and the inspector are installed once for exactly the pinned versions."""

import json
import re
from pathlib import Path

import pytest
from clients import CLIENTS
from conformance import PROTOCOL
from npm_bundle import Bundle, programs

BUNDLES = pytest.mark.parametrize("bundle", [CLIENTS, PROTOCOL], ids=lambda bundle: bundle.title)


@BUNDLES
def test_pins_are_exact_versions(bundle: Bundle) -> None:
    assert set(bundle.commands.values()) == set(bundle.pins)
    assert all(re.fullmatch(r"\d+\.\d+\.\d+(-alpha\.\d+)?", pin) for pin in bundle.pins.values())


@BUNDLES
def test_a_complete_installation_is_current(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "installed.json").write_text(json.dumps(bundle.pins))
    assert not bundle.is_current(tmp_path)
    programs(tmp_path).mkdir(parents=True)
    for command in bundle.commands:
        (programs(tmp_path) / command).touch()
    assert bundle.is_current(tmp_path)


@BUNDLES
@pytest.mark.parametrize("text", [None, "", "{", "{}", "[]", '{"@openai/codex": "0.169.0"}'])
def test_anything_else_is_not(bundle: Bundle, tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "installed.json").write_text(text)
    assert not bundle.is_current(tmp_path)


@pytest.mark.parametrize(
    ("says", "is_right"), [("2.1.328 (Claude Code)", True), ("2.1.197 (Claude Code)", False), ("", False)]
)
def test_an_installed_client_must_say_its_pin(tmp_path: Path, says: str, is_right: bool) -> None:
    program(tmp_path, "claude", f"#!/bin/sh\necho '{says}'\n")
    if is_right:
        CLIENTS.check_version(tmp_path, "claude")
    else:
        with pytest.raises(SystemExit, match=r"claude should be 2\.1\.328"):
            CLIENTS.check_version(tmp_path, "claude")


def test_an_installed_program_runs_with_the_node_beside_it(tmp_path: Path) -> None:
    program(tmp_path, "node", "#!/bin/sh\necho 2.12.0\n")
    program(tmp_path, "mcp-inspector", "#!/usr/bin/env node\n")
    PROTOCOL.check_version(tmp_path, "mcp-inspector")


def program(place: Path, name: str, text: str) -> None:
    """Put a program where npm would."""
    path = programs(place) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
