"""A real client in a fresh HOME comes to its ready input line, and no dialog is answered that is not known."""

import json
import os
import tomllib
from pathlib import Path

import pytest

from lifecycle.boot import BootEnd
from tests.clients.harness import NOBODY, ClientWorld
from transport.vocabulary import ScreenState

pytestmark = [pytest.mark.clients, pytest.mark.live]


@pytest.mark.parametrize("runtime", ["claude", "codex"])
async def test_a_first_start_ends_ready(runtime: str) -> None:
    async with ClientWorld() as world:
        world.configure(runtime, "alice")
        client = await world.launch(runtime, "alice")
        boot = await client.boot()
        assert boot.end is BootEnd.READY, boot.excerpt
        await client.until(ScreenState.READY)
        assert trusted(world, runtime) == [str(world.directory("alice"))]


@pytest.mark.parametrize("runtime", ["claude", "codex"])
async def test_a_second_start_shows_no_dialog(runtime: str) -> None:
    async with ClientWorld() as world:
        world.configure(runtime, "alice")
        first = await world.launch(runtime, "alice")
        assert (await first.boot()).dialogs == ("trust",)
        await first.end()
        world.clients.clear()
        client = await world.launch(runtime, "alice")
        object.__setattr__(client, "runtime", client.runtime.model_copy(update={"dialogs": ()}))
        assert (await client.boot()).end is BootEnd.READY


async def test_claude_says_what_it_does_before_the_first_prompt() -> None:
    async with ClientWorld() as world:
        client = await world.start("claude", "alice")
        assert client.status() is ScreenState.READY
        assert client.reader.refer(client.facts) == client.facts.session_id


async def test_an_unknown_dialog_is_reported_and_left_alone() -> None:
    async with ClientWorld() as world:
        client = await world.launch("claude", "alice", env={"ANTHROPIC_AUTH_TOKEN": "", "ANTHROPIC_API_KEY": "k" * 30})
        boot = await client.boot()
        assert boot.end is BootEnd.BLOCKED
        assert "Do you want to use this API key?" in boot.excerpt
        assert (await client.reading()).state in (ScreenState.ASKS, ScreenState.UNKNOWN)
        screen = await client.screen()
        assert any("❯ No (recommended)" in line for line in screen.lines)


@pytest.mark.skipif(os.geteuid() != 0, reason="these tests already run as an ordinary user")
@pytest.mark.parametrize("runtime", ["claude", "codex"])
async def test_a_first_start_of_an_ordinary_user_ends_ready(runtime: str) -> None:
    async with ClientWorld(ordinary_user=True) as world:
        world.configure(runtime, "alice")
        client = await world.launch(runtime, "alice")
        boot = await client.boot()
        assert (boot.end, boot.dialogs) == (BootEnd.READY, ("trust",)), boot.excerpt
        assert owner(client.started.pane.pid) == NOBODY
        await client.until(ScreenState.READY)


def owner(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def trusted(world: ClientWorld, runtime: str) -> list[str]:
    """Return the directories that the client itself has noted as trusted."""
    if runtime == "claude":
        projects = json.loads((world.home / ".claude.json").read_text())["projects"]
        return [path for path, facts in projects.items() if facts.get("hasTrustDialogAccepted")]
    projects = tomllib.loads((world.home / ".codex/config.toml").read_text())["projects"]
    return [path for path, facts in projects.items() if facts["trust_level"] == "trusted"]
