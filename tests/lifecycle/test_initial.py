"""The initial prompt: first of all, once, and never in the way of messages."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from lifecycle.initial import InitialPrompt, NotTold
from lifecycle.session import Session
from lifecycle.states import Mode, SendStatus
from lifecycle.terminals import Terminals
from tests.lifecycle.stage import ALICE, HELD, INJECTED, TAKEN, UNTAKEN, Scene, scene
from tests.lifecycle.workshop import until, workshop
from transport.bulkhead import NoAnswer
from transport.delivery import HandOver
from transport.envelope import Form, parse
from transport.files import LockHeld
from transport.identity import Identity
from transport.logs import Logs
from transport.message import MESSAGE_ID
from transport.paths import Root
from transport.tmux.control import TmuxGone, TmuxRefused, TmuxUnknown
from transport.vocabulary import Hold, Receipt, Stage

CAROL = Identity("scripted", "carol")


@pytest.fixture
async def stage(root: Root) -> AsyncIterator[Scene]:
    async with scene(root, ready_seconds=20.0) as built:
        built.peer("carol", initial_prompt="You review.")
        yield built


def initial(stage: Scene) -> InitialPrompt:
    deck = stage.deck
    return InitialPrompt(deck.resolver, deck.terminals, Logs(stage.root.logs, stage.clock), stage.clock, stage.limits)


async def test_a_fresh_session_gets_it_once_over_all_servers(stage: Scene) -> None:
    session = stage.session(CAROL)
    for _ in range(3):
        await initial(stage).hand_over(session)
    (message_id,) = stage.actor.typed
    assert MESSAGE_ID.fullmatch(message_id)
    assert session.fence in message_id


async def test_each_session_gets_its_own(stage: Scene) -> None:
    for _ in range(2):
        await initial(stage).hand_over(stage.session(CAROL))
    assert len(set(stage.actor.typed)) == 2


async def test_a_line_that_the_composer_would_rewrite_is_put_into_a_file(stage: Scene) -> None:
    stage.actor.inline = Form(rewritten="^You review")
    session = stage.session(CAROL)
    await initial(stage).hand_over(session)
    (text,) = stage.actor.texts
    path = parse(text).body_file
    assert path is not None and path.read_text() == "You review."
    assert "\n| You review.\n" in text


@pytest.mark.parametrize("case", ["none", "resumed", "removed"])
async def test_who_gets_none(stage: Scene, case: str) -> None:
    session: Session = stage.session(CAROL)
    if case == "none":
        session = stage.session(ALICE)
    elif case == "resumed":
        session = stage.session(CAROL, mode=Mode.RESUME)
    else:
        stage.registry.remove("carol")
    await initial(stage).hand_over(session)
    assert stage.actor.typed == []


async def test_what_was_not_taken_at_once_is_looked_for_again(stage: Scene) -> None:
    stage.actor.plays = [UNTAKEN, UNTAKEN]
    session = stage.session(CAROL)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(initial(stage).hand_over, session)
        await stage.clock.until(lambda: len(stage.actor.typed) == 2)
        await stage.clock.advance(1)
    assert stage.actor.stages == [Stage.HELD, Stage.PASTING, Stage.PASTING]
    assert len(set(stage.actor.texts)) == 1
    assert "taken=true" in stage.log("lifecycle").lower()


async def test_what_was_pasted_and_held_back_since_is_looked_for_before_the_next_paste(stage: Scene) -> None:
    stage.actor.plays = [UNTAKEN, HELD]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(initial(stage).hand_over, stage.session(CAROL))
        await stage.clock.until(lambda: "ev=initial-prompt" in stage.log("lifecycle"))
    assert stage.actor.repeated == [False, True, True]


async def test_the_next_server_goes_on_with_the_same_text(stage: Scene) -> None:
    stage.actor.plays = [TmuxUnknown("no answer")]
    session = stage.session(CAROL)
    with pytest.raises(TmuxUnknown):
        await initial(stage).hand_over(session)
    await stage.clock.advance(60)
    await initial(stage).hand_over(session)
    assert stage.actor.stages == [Stage.HELD, Stage.PASTING]
    assert len(set(stage.actor.texts)) == 1
    assert stage.actor.since[1] == session.woke_at


async def test_it_is_given_up_after_some_attempts(stage: Scene) -> None:
    stage.actor.plays = [UNTAKEN] * 9
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(initial(stage).hand_over, stage.session(CAROL))
        await stage.clock.until(lambda: "ev=initial-prompt" in stage.log("lifecycle"))
    assert len(stage.actor.typed) == stage.actor.attempts(stage.session(CAROL))


async def test_what_was_submitted_and_perhaps_taken_is_given_up_after_some_time(stage: Scene) -> None:
    stage.actor.plays = [replace(HELD, typed=True, submits=1)] * 1000
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(initial(stage).hand_over, stage.session(CAROL))
        await stage.clock.until(lambda: "ev=initial-prompt" in stage.log("lifecycle"))
    assert "taken=false" in stage.log("lifecycle").lower()


UNDECIDED = [TmuxUnknown("no"), TmuxRefused("no"), LockHeld("held"), NoAnswer(Path("files"), "give no answer")]


@pytest.mark.parametrize("play", UNDECIDED)
async def test_what_says_nothing_of_the_session_leaves_it_due(stage: Scene, play: Exception) -> None:
    stage.actor.plays = [play]
    session = stage.session(CAROL)
    with pytest.raises(type(play)):
        await initial(stage).hand_over(session)
    await initial(stage).hand_over(session)
    assert stage.log("lifecycle").count("ev=initial-prompt ") == 1
    assert "ev=initial-prompt-failed" not in stage.log("lifecycle")


async def test_what_keeps_it_back_for_a_moment_is_waited_for(stage: Scene) -> None:
    stage.actor.plays = [HELD, HELD]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(initial(stage).hand_over, stage.session(CAROL))
        await stage.clock.until(lambda: "ev=initial-prompt" in stage.log("lifecycle"))
    assert "taken=true" in stage.log("lifecycle").lower()


@pytest.mark.parametrize(
    ("is_pasted", "hold"), [(False, Hold.DRAFT), (True, Hold.DRAFT), (True, Hold.UNKNOWN)], ids=str
)
async def test_what_keeps_it_back_for_long_keeps_the_messages_back_too(
    stage: Scene, is_pasted: bool, hold: Hold
) -> None:
    stage.actor.plays = [replace(HELD, typed=is_pasted, hold=hold)] * 1000
    told: list[str] = []

    async def hand_over() -> None:
        try:
            await initial(stage).hand_over(stage.session(CAROL))
            told.append("it went on")
        except NotTold as error:
            told.append(str(error))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hand_over)
        await stage.clock.until(lambda: told)
    assert told == ["half a line"]
    assert "ev=initial-prompt" not in stage.log("lifecycle")


@pytest.mark.parametrize("play", [TmuxGone("dead"), OSError(28, "No space left on device")])
async def test_a_failure_is_logged_and_raises_nothing(stage: Scene, play: object) -> None:
    stage.actor.plays = [play]  # type: ignore[list-item]
    await initial(stage).hand_over(stage.session(CAROL))
    assert "ev=initial-prompt" in stage.log("lifecycle")


@pytest.mark.parametrize("is_taken", [False, True])
async def test_who_died_before_it_was_told_all_is_known_by_its_transcript(stage: Scene, is_taken: bool) -> None:
    stage.actor.plays = [TmuxGone("dead")]
    session = stage.session(CAROL, seed="go on")

    async def taken(message_id: str) -> None:
        if is_taken:
            stage.actor.evidence[message_id] = Receipt.CONSUMED

    stage.actor.on_deliver = taken
    assert await initial(stage).hand_over(session) == is_taken
    assert len(stage.actor.typed) == 1 + is_taken


async def test_what_died_with_the_queue_of_its_client_was_not_told(stage: Scene) -> None:
    stage.actor.plays = [INJECTED]
    session = stage.session(CAROL)
    stage.kill(session)
    assert not await initial(stage).hand_over(session)


async def test_one_that_the_client_queued_is_waited_for_but_not_for_ever(stage: Scene) -> None:
    stage.actor.plays = [INJECTED, INJECTED]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(initial(stage).hand_over, stage.session(CAROL))
        await stage.clock.until(lambda: stage.actor.evidence)
        stage.actor.evidence[stage.actor.typed[0]] = Receipt.CONSUMED
        await stage.clock.advance(1)
    began = stage.clock.now
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(initial(stage).hand_over, stage.session(CAROL))
        await stage.clock.until(lambda: len(stage.actor.typed) == 2)
        await stage.clock.advance(stage.limits.ready_seconds + 1)
    assert stage.clock.now - began < 40
    assert TAKEN.receipt is Receipt.CONSUMED


@pytest.mark.live
async def test_it_comes_before_the_message_that_woke_the_peer(root: Root) -> None:
    async with workshop(root) as shop:
        shop.peer(initial_prompt="You are Alice.")
        async with shop.supervised():
            assert (await shop.send(body="one", wait=30)).status is SendStatus.DELIVERED
            assert (await shop.send(body="two", wait=30)).status is SendStatus.DELIVERED
        assert shop.prompts() == ["You are Alice.", "one", "two"]


@pytest.mark.live
async def test_a_half_typed_line_keeps_it_back_and_it_still_comes_first(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, typed = Terminals.deliver, anyio.Event()

    async def deliver(self: Terminals, session: Session, *args: Any, **keywords: Any) -> HandOver:
        if not typed.is_set():
            typed.set()
            shop.tmux(ALICE, "send-keys", "-l", "half a line")
            await until(lambda: "half a line" in shop.tmux(ALICE, "capture-pane", "-p"))
        return await original(self, session, *args, **keywords)

    monkeypatch.setattr(Terminals, "deliver", deliver)
    async with workshop(root) as shop:
        shop.peer(initial_prompt="You are Alice.")
        async with shop.supervised():
            await shop.send(body="one", wait=0)
            await until(lambda: shop.supervisor.deck.board.status(ALICE).hold is Hold.BLOCKED)
            assert shop.prompts() == []
            shop.tmux(ALICE, "send-keys", "C-u")
            await until(lambda: shop.prompts() == ["You are Alice.", "one"])
