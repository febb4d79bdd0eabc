"""How a task ends: what counts as its reply, and when it is tried again."""

from collections.abc import AsyncIterator

import anyio
import pytest

from lifecycle.ephemeral import EphemeralDrain
from lifecycle.flags import Flag
from lifecycle.session import Session
from lifecycle.states import End
from lifecycle.task_end import TaskEnd
from tests.lifecycle.shift import WORKER, Shift, worker_scene
from tests.lifecycle.stage import ALICE, BOB, Scene
from transport.identity import Identity
from transport.message import Message
from transport.paths import Root
from transport.spool.records import Lease
from transport.tmux.control import TmuxGone
from transport.vocabulary import Hold, MessageState, ScreenState, Stage


@pytest.fixture
async def stage(root: Root) -> AsyncIterator[Scene]:
    async with worker_scene(root) as built:
        yield built


@pytest.mark.parametrize("replied", [True, False])
async def test_a_death_ends_a_task_that_was_answered_and_repeats_one_that_was_not(stage: Scene, replied: bool) -> None:
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await shift.has(message)
        if replied:
            await shift.reply()
        await stage.clock.until(lambda: stage.deck.board.status(WORKER).hold is Hold.EPHEMERAL)

        async def look(session: Session) -> tuple[ScreenState, tuple[str, ...]]:
            raise TmuxGone("dead")

        original, stage.actor.look = stage.actor.look, look  # type: ignore[method-assign]
        await stage.clock.until(lambda: stage.starter.seen_out)
        stage.actor.look = original  # type: ignore[method-assign]
        if replied:
            await shift.ends(message, MessageState.CONSUMED, limit=60)
        else:
            await stage.clock.until(lambda: len(stage.actor.typed) == 2)
            assert (await stage.record(message)).attempts == 1
    assert stage.actor.closed == []


async def test_a_stop_puts_the_task_back_uncounted(stage: Scene) -> None:
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await shift.has(message)
        stage.deck.flags.set(WORKER, Flag.STOPPED)

        async def look(session: Session) -> tuple[ScreenState, tuple[str, ...]]:
            raise TmuxGone("closed")

        stage.actor.look = look  # type: ignore[method-assign]
        await shift.ends(message, MessageState.QUEUED, limit=10)
    assert (await stage.record(message)).attempts == 0


async def failed_once(stage: Scene, message: Message) -> bool:
    return (await stage.record(message)).attempts == 1


async def test_a_late_reply_settles_the_task_instead_of_another_run(stage: Scene) -> None:
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await shift.has(message)
        await stage.clock.until(lambda: failed_once(stage, message), limit=40)
        await shift.reply()
        await shift.ends(message, MessageState.CONSUMED, limit=10)
    assert stage.actor.typed == [message.id]
    assert (await stage.record(message)).reason == "reply, after its session was closed"
    assert await stage.spool.depth(BOB) == 1


async def test_a_late_message_to_somebody_else_is_no_reply(stage: Scene) -> None:
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await shift.has(message)
        await stage.clock.until(lambda: failed_once(stage, message), limit=40)
        await stage.send("by the way", to=ALICE, sender=WORKER)
        await stage.clock.until(lambda: len(stage.actor.typed) == 2, limit=10)


async def test_a_reply_at_the_moment_of_the_closing_counts(stage: Scene) -> None:
    message = await stage.send(to=WORKER)
    close = stage.actor.close

    async def late(session: Session, end: End) -> None:
        await stage.send("the answer", to=BOB, sender=WORKER)
        await close(session, end)

    stage.actor.close = late  # type: ignore[method-assign]
    async with Shift(stage) as shift:
        await shift.ends(message, MessageState.CONSUMED, limit=40)
    assert stage.actor.typed == [message.id]


async def test_a_reply_to_an_earlier_run_of_a_retried_dead_letter_is_none_to_it(stage: Scene) -> None:
    first = await stage.send("first", to=WORKER)
    async with Shift(stage) as shift:
        await shift.ends(first, MessageState.DEAD)
    second = await stage.send("second", to=WORKER)
    async with Shift(stage) as shift:
        await shift.has(second)
        await shift.reply()
        await shift.ends(second, MessageState.CONSUMED)
    await stage.spool.retry(first.id, stage.clock.wall())
    async with Shift(stage):
        await stage.clock.until(lambda: stage.actor.typed[-1] == first.id)
    assert stage.actor.typed == [first.id, first.id, second.id, first.id]


async def test_a_death_after_a_message_to_a_third_party_repeats_the_task(stage: Scene) -> None:
    message = await stage.send(to=WORKER)
    await stage.spool.lease(WORKER, "task", stage.clock.wall())
    await stage.spool.stage(message.id, Stage.PASTING, stage.clock.wall())
    await stage.send("which branch?", to=ALICE, sender=WORKER)
    async with Shift(stage) as shift:
        await shift.has(message)
    assert (await stage.record(message)).attempts == 1


async def test_for_a_sender_that_is_gone_any_message_is_the_reply(stage: Scene) -> None:
    message = await stage.send(to=WORKER, sender=Identity("scripted", "ghost"))
    await stage.spool.lease(WORKER, "task", stage.clock.wall())
    await stage.spool.stage(message.id, Stage.PASTING, stage.clock.wall())
    await stage.send("something", to=ALICE, sender=WORKER)
    async with Shift(stage) as shift:
        await shift.ends(message, MessageState.CONSUMED, limit=10)


@pytest.mark.parametrize(("end", "attempts"), [(End.NEW, 0), (End.STOPPED, 0), (End.TASK, 1), (None, 1)])
async def test_a_session_that_somebody_else_ended_is_no_failed_attempt(
    stage: Scene, end: End | None, attempts: int
) -> None:
    message = await stage.send(to=WORKER)
    await stage.spool.lease(WORKER, "task", stage.clock.wall())
    await stage.spool.stage(message.id, Stage.PASTING, stage.clock.wall())
    session = stage.session(WORKER, task=message.id, end=end, is_closing=end is not None)
    stage.kill(session)
    stage.deck.sessions.retire(session)
    async with Shift(stage) as shift:
        await shift.has(message)
        assert (await stage.record(message)).attempts == attempts


async def test_a_crash_loop_is_the_reason_a_task_waits(stage: Scene) -> None:
    message = await stage.send(to=WORKER)
    await stage.spool.lease(WORKER, "task", stage.clock.wall())
    stage.deck.flags.set(WORKER, Flag.FAILED, "3 deaths")
    with anyio.fail_after(10):
        await EphemeralDrain(stage.deck, WORKER).run()
    record = await stage.record(message)
    assert (record.state, record.reason, record.attempts) == (MessageState.QUEUED, "crash-looping", 0)


async def test_done_is_refused_before_a_task_was_handed_over_and_of_any_other_session(stage: Scene) -> None:
    end = TaskEnd(stage.deck, WORKER)
    assert not await end.say_done()
    message = await stage.send(to=WORKER)
    session = stage.session(WORKER, task=message.id)
    assert not await end.say_done()
    await stage.spool.lease(WORKER, "task", stage.clock.wall())
    assert not await end.say_done()
    await stage.spool.stage(message.id, Stage.PASTING, stage.clock.wall())
    assert await end.say_done()
    stage.kill(session)
    assert not await end.say_done()
    stage.session(WORKER)
    assert not await end.say_done()


async def test_what_a_worker_sent_in_an_earlier_attempt_and_repeats_counts_as_sent(stage: Scene) -> None:
    """By its key it is one message, so that nothing new is in the spool."""
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await shift.has(message)
        await shift.drain.end.repeated()
        await shift.ends(message, MessageState.CONSUMED, step=0.1)
        await stage.clock.until(lambda: not stage.deck.flags.is_set(WORKER, Flag.REPEATED))
    assert stage.actor.typed == [message.id]
    assert (await stage.record(message)).attempts == 0


async def test_a_repetition_counts_for_the_attempt_in_hand_alone_and_is_no_reply(stage: Scene) -> None:
    end, message = TaskEnd(stage.deck, WORKER), await stage.send(to=WORKER)

    async def handed() -> Lease:
        await stage.clock.advance(60)
        lease = await stage.spool.lease(WORKER, "task", stage.clock.wall())
        await stage.spool.stage(message.id, Stage.PASTING, stage.clock.wall())
        assert lease is not None and not await end.is_armed(lease)
        return lease

    lease = await handed()
    await end.repeated()
    session = stage.session(WORKER, task="m_of_another")
    await end.repeated()
    assert not await end.is_armed(lease)
    stage.deck.sessions.update(session, task=message.id)
    await end.repeated()
    assert await end.is_armed(lease) and not end.says_done(lease) and not await end.is_answered(lease)
    await stage.deck.settler.failed(lease, "it died")
    assert not await end.is_armed(await handed())
