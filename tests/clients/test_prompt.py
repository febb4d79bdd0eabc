"""The composed prompt with the real clients: it stands beside what the user has told them, fresh and resumed."""

import json
from pathlib import Path
from typing import Any

import pytest

from lifecycle.runtimes.codex_hooks import hook_hash, prompt_words
from tests.clients.client import eventually
from tests.clients.product import Product
from tests.clients.resuming import BOTH, NAME, logged, reap, say
from transport.process import run
from transport.vocabulary import ScreenState

pytestmark = [pytest.mark.clients, pytest.mark.live]

NOTES = {"claude": "CLAUDE.md", "codex": "AGENTS.md"}
FIRST, SECOND = "Always mention the walrus.", "Always mention the ocelot."


def doctrine(directory: Path, text: str) -> Path:
    path = directory / ".peerwake" / "PEER.md"
    path.write_text(f"{text}\n")
    path.chmod(0o600)
    return path


async def request(product: Product, message_id: str) -> dict[str, Any]:
    """Return the request of the model that brought a message."""

    async def look() -> dict[str, Any] | None:
        for seen in product.model.seen:
            if seen.conversation and seen.conversation.tools and message_id in json.dumps(seen.body):
                return seen.body
        return None

    found = await eventually(look, 20)
    assert found is not None, f"no request of the model holds {message_id}"
    return found


async def instructions(product: Product, message_id: str) -> list[str]:
    """Return what the model was told by others than the user in the request that brought a message."""
    return told(await request(product, message_id))


def told(body: dict[str, Any]) -> list[str]:
    """Return the system prompt of a request of either kind, and the developer's messages of an OpenAI one."""
    system = body.get("system") or []
    parts = [system] if isinstance(system, str) else [part["text"] for part in system]
    for item in body.get("input") or []:
        if item.get("role") == "developer":
            parts += [part["text"] for part in item["content"]]
    return parts


def count(parts: list[str], text: str) -> int:
    return sum(part.count(text) for part in parts)


async def as_printed(product: Product) -> str:
    """Return what `peerwake prompt` says, as clients trim it."""
    return (await product.peerwake("prompt", NAME)).stdout.strip()


@BOTH
async def test_fresh_and_resumed_it_is_what_the_command_prints(runtime: str) -> None:
    async with Product() as product:
        directory = await product.create(NAME, runtime)
        (directory / NOTES[runtime]).write_text("The user likes herons.\n")
        doctrine(directory, FIRST)
        await product.serve()
        parts = await instructions(product, first := await say(product, "one", "release"))
        printed = await as_printed(product)
        assert any(printed in part for part in parts)
        assert count(parts, FIRST) == 1
        assert "herons" in json.dumps(await request(product, first))
        await reap(product)
        doctrine(directory, SECOND)
        parts = await instructions(product, second := await say(product, "two", "release"))
        printed = await as_printed(product)
        assert any(printed in part for part in parts)
        assert count(parts, SECOND) == 1
        whole = json.dumps(await request(product, second))
        assert first in whole and "herons" in whole, "it was not resumed"
        assert not logged(product, "resume-failed")


async def test_claude_forgets_the_old_doctrine_on_a_resume() -> None:
    async with Product() as product:
        directory = await product.create(NAME, "claude")
        doctrine(directory, FIRST)
        await product.serve()
        await say(product, "one", "release")
        await reap(product)
        doctrine(directory, SECOND)
        parts = await instructions(product, await say(product, "two", "release"))
        assert (count(parts, FIRST), count(parts, SECOND)) == (0, 1)


async def test_codex_is_not_told_twice_what_has_not_changed() -> None:
    async with Product() as product:
        directory = await product.create(NAME, "codex")
        doctrine(directory, FIRST)
        await product.serve()
        for body in ("one", "two", "three"):
            parts = await instructions(product, await say(product, body, "release"))
            assert count(parts, FIRST) == 1
            await reap(product)
        doctrine(directory, SECOND)
        parts = await instructions(product, await say(product, "four", "release"))
        assert (count(parts, FIRST), count(parts, SECOND)) == (1, 1)
        assert not any("prompt-hooks" in line.get("dialogs", "") for line in logged(product, "boot"))


async def test_codex_is_told_again_after_a_compaction_of_a_conversation_that_held_it() -> None:
    async with Product() as product:
        directory = await product.create(NAME, "codex")
        doctrine(directory, FIRST)
        await product.serve()
        await say(product, "one", "release")
        await reap(product)
        await say(product, "two", "release")
        alice = await product.client(NAME)
        await alice.submit("/compact")
        await alice.until(ScreenState.READY)
        assert count(await instructions(product, await say(product, "three", "release")), FIRST) == 1


@BOTH
async def test_a_bare_peer_is_told_nothing(runtime: str) -> None:
    async with Product() as product:
        await product.create(NAME, runtime)
        await product.serve()
        parts = await instructions(product, await say(product, "one"))
        assert count(parts, "peerwake prompt") == 0
        assert product.session(NAME).prompt is None
        assert not logged(product, "prompt")


async def test_codex_gets_a_long_prompt_whole_and_keeps_it_over_compaction_and_new() -> None:
    async with Product() as product:
        directory = await product.create(NAME, "codex")
        doctrine(directory, "\n".join(f"Rule {number}: be kind to animal {number}." for number in range(900)))
        await product.serve()
        printed = await as_printed(product)
        assert len(printed) > 30_000
        for index, command in enumerate(("", "/compact", "/new")):
            if command:
                alice = await product.client(NAME)
                await alice.submit(command)
                await alice.until(ScreenState.READY)
            parts = await instructions(product, await say(product, f"number {index}"))
            mine = [part for part in parts if part.startswith("<!-- part ")]
            assert len(mine) == 4, command
            lines = "\n".join(part.partition("\n")[2].rstrip("\n") for part in mine)
            assert lines == printed


async def test_codex_keeps_the_instructions_and_hooks_of_its_user() -> None:
    async with Product() as product:
        directory = await product.create(NAME, "codex")
        doctrine(directory, FIRST)
        config = product.home / ".codex" / "config.toml"
        before = 'developer_instructions = "The user prefers tabs."\n' + config.read_text()
        command = "echo the hook of the user"
        hook = f'\n[[hooks.SessionStart]]\nhooks = [{{ type = "command", command = "{command}" }}]\n'
        key = f"{config}:session_start:0:0"
        config.write_text(f'{before}{hook}\n[hooks.state."{key}"]\ntrusted_hash = "{hook_hash(command, {})}"\n')
        await product.serve()
        parts = await instructions(product, await say(product, "one"))
        for text in (FIRST, "The user prefers tabs.", "the hook of the user"):
            assert count(parts, text) == 1, text
        assert "PEER_PROMPT" not in config.read_text()


async def test_a_codex_that_hashes_hooks_otherwise_starts_without_its_prompt() -> None:
    words = [word.replace("sha256:", "sha512:") for word in prompt_words()]
    async with Product() as product:
        directory = await product.create(NAME, "codex")
        doctrine(directory, FIRST)
        product.runtime_file("codex", f"prompt_argv = {json.dumps(words)}\n")
        await product.serve()
        parts = await instructions(product, await say(product, "one"))
        assert count(parts, FIRST) == 0
        assert [line["dialogs"].split(",")[-1] for line in logged(product, "boot")] == ["prompt-hooks"]


async def test_nothing_of_the_prompt_is_in_an_argument_list() -> None:
    async with Product() as product:
        directory = await product.create(NAME, "codex")
        doctrine(directory, FIRST)
        await product.serve()
        await say(product, "one")
        lines = run(["ps", "-A", "-ww", "-o", "args="], deadline=10).stdout
        assert "walrus" not in lines
        assert "hooks.SessionStart" in lines
