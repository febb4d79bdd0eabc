"""The drain of an ephemeral worker: what ends a task, and what every accident leaves in the spool."""

from collections.abc import AsyncIterator

import anyio
import pytest

from lifecycle.ephemeral import EphemeralDrain
from lifecycle.flags import Flag
from lifecycle.requests import UnknownPeer
from lifecycle.session import Session
from lifecycle.wake import SessionBlocked, WakeFailed
from tests.lifecycle.stage import BOB, TAKEN, UNTAKEN, Scene, scene
from tests.live.world import World
from tests.live.world import until as seen_until
from transport.delivery import HandOver
from transport.errors import InvalidInput
from transport.identity import Identity
from transport.message import Message
from transport.paths import Root
from transport.tmux.control import TmuxGone, TmuxUnknown
from transport.vocabulary import Hold, Kind, MessageState, ScreenState, Stage, WakePolicy

WORKER = Identity("scripted", "worker")


@pytest.fixture
async def stage(root: Root) -> AsyncIterator[Scene]:
    windows = {"ephemeral_quiet_seconds": 2, "ephemeral_silence_seconds": 12, "boot_seconds": 24}
    async with scene(root, attempts=2, crash_count=20, **windows) as built:
        built.peer("worker", WakePolicy.EPHEMERAL)
        yield built


class Shift:
    """One run of a drain beside a test."""

    def __init__(self, stage: Scene) -> None:
        self.stage = stage
        self.drain = EphemeralDrain(stage.deck, WORKER)
        self.tasks = anyio.create_task_group()

    async def __aenter__(self) -> "Shift":
        await self.tasks.__aenter__()
        self.tasks.start_soon(self.drain.run)
        return self

    async def __aexit__(self, *reason) -> None:
        self.tasks.cancel_scope.cancel()
        await self.tasks.__aexit__(*reason)

    async def task(self, body: str = "work") -> Message:
        return await self.stage.send(body, to=WORKER)

    async def ends(self, message: Message, state: MessageState, limit: float = 2000.0, step: float = 0.5) -> None:
        await self.stage.clock.until(lambda: self.stage.is_in(message, state), limit=limit, step=step)

    async def has(self, message: Message) -> None:
        """Wait until the worker has read its task."""
        await self.stage.clock.until(lambda: message.id in self.stage.actor.typed)

    async def reply(self) -> None:
        await self.stage.send("the answer", to=BOB, sender=WORKER)
        self.stage.deck.board.sent(WORKER)


async def test_a_reply_and_quiet_end_a_task(stage: Scene) -> None:
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await shift.has(message)
        await shift.reply()
        replied = stage.clock.now
        await shift.ends(message, MessageState.CONSUMED, step=0.1)
        assert stage.clock.now - replied >= stage.limits.ephemeral_quiet_seconds - 1
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


async def test_each_task_gets_a_session_of_its_own_in_order(stage: Scene) -> None:
    tasks = [await stage.send(f"task {number}", to=WORKER) for number in range(3)]
    async with Shift(stage) as shift:
        for message in tasks:
            await shift.has(message)
            assert await shift.drain.done()
            await shift.ends(message, MessageState.CONSUMED)
    assert stage.actor.typed == [message.id for message in tasks]
    assert stage.starter.woken == 3
    assert len({session.fence for session in stage.actor.closed}) == 3


async def test_done_is_refused_before_a_task_was_handed_over(stage: Scene) -> None:
    drain = EphemeralDrain(stage.deck, WORKER)
    assert not await drain.done()
    message = await stage.send(to=WORKER)
    assert not await drain.done()
    await stage.spool.lease(WORKER, "task", stage.clock.wall())
    assert not await drain.done()
    await stage.spool.stage(message.id, Stage.PASTING, stage.clock.wall())
    assert await drain.done()


async def test_done_outlives_the_server(stage: Scene) -> None:
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await shift.has(message)
        await stage.clock.until(lambda: stage.deck.board.status(WORKER).hold is Hold.EPHEMERAL)
        stage.deck.flags.set(WORKER, Flag.ARMED, message.id)
        shift.tasks.cancel_scope.cancel()
    async with Shift(stage) as shift:
        await shift.ends(message, MessageState.CONSUMED, limit=5)
    assert not stage.deck.flags.is_set(WORKER, Flag.ARMED)


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
            await shift.ends(message, MessageState.CONSUMED, limit=5)
        else:
            await stage.clock.until(lambda: len(stage.actor.typed) == 2)
            assert (await stage.record(message)).attempts == 1
    assert stage.actor.closed == []


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
        await shift.drain.done()
        await shift.ends(message, MessageState.CONSUMED)
    assert stage.starter.woken == 2


async def test_crashes_at_boot_back_off_and_end_as_a_dead_letter(stage: Scene) -> None:
    stage.starter.plays = [WakeFailed("exit 1")] * 5
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await shift.ends(message, MessageState.DEAD, limit=10, step=0.2)
    assert stage.actor.typed == []


async def test_a_worker_blocked_at_boot_waits_for_a_person_then_is_tried_again(stage: Scene) -> None:
    message = await stage.send(to=WORKER)
    session = stage.session(WORKER, task=message.id, is_ready=False)
    await stage.spool.lease(WORKER, "task", stage.clock.wall())
    stage.starter.plays = [SessionBlocked("unknown dialog")] * 1000
    async with Shift(stage) as shift:
        await stage.clock.until(lambda: stage.deck.board.status(WORKER).hold is Hold.BLOCKED)
        assert stage.deck.board.status(WORKER).detail == "unknown dialog"
        await stage.clock.until(lambda: stage.actor.closed, step=2, limit=40)
        assert stage.actor.closed[0].fence == session.fence
        stage.starter.plays = []
        await shift.has(message)
    assert (await stage.record(message)).attempts == 1


async def test_a_dialog_at_the_hand_over_is_waited_for_no_longer_than_silence(stage: Scene) -> None:
    stage.actor.plays = [HandOver(None, Hold.ASKS, True, "a dialog", "Proceed?")] * 2000
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await stage.clock.until(lambda: stage.deck.board.status(WORKER).hold is Hold.ASKS)
        await shift.ends(message, MessageState.DEAD, limit=40)
    assert len(stage.actor.closed) == 2


async def test_a_conversation_of_a_person_is_left_alone(stage: Scene) -> None:
    session = stage.session(WORKER)
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await stage.clock.until(lambda: stage.deck.board.status(WORKER).hold is Hold.BUSY)
        assert stage.actor.typed == [] and stage.actor.closed == []
        stage.kill(session)
        stage.deck.sessions.retire(session)
        await shift.has(message)


async def test_a_person_who_attaches_in_between_gets_no_task_typed_in(stage: Scene) -> None:
    message = await stage.send(to=WORKER)
    stage.session(WORKER)
    await stage.spool.lease(WORKER, "task", stage.clock.wall())
    async with Shift(stage):
        await stage.clock.until(lambda: stage.deck.board.status(WORKER).hold is Hold.BUSY)
        assert stage.actor.typed == []
        assert await stage.is_in(message, MessageState.QUEUED)


async def test_what_a_killed_server_left_of_a_settled_task_is_closed(stage: Scene) -> None:
    session = stage.session(WORKER, task="m_settled")
    with anyio.fail_after(10):
        await EphemeralDrain(stage.deck, WORKER).run()
    assert stage.actor.closed == [session]


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


async def test_a_notice_starts_no_worker(stage: Scene) -> None:
    notice = await stage.send("it was given up", to=WORKER, kind=Kind.NOTICE)
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await shift.has(message)
    assert await stage.is_in(notice, MessageState.DEAD)
    assert stage.starter.woken == 1
    assert await stage.spool.depth(BOB) == 0


async def test_a_removed_worker_keeps_no_lease(stage: Scene) -> None:
    stage.starter.plays = [UnknownPeer("no such peer")] * 5
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await shift.ends(message, MessageState.DEAD, limit=20, step=0.2)


async def test_a_poisoned_task_does_not_wedge_the_queue(stage: Scene) -> None:
    stage.actor.plays = [InvalidInput("text", "holds a control character")]
    poison, message = await stage.send("poison", to=WORKER), await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await shift.ends(poison, MessageState.DEAD, limit=5)
        await shift.has(message)


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


@pytest.mark.live
def test_tasks_survive_servers_that_are_killed_in_the_middle(root: Root) -> None:
    """No task is lost, given up or left behind with a session; each is answered, in order."""
    world = World(root)
    world.extra |= {"PEERWAKE_EPHEMERAL_QUIET_SECONDS": "0.2", "PEERWAKE_EPHEMERAL_SILENCE_SECONDS": "4"}
    world.extra |= {"PEERWAKE_BACKOFF_SECONDS": "0.05", "PEERWAKE_ATTEMPTS": "20"}
    try:
        world.create("worker", "--ephemeral", rules=[{"busy_seconds": 0.2, "reply": "done {body}"}])
        world.create("bob")
        server = world.serve()
        for number in range(4):
            world.send("worker", f"task {number}", "--from", "bob")
        for answered in range(3):
            seen_until(lambda answered=answered: len(answers(world)) > answered, 40, "an answer")
            server.kill()
            server.wait()
            server = world.serve()
        seen_until(lambda: world.depth("worker") == 0, 60, "the end of all tasks")
        assert list(dict.fromkeys(answers(world))) == [f"done task {number}" for number in range(4)]
        seen_until(lambda: world.state("worker") == "asleep", 20, "the end of the last session")
        assert world.json("queue", "worker")["queues"][0]["dead"] == 0
    finally:
        world.close()


def answers(world: World) -> list[str]:
    return [text.splitlines()[1] for text in world.prompts("bob")]
