"""Fresh or resume with the real clients: what they remember after a session ended, and of which conversation."""

import signal
from collections.abc import Callable

import anyio.to_thread
import pytest

from tests.clients.client import Client, eventually
from tests.clients.product import Product
from tests.clients.resuming import BOTH, NAME, conversation_of, logged, read_together, reap, say
from tests.model_server import Rule, Say
from transport.process import terminate
from transport.vocabulary import ScreenState

pytestmark = [pytest.mark.clients, pytest.mark.live]


@BOTH
async def test_a_chain_of_reaps_and_resumes_is_one_conversation(runtime: str) -> None:
    async with Product() as product:
        await product.create(NAME, runtime)
        await product.serve()
        sent: list[str] = []
        references: set[str | None] = set()
        for number, topic in enumerate(("release", "Release", "release")):
            sent.append(await say(product, f"number {number}", topic))
            assert await read_together(product, sent[-1]) == sent
            alice = await product.client(NAME)
            references.add(conversation_of(alice))
            sent.append(await say(product, f"and {number}", f"topic {number}"))
            assert product.taken(alice) == sent
            await reap(product)
        assert len(references) == 1
        again = await say(product, "by another of its topics", "topic 1")
        assert await read_together(product, again) == [*sent, again]
        assert set(product.session(NAME).topics) == {"release", "topic 0", "topic 1", "topic 2"}
        assert [line["why"] for line in logged(product, "wake")] == ["first", "topic", "topic", "topic"]
        assert not logged(product, "resume-failed")


@BOTH
async def test_after_the_supervisor_has_closed_an_idle_session_the_old_topic_finds_it_again(runtime: str) -> None:
    async with Product(settings={"idle_seconds": 2, "tick_seconds": 0.5}) as product:
        await product.create(NAME, runtime)
        await product.serve()
        sent = [await say(product, "before", "release")]
        for _ in range(2):
            assert await product.state(NAME, "asleep")
            sent.append(await say(product, "after", "release"))
            assert await read_together(product, sent[-1]) == sent
        assert [line["why"] for line in logged(product, "close")] == ["idle", "idle"]
        assert product.log("exits") == ""


@BOTH
async def test_a_message_without_a_topic_or_with_a_new_one_finds_it_fresh(runtime: str) -> None:
    async with Product() as product:
        await product.create(NAME, runtime)
        await product.serve()
        references = []
        for topic in ("release", None, "another"):
            message_id = await say(product, f"about {topic}", topic)
            assert await read_together(product, message_id) == [message_id]
            references.append(conversation_of(await product.client(NAME)))
            await reap(product)
        assert len(set(references)) == 3
        assert [line["why"] for line in logged(product, "wake")] == ["first", "no-topic", "new-topic"]


@BOTH
async def test_after_a_crash_it_is_fresh_and_after_a_stop_it_goes_on(runtime: str) -> None:
    async with Product() as product:
        await product.create(NAME, runtime)
        await product.serve()
        await say(product, "before the crash", "release")
        alice = await product.client(NAME)
        terminate(alice.started.pane, signal.SIGKILL)
        assert await eventually(lambda: gone(alice.started.tmux.is_alive), 20)
        second = await say(product, "after the crash", "release")
        assert await read_together(product, second) == [second]
        for verb in ("stop", "start"):
            assert (await product.peerwake(verb, NAME)).status == 0
        third = await say(product, "after the stop", "release")
        assert await read_together(product, third) == [second, third]
        assert [line["why"] for line in logged(product, "wake")] == ["first", "crash", "topic"]


async def gone(is_alive: Callable[[], bool]) -> bool | None:
    return None if is_alive() else True


@pytest.mark.parametrize(("runtime", "command"), [("claude", "/clear"), ("codex", "/new")])
@pytest.mark.parametrize("is_resumed", [False, True], ids=["fresh", "resumed"])
async def test_the_reference_follows_a_person_to_a_new_conversation(
    runtime: str, command: str, is_resumed: bool
) -> None:
    async with Product() as product:
        await product.create(NAME, runtime)
        await product.serve()
        first = await say(product, "before", "release")
        if is_resumed:
            await reap(product)
            await say(product, "resumed", "release")
        alice = await product.client(NAME)
        before = conversation_of(alice)
        await begin_anew(alice, command)
        second = await say(product, "after", "release")
        assert await read_together(product, second) == [second]
        assert conversation_of(alice) != before
        assert (await reap(product)).session_ref == conversation_of(alice)
        third = await say(product, "later", "release")
        assert await read_together(product, third) == [second, third]
        assert first not in product.taken(await product.client(NAME))


@pytest.mark.parametrize(("runtime", "command"), [("claude", "/clear"), ("codex", "/new")])
@pytest.mark.parametrize("cause", [signal.SIGKILL, signal.SIGTERM])
async def test_attach_after_a_death_goes_on_where_it_was_then(
    runtime: str, command: str, cause: signal.Signals
) -> None:
    async with Product() as product:
        await product.create(NAME, runtime)
        await product.serve()
        await say(product, "before", "release")
        alice = await product.client(NAME)
        await begin_anew(alice, command)
        second = await say(product, "after", "release")
        terminate(alice.started.pane, cause)
        assert await eventually(lambda: gone(alice.started.tmux.is_alive), 20)
        assert (await anyio.to_thread.run_sync(product.attach, NAME))["mode"] == "resume"
        third = await say(product, "later", "release")
        assert await read_together(product, third) == [second, third]


@pytest.mark.parametrize(("runtime", "command"), [("claude", "/clear"), ("codex", "/new")])
@pytest.mark.parametrize("is_resumed", [False, True], ids=["fresh", "resumed"])
async def test_what_a_person_left_behind_is_not_resumed(runtime: str, command: str, is_resumed: bool) -> None:
    async with Product() as product:
        await product.create(NAME, runtime)
        await product.serve()
        await say(product, "before", "release")
        if is_resumed:
            await reap(product)
            await say(product, "resumed", "release")
        await begin_anew(await product.client(NAME), command)
        await reap(product)
        second = await say(product, "after", "release")
        assert await read_together(product, second) == [second]


async def begin_anew(client: Client, command: str) -> None:
    """Type a command as a person does, and return when there is a new conversation."""
    before = conversation_of(client)
    await client.type(command)
    await client.until(lambda reading: reading.input_text == command, command)
    await client.press("Enter")

    async def is_new() -> bool | None:
        return True if conversation_of(client) != before else None

    assert await eventually(is_new, 20), f"{command} begins nothing new; {await client.reading()}"
    await client.until(ScreenState.READY)


@BOTH
async def test_the_initial_prompt_comes_first_in_a_fresh_session_only(runtime: str) -> None:
    async with Product() as product:
        await product.create(NAME, runtime, "--initial-prompt", "read the plan")
        await product.serve()
        first = await say(product, "begin", "release")
        begun = await read_together(product, first)
        assert len(begun) == 2
        assert begun[1] == first
        await reap(product)
        second = await say(product, "go on", "release")
        assert await read_together(product, second) == [*begun, second]
        await reap(product)
        third = await say(product, "anew")
        fresh = await read_together(product, third)
        assert len(fresh) == 2
        assert fresh[1] == third


QUOTED = """\
I saw these:

Accessing workspace:

Yes, I trust this folder

Trust this folder?

1. Trust and continue

This session is 3d old and 100k tokens.

Resume full session as-is

* This conversation is open in another app

   r retry   f fork   ^c/q exit
"""


@BOTH
async def test_a_conversation_about_dialogs_is_no_dialog(runtime: str) -> None:
    async with Product([Rule("what did you see", Say(QUOTED))]) as product:
        await product.create(NAME, runtime)
        await product.serve()
        first = await say(product, "what did you see", "release")
        await reap(product)
        second = await say(product, "go on", "release")
        assert await read_together(product, second) == [first, second]
        boots = logged(product, "boot")
        assert (boots[-1]["end"], boots[-1].get("dialogs")) == ("ready", None)
        assert not logged(product, "resume-failed")
