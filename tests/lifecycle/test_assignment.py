"""One task in a worker's session: handed over, watched, and what ends the watching."""

from collections.abc import AsyncIterator

import pytest

from lifecycle.flags import Flag
from lifecycle.session import Session
from tests.lifecycle.shift import WORKER, Shift, worker_scene
from tests.lifecycle.stage import BOB, TAKEN, UNREAD, UNTAKEN, Scene, scene
from transport.delivery import HandOver
from transport.paths import Root
from transport.tmux.control import TmuxUnknown
from transport.vocabulary import Hold, MessageState, ScreenState, Stage, WakePolicy


@pytest.fixture
async def stage(root: Root) -> AsyncIterator[Scene]:
    async with worker_scene(root) as built:
        yield built


async def test_a_reply_and_quiet_end_a_task(stage: Scene) -> None:
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await shift.has(message)
        await shift.reply()
        replied = stage.clock.now
        await shift.ends(message, MessageState.CONSUMED, step=0.1)
        assert stage.clock.now - replied >= stage.limits.ephemeral_quiet_seconds - 1
        await stage.clock.until(lambda: stage.actor.closed)
    assert [session.task for session in stage.actor.closed] == [message.id]


async def test_a_reply_that_another_process_spooled_counts_too(stage: Scene) -> None:
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await shift.has(message)
        await stage.clock.advance(3)
        await stage.send("the answer", to=BOB, sender=WORKER)
        await shift.ends(message, MessageState.CONSUMED, limit=40)


async def test_what_a_worker_sent_before_it_read_its_task_is_no_reply(stage: Scene) -> None:
    message = await stage.send(to=WORKER)
    await stage.send("good morning", to=BOB, sender=WORKER)
    await stage.clock.advance(1)
    async with Shift(stage) as shift:
        await shift.has(message)
        await stage.clock.advance(6)
        assert await stage.is_in(message, MessageState.LEASED)


async def test_done_of_an_earlier_task_does_not_end_this_one(stage: Scene) -> None:
    stage.deck.flags.set(WORKER, Flag.ARMED, "m_of_another_task")
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await shift.has(message)
        await stage.clock.advance(6)
        assert await stage.is_in(message, MessageState.LEASED)


async def test_silence_closes_the_session_and_tries_again_then_gives_up(stage: Scene) -> None:
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await shift.ends(message, MessageState.DEAD, limit=40)
    assert stage.actor.typed == [message.id] * 2
    assert len(stage.actor.closed) == 2
    assert await stage.spool.depth(BOB) == 1


async def test_a_worker_that_never_replies_but_works_is_left_alone(stage: Scene) -> None:
    stage.actor.state = ScreenState.BUSY
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await shift.has(message)
        await stage.clock.advance(40)
        assert await stage.is_in(message, MessageState.LEASED)


async def test_a_reply_is_evidence_though_the_transcript_says_nothing(stage: Scene) -> None:
    async def replies(message_id: str) -> None:
        await stage.send("the answer", to=BOB, sender=WORKER)

    stage.actor.on_deliver = replies
    stage.actor.plays = [UNTAKEN]
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await shift.ends(message, MessageState.CONSUMED, limit=60)
    assert stage.actor.typed == [message.id]


async def test_no_receipt_closes_the_session_and_tries_again_in_a_fresh_one(stage: Scene) -> None:
    stage.actor.plays = [UNTAKEN]
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await stage.clock.until(lambda: len(stage.actor.typed) == 2)
        await shift.done()
        await shift.ends(message, MessageState.CONSUMED)
    assert stage.starter.woken == 2


async def test_a_worker_that_has_perhaps_not_read_its_task_is_waited_for_no_longer_than_silence(stage: Scene) -> None:
    stage.actor.plays = [UNREAD] * 3
    first, second = await stage.send(to=WORKER), await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await stage.clock.until(lambda: len(stage.actor.typed) == 4)
        assert stage.starter.woken == 1
        await shift.done()
        await shift.ends(first, MessageState.CONSUMED)
        stage.actor.plays = [UNREAD] * 2000
        await shift.ends(second, MessageState.DEAD, limit=60)
    assert (await stage.record(first)).attempts == 0


async def test_a_dialog_at_the_hand_over_is_waited_for_no_longer_than_silence(stage: Scene) -> None:
    stage.actor.plays = [HandOver(None, Hold.ASKS, True, "a dialog", "Proceed?")] * 2000
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await stage.clock.until(lambda: stage.deck.board.status(WORKER).hold is Hold.ASKS)
        await shift.ends(message, MessageState.DEAD, limit=40)
    assert len(stage.actor.closed) == 2


@pytest.mark.parametrize("reached", [Stage.PASTING, Stage.INJECTED])
async def test_the_next_server_watches_the_task_in_hand(stage: Scene, reached: Stage) -> None:
    message = await stage.send(to=WORKER)
    stage.session(WORKER, task=message.id)
    await stage.spool.lease(WORKER, "task", stage.clock.wall())
    for each in (Stage.PASTING, reached):
        await stage.spool.stage(message.id, each, stage.clock.wall())
    stage.actor.evidence[message.id] = TAKEN.receipt  # type: ignore[assignment]
    await stage.send("the answer", to=BOB, sender=WORKER)
    async with Shift(stage) as shift:
        await shift.ends(message, MessageState.CONSUMED, limit=60)
    assert stage.actor.typed == []


async def test_a_silent_terminal_decides_nothing(stage: Scene) -> None:
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await shift.has(message)

        async def look(session: Session) -> tuple[ScreenState, tuple[str, ...]]:
            raise TmuxUnknown("no answer")

        stage.actor.look = look  # type: ignore[method-assign]
        await stage.clock.until(lambda: stage.deck.board.status(WORKER).hold is Hold.UNKNOWN)
        await stage.clock.advance(10)
        assert await stage.is_in(message, MessageState.LEASED)
    assert stage.actor.closed == []


async def test_a_worker_that_replies_twice_is_closed_after_the_second(stage: Scene) -> None:
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await shift.has(message)
        for number in range(2):
            await shift.reply()
            stage.actor.lines = (f"reply {number}",)
            await stage.clock.advance(1)
        await shift.ends(message, MessageState.CONSUMED, limit=60)
        await stage.clock.until(lambda: stage.actor.closed)
    assert await stage.spool.depth(BOB) == 2
    assert len(stage.actor.closed) == 1


async def test_a_worker_that_is_busy_for_ever_is_given_up_where_there_is_a_bound(root: Root) -> None:
    async with scene(root, attempts=2, crash_count=20, ephemeral_max_seconds=6) as stage:
        stage.peer("worker", WakePolicy.EPHEMERAL)
        stage.actor.state = ScreenState.BUSY
        message = await stage.send(to=WORKER)
        async with Shift(stage) as shift:
            await shift.ends(message, MessageState.DEAD, limit=200)
        assert "took longer than 6 s" in str((await stage.record(message)).reason)
        assert stage.actor.typed == [message.id] * 2


async def test_a_worker_that_replied_and_is_busy_for_ever_is_closed_at_the_bound(root: Root) -> None:
    async with scene(root, attempts=2, ephemeral_max_seconds=6) as stage:
        stage.peer("worker", WakePolicy.EPHEMERAL)
        stage.actor.state = ScreenState.BUSY
        message = await stage.send(to=WORKER)
        async with Shift(stage) as shift:
            await shift.has(message)
            await shift.reply()
            await shift.ends(message, MessageState.CONSUMED, limit=100)
        assert stage.actor.typed == [message.id]


async def test_a_long_task_is_looked_at_as_seldom_as_its_quiet_time_allows(root: Root) -> None:
    async with worker_scene(root, ephemeral_quiet_seconds=20, ephemeral_silence_seconds=600) as stage:
        message = await stage.send(to=WORKER)
        looked, look = 0, stage.actor.look

        async def counted(session: Session) -> tuple[ScreenState, tuple[str, ...]]:
            nonlocal looked
            looked += 1
            return await look(session)

        stage.actor.look = counted  # type: ignore[method-assign]
        async with Shift(stage) as shift:
            await shift.has(message)
            before = looked
            for _ in range(600):
                await stage.clock.advance(0.1)
            assert looked - before <= 70
            assert await shift.done()
            await shift.ends(message, MessageState.CONSUMED, limit=1, step=0.1)
