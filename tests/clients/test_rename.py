"""A renamed peer finds its conversation again with the real clients, though its directory was moved."""

import pytest

from tests.clients.product import Product
from tests.model_server import Rule, Say
from transport.vocabulary import ScreenState

pytestmark = [pytest.mark.clients, pytest.mark.live]

RULES = (Rule("remember kumquat", Say("noted")), Rule("go on", Say("as before")))


@pytest.mark.parametrize("runtime", ["claude", "codex"])
async def test_a_conversation_is_resumed_from_the_directory_it_moved_to(runtime: str) -> None:
    async with Product(RULES) as product:
        await product.create("alice", runtime)
        await product.serve()
        first = await product.send("alice", "remember kumquat", "--topic", "fruit", "--wait", "60")
        assert first["status"] == "delivered"
        before = await product.client("alice")
        await before.until(ScreenState.READY)
        transcript = before.reader.locate(before.facts)
        assert transcript is not None
        assert (await product.peerwake("stop", "alice")).status == 0
        done = await product.peerwake("rename", "alice", "alicia")
        assert done.status == 0, done.stderr
        assert (await product.peerwake("start", "alicia")).status == 0

        second = await product.send("alicia", "go on", "--topic", "fruit", "--wait", "60")
        assert (second["status"], second["woke"]) == ("delivered", True), product.log("lifecycle")
        after = await product.client("alicia")
        assert product.session("alicia").mode == "resume"
        await after.until(ScreenState.READY)
        assert product.taken(after) == [first["message_id"], second["message_id"]]
        found = after.reader.locate(after.facts)
        assert found is not None
        assert found.name == transcript.name
        assert runtime == "codex" or (not transcript.exists() and "peers-alicia" in found.parent.name)
        assert after.facts.cwd == product.root.peers / "alicia"
        texts = ["".join(event.text for event in each.events) for each in product.model.conversations()]
        assert any("remember kumquat" in text and "go on" in text for text in texts)
