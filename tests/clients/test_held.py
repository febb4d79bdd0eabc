"""What a person or a client has on the screen is left alone: questions, drafts, dialogs that nobody knows."""

from pathlib import Path

import pytest

from tests.clients.checks import all_is_quiet
from tests.clients.product import Product
from tests.clients.scenes import ESCALATED
from tests.model_server import Call, Rule, Say
from transport.screen import Screen
from transport.vocabulary import ScreenState

pytestmark = [pytest.mark.clients, pytest.mark.live]

BOTH = pytest.mark.parametrize("runtime", ["claude", "codex"])
ASKING = {
    "claude": Rule("ask permission", Call("Bash", {"command": "touch asked", "description": "touch"}), Say("done")),
    "codex": Rule("ask permission", Call("exec_command", ESCALATED | {"cmd": "touch asked"}), Say("done")),
}
MANUAL = 'argv = ["claude", "--session-id", "{session_id}", "--permission-mode", "manual"]\n'
QUESTION = {"claude": "Do you want to proceed?", "codex": "Would you like to run the following command?"}


@BOTH
async def test_nothing_is_typed_into_a_question(runtime: str) -> None:
    async with Product((ASKING[runtime],)) as product:
        product.runtime_file("claude", MANUAL)
        there = await product.create("alice", runtime)
        await product.serve()
        first = await product.send("alice", "ask permission", "--wait", "60")
        alice = await product.client("alice")
        before = below(await alice.shows(QUESTION[runtime]), QUESTION[runtime])
        second = await product.send("alice", "a second message", "--wait", "2")
        assert (second["status"], second["reason"]) == ("queued", "asks")
        row = await product.state("alice", "blocked")
        assert QUESTION[runtime] in row["detail"]
        assert below(await alice.screen(), QUESTION[runtime]) == before
        assert product.taken(alice) == [first["message_id"]]
        assert not (there / "asked").exists()
        await alice.press("Enter")
        await product.takes(alice, [first["message_id"], second["message_id"]])
        assert (there / "asked").exists()
        await all_is_quiet(product, alice)


@BOTH
async def test_a_draft_is_left_alone(runtime: str) -> None:
    async with Product() as product:
        await product.create("alice", runtime)
        await product.serve()
        first = await product.send("alice", "hello", "--wait", "60")
        alice = await product.client("alice")
        await alice.until(ScreenState.READY)
        await alice.type("half a thought")
        await alice.until(lambda reading: reading.input_text == "half a thought", "the draft")
        second = await product.send("alice", "a second message", "--wait", "2")
        assert (second["status"], second["reason"]) == ("queued", "draft")
        assert (await alice.reading()).input_text == "half a thought"
        assert product.taken(alice) == [first["message_id"]]
        await alice.press(*["BSpace"] * len("half a thought"))
        await product.takes(alice, [first["message_id"], second["message_id"]])
        assert product.model.count("half") == 0
        await all_is_quiet(product, alice)


def below(screen: Screen, text: str) -> tuple[str, ...]:
    """Return the lines from the one that holds `text` on; above it Claude's logo moves."""
    (first,) = [number for number, line in enumerate(screen.lines) if text in line]
    return screen.lines[first:]


UNKNOWN = {
    "claude": ("Do you want to use this API key?", ("Up", "Enter")),
    "codex": ("Trust this folder?", ("Enter",)),
}


@BOTH
async def test_an_unknown_dialog_is_reported_and_left_to_a_person(runtime: str) -> None:
    text, keys = UNKNOWN[runtime]
    async with Product(settings={"blocked_seconds": 2}) as product:
        there = await product.create("alice", runtime)
        if runtime == "claude":
            launch_env(there, runtime, "ANTHROPIC_AUTH_TOKEN=\nANTHROPIC_API_KEY=" + "k" * 30)
        else:
            product.runtime_file(
                "codex", '[[dialogs]]\nname = "trust"\npattern = "another question"\nkeys = ["Enter"]\n'
            )
        await product.serve()
        sent = [await product.send("alice", "first"), await product.send("alice", "second")]
        assert [(each["status"], each["reason"]) for each in sent] == [("queued", "blocked")] * 2
        alice = await product.client("alice")
        before = below(await alice.shows(text), text)
        row = await product.state("alice", "blocked")
        assert text in row["detail"]
        assert (row["queue_depth"], product.taken(alice)) == (2, [])
        assert below(await alice.screen(), text) == before
        await alice.press(*keys)
        await product.takes(alice, [each["message_id"] for each in sent])
        await product.emptied("alice")
        assert (await alice.until(ScreenState.READY)).input_text == ""


def launch_env(directory: Path, runtime: str, text: str) -> None:
    """Give a peer variables of its own, as a user does."""
    path = directory / ".peerwake" / "runtimes" / runtime / "launch.env"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")
    path.chmod(0o600)
