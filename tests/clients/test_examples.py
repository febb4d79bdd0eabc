"""Each file that users copy is started and called by the real client it is for, as it is."""

import json
import shutil
from pathlib import Path

import anyio.to_thread
import pytest

from tests.clients.product import Product
from tests.model_server import Call, Rule, Say
from tests.test_examples import BASE, EXAMPLES
from transport.process import Finished, run

pytestmark = [pytest.mark.clients, pytest.mark.live]

RULES = (Rule("who is there", Call("list_peers", {}), Say("that is all")),)


@pytest.mark.parametrize("transport", ["stdio", "http", "sse"])
async def test_claude_connects_and_calls(transport: str) -> None:
    async with Product(RULES) as product:
        directory, environ = await prepared(product, "claude")
        (directory / ".claude").mkdir()
        shutil.copy(EXAMPLES / f"mcp.{transport}.json", directory / ".mcp.json")
        shutil.copy(EXAMPLES / "settings.json", directory / ".claude/settings.json")
        trust = {"hasCompletedOnboarding": True, "projects": {str(directory): {"hasTrustDialogAccepted": True}}}
        (product.home / ".claude.json").write_text(json.dumps(trust))
        listed = await client(directory, environ, "claude", "mcp", "list")
        assert any("peerwake: " in line and "✔ Connected" in line for line in listed.stdout.splitlines()), listed
        said = await client(directory, environ, "claude", "-p", "who is there?")
        assert said.stdout.strip() == "that is all", said
        assert product.results("somebody to ask")


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_codex_connects_and_calls(transport: str) -> None:
    async with Product(RULES) as product:
        directory, environ = await prepared(product, "codex")
        (directory / ".codex").mkdir()
        text = (EXAMPLES / f"codex.{transport}.toml").read_text()
        (directory / ".codex/config.toml").write_text(text.replace(BASE, environ["PEERWAKE_URL"]))
        with (product.home / ".codex/config.toml").open("a") as config:
            config.write(f'\n[projects."{directory}"]\ntrust_level = "trusted"\n')
        listed = await client(directory, environ, "codex", "mcp", "list")
        assert any(line.startswith("peerwake ") and "enabled" in line for line in listed.stdout.splitlines()), listed
        said = await client(directory, environ, "codex", "exec", "--skip-git-repo-check", "who is there?")
        assert said.status == 0, said
        assert product.results("somebody to ask")


async def prepared(product: Product, runtime: str) -> tuple[Path, dict[str, str]]:
    """Return a peer's directory without any configuration, and the environment of its user."""
    programs = product.base / "bin"
    programs.mkdir()
    launcher = programs / "peerwake"
    launcher.write_text(
        f'#!/bin/sh\nPYTHONPATH="{product.environ["PYTHONPATH"]}" exec "{product.python}" -m mcp_server "$@"\n'
    )
    launcher.chmod(0o755)
    directory = await product.create("alice", runtime, "--no-client-config")
    await product.create("bob", "scripted", "--description", "somebody to ask")
    await product.serve()
    credential = (await product.json("mcp-config", "alice", "--credential"))["credential"]
    own = {
        "PATH": f"{programs}:{product.environ['PATH']}",
        "PEERWAKE_CREDENTIAL": credential,
        "PEERWAKE_URL": json.loads(product.root.discovery.read_text())["http"].rstrip("/"),
    }
    return directory.resolve(), {name: text for name, text in product.environ.items() if name != "PYTHONPATH"} | own


async def client(directory: Path, environ: dict[str, str], *argv: str) -> Finished:
    """Run a client to its end in a directory."""
    return await anyio.to_thread.run_sync(lambda: run(argv, deadline=90, env=environ, cwd=directory))
