"""The files that users copy are what peerwake itself writes, and the fleet's script makes its peers."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mcp_server.clients import claude, codex
from mcp_server.clients.connection import Connection, Transport
from transport.paths import Root

EXAMPLES = Path(__file__).parents[1] / "claude_config_examples"
BASE = "http://127.0.0.1:8765"
DEFAULTED = re.compile(r"\$\{[A-Z_]+:-([^}]*)\}")
CONNECTIONS = {
    "stdio": Connection(command="peerwake", args=("serve", "--transport", "stdio")),
    "http": Connection(Transport.HTTP, url=f"{BASE}/mcp"),
    "sse": Connection(Transport.SSE, url=f"{BASE}/sse"),
}


@pytest.mark.parametrize("transport", ["stdio", "http", "sse"])
def test_a_claude_file_is_what_we_write(transport: str) -> None:
    text = (EXAMPLES / f"mcp.{transport}.json").read_text()
    assert json.loads(DEFAULTED.sub(r"\1", text)) == json.loads(claude.render(CONNECTIONS[transport]))


@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_a_codex_file_is_what_we_write(transport: str) -> None:
    text = (EXAMPLES / f"codex.{transport}.toml").read_text()
    assert tomllib.loads(text) == tomllib.loads(codex.render(CONNECTIONS[transport]))


def test_the_settings_are_what_we_write(tmp_path: Path) -> None:
    changes = claude.plan(tmp_path.resolve(), CONNECTIONS["stdio"], environ={"HOME": "/nowhere"})
    (settings,) = [change for change in changes if change.path.name == "settings.json"]
    assert json.loads((EXAMPLES / "settings.json").read_text()) == json.loads(settings.new)


def test_the_readme_names_every_file() -> None:
    text = (EXAMPLES / "README.md").read_text()
    names = {path.name for path in EXAMPLES.iterdir()} - {"README.md"}
    assert {name for name in names if f"| `{name}` |" in text} == names


def test_no_file_holds_a_secret_or_a_place_of_somebody() -> None:
    for path in EXAMPLES.iterdir():
        text = path.read_text()
        assert not re.search(r"Bearer (?!\$\{)", text)
        assert not re.search(r"(?<![\w:.])/(?:home|root|Users)/", text)


def test_the_fleet_is_made_once(root: Root) -> None:
    programs = root.home / "bin"
    programs.mkdir()
    launcher = programs / "peerwake"
    launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mcp_server "$@"\n')
    launcher.chmod(0o700)
    home = root.home / "home"
    home.mkdir()
    environ = {
        "HOME": str(home),
        "PATH": os.pathsep.join((str(programs), "/usr/bin", "/bin")),
        "PEERWAKE_HOME": str(root.home),
        "PYTHONPATH": str(EXAMPLES.parent),
    }

    def run(*argv: str | Path) -> str:
        done = subprocess.run(argv, env=environ, cwd=home, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    first, second = run(EXAMPLES / "fleet.sh"), run(EXAMPLES / "fleet.sh")
    assert "author" in first
    assert second.count(" is there\n") == 3
    peers = {peer["name"]: peer for peer in json.loads(run(launcher, "list", "--json"))["peers"]}
    assert {name: (peer["default_runtime"], peer["wake_policy"]) for name, peer in peers.items()} == {
        "author": ("claude", "warm"),
        "reviewer": ("codex", "warm"),
        "tester": ("claude", "ephemeral"),
    }
    assert all(peer["description"] for peer in peers.values())
    assert list(home.iterdir()) == []
