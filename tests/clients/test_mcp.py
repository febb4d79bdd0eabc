"""The configuration that is written makes a real client reach the server, over each transport it speaks."""

from functools import partial

import pytest

from tests.clients.client import eventually
from tests.clients.harness import ClientWorld
from tests.model_server import Call, Rule, Say
from tests.model_wire import Role
from transport.process import run

pytestmark = [pytest.mark.clients, pytest.mark.live]

RULES = (Rule("who is there", Call("list_peers", {}), Say("that is all")),)
WRITTEN = [("claude", "stdio"), ("claude", "http"), ("claude", "sse"), ("codex", "stdio"), ("codex", "http")]


@pytest.mark.parametrize(("runtime", "transport"), WRITTEN)
async def test_a_client_calls_a_tool_without_asking(runtime: str, transport: str) -> None:
    async with ClientWorld(RULES) as world, world.server():
        await succeeds(world, "create", "alice", "--runtime", runtime, "--description", "who is asked")
        await succeeds(world, "mcp-config", "alice", "--client", runtime, "--transport", transport, "--write")
        await succeeds(world, "send", "alice", "who is there?", "--wait", "30")
        assert "who is asked" in (await eventually(partial(tool_result, world), seconds=30) or "")


async def test_claude_shows_the_server_as_connected() -> None:
    async with ClientWorld(RULES) as world, world.server():
        await succeeds(world, "create", "alice", "--runtime", "claude")
        await succeeds(world, "send", "alice", "hello", "--wait", "30")
        directory = world.root.peers / "alice"
        listed = run(["claude", "mcp", "list"], deadline=60, env=world.environ, cwd=directory)
        assert "peerwake: " in listed.stdout
        assert "✔ Connected" in listed.stdout


async def succeeds(world: ClientWorld, *words: str) -> None:
    done = await world.peerwake(*words)
    assert done.status == 0, done.stdout + done.stderr


async def tool_result(world: ClientWorld) -> str | None:
    """Return the latest answer of one of our tools, as the model saw it."""
    conversations = world.model.conversations()
    events = conversations[-1].events if conversations else ()
    return next((event.text for event in reversed(events) if event.role is Role.RESULT and "alice" in event.text), None)
