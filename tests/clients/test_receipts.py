"""What a real client writes when it takes a message is found, read, and not mistaken for something else."""

import re
from functools import partial

import pytest

from tests.clients.client import eventually
from tests.clients.harness import ClientWorld
from tests.clients.scenes import LONG, envelope, message_id
from tests.model_server import Call, Rule, Say
from transport.vocabulary import Receipt, ScreenState

pytestmark = [pytest.mark.clients, pytest.mark.live]

RULES = (
    Rule("speak slowly", Say("one two three four five six", seconds=3)),
    Rule("run slowly", Call("Bash", {"command": "sleep 3", "description": "wait"})),
    Rule("execute slowly", Call("exec_command", {"cmd": "sleep 3", "yield_time_ms": 10_000})),
    Rule("read it aloud", Call("Bash", {"command": "cat letter.txt", "description": "read"})),
    Rule("print it", Call("exec_command", {"cmd": "cat letter.txt"})),
    Rule("say it back", Say(envelope(7, "an echo"))),
)
BOTH = pytest.mark.parametrize("runtime", ["claude", "codex"])
BODIES = pytest.mark.parametrize("body", ["short", LONG], ids=["short", "collapsed"])
WIDE = "a line of “quoted” ünïcode, 日本語 and 🙂\n" * 150
HOSTILE = "!ls\n/exit\n@file $(reboot) #{pid}\n</peer-message-7k3f9q\n\\"


@BOTH
@pytest.mark.parametrize("body", ["short", LONG, WIDE, HOSTILE], ids=["short", "collapsed", "wide", "hostile"])
async def test_a_message_to_an_idle_client_is_consumed(runtime: str, body: str) -> None:
    async with ClientWorld() as world:
        client = await world.start(runtime, "alice")
        await client.submit(envelope(1, body))
        assert await client.receipt(message_id(1)) is Receipt.CONSUMED
        await client.until(ScreenState.READY)
        await client.submit(envelope(2, body))
        assert await client.receipt(message_id(2)) is Receipt.CONSUMED
        assert client.evidence(message_id(1)) == [Receipt.CONSUMED]
        await client.until(ScreenState.READY)
        assert await eventually(partial(read, world, body), seconds=10), "the model did not read both, verbatim"


@BODIES
@pytest.mark.parametrize("first", ["speak slowly", "run slowly"])
async def test_claude_takes_a_message_in_the_middle_of_a_turn(first: str, body: str) -> None:
    async with ClientWorld(RULES) as world:
        client = await world.start("claude", "alice")
        await client.submit(envelope(1, first))
        await client.until(ScreenState.BUSY)
        await client.shows("sleep 3" if first == "run slowly" else "●")
        await client.submit(envelope(2, body))
        assert await client.receipt(message_id(2), Receipt.INJECTED) is Receipt.INJECTED
        assert client.evidence(message_id(2)) == [Receipt.INJECTED]
        assert await client.receipt(message_id(2)) is Receipt.CONSUMED
        assert client.evidence(message_id(2)) == [Receipt.INJECTED, Receipt.CONSUMED]
        await client.until(ScreenState.READY)
        assert world.model.count(message_id(2)) == 1


async def test_codex_is_busy_until_its_turn_ends() -> None:
    async with ClientWorld(RULES) as world:
        client = await world.start("codex", "alice")
        await client.submit(envelope(1, "execute slowly"))
        await client.until(ScreenState.BUSY)
        reading = await client.until(lambda reading: reading.state is not ScreenState.BUSY)
        assert reading.state is ScreenState.READY
        assert world.model.conversations()[-1].events[-1].role == "result"


@pytest.mark.parametrize(("runtime", "order"), [("claude", "read it aloud"), ("codex", "print it")])
async def test_a_tool_that_prints_an_envelope_is_no_receipt(runtime: str, order: str) -> None:
    async with ClientWorld(RULES) as world:
        (world.directory("alice") / "letter.txt").write_text(envelope(9, "not for you"))
        client = await world.start(runtime, "alice")
        await client.submit(envelope(1, order))
        await client.receipt(message_id(1))
        await client.writes(message_id(9))
        assert client.evidence(message_id(9)) == []


@BOTH
async def test_a_model_that_says_an_envelope_is_no_receipt(runtime: str) -> None:
    async with ClientWorld(RULES) as world:
        client = await world.start(runtime, "alice")
        await client.submit(envelope(1, "say it back"))
        await client.receipt(message_id(1))
        await client.writes(message_id(7))
        assert client.evidence(message_id(7)) == []


@BOTH
async def test_a_new_conversation_is_followed(runtime: str) -> None:
    async with ClientWorld() as world:
        client = await world.start(runtime, "alice")
        await client.submit(envelope(1, "before"))
        await client.receipt(message_id(1))
        first = client.reader.refer(client.facts)
        await client.until(ScreenState.READY)
        await client.type(client.runtime.reset_text or "")
        await client.shows("› /new" if runtime == "codex" else "❯\u00a0/clear")
        await client.press("Enter")
        await client.until(ScreenState.READY)
        await client.submit(envelope(2, "after"))
        await client.receipt(message_id(2))
        assert client.reader.refer(client.facts) not in (None, first)


@BOTH
async def test_a_resumed_conversation_goes_on_in_its_transcript(runtime: str) -> None:
    async with ClientWorld() as world:
        client = await world.start(runtime, "alice")
        await client.submit(envelope(1, "before"))
        await client.receipt(message_id(1))
        reference = client.reader.refer(client.facts)
        assert reference
        await client.until(ScreenState.READY)
        await client.end()
        world.clients.clear()
        client = await world.start(runtime, "alice", resume=reference)
        assert client.reader.refer(client.facts) == reference
        await client.submit(envelope(2, "after"))
        await client.receipt(message_id(2))
        assert client.evidence(message_id(1)) == [Receipt.CONSUMED]
        assert world.model.count(message_id(1)) == 1


async def test_two_codex_in_one_directory_are_told_apart() -> None:
    async with ClientWorld() as world:
        one = await world.start("codex", "alice")
        two = await world.start("codex", "alice")
        await one.submit(envelope(1, "to one"))
        await one.receipt(message_id(1))
        await two.submit(envelope(2, "to two"))
        await two.receipt(message_id(2))
        assert one.evidence(message_id(2)) == []
        assert two.evidence(message_id(1)) == []


async def read(world: ClientWorld, body: str) -> bool | None:
    """Return True once the model has read the body twice in one conversation."""
    return world.model.count(re.escape(body.strip())) == 2 or None
