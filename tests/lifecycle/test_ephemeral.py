"""The drain of an ephemeral worker: a fresh session for each task, and what keeps one from being started."""

import errno
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from lifecycle.deck import Deck
from lifecycle.ephemeral import EphemeralDrain
from lifecycle.flags import Flag
from lifecycle.requests import UnknownPeer
from lifecycle.session import Session
from lifecycle.wake import SessionBlocked, WakeFailed
from tests.lifecycle.shift import WORKER, Shift, worker_scene
from tests.lifecycle.stage import BOB, INJECTED, Scene, scene
from transport.bulkhead import NoAnswer
from transport.errors import InvalidInput
from transport.identity import Identity
from transport.message import Message
from transport.paths import Root
from transport.tmux.control import TmuxUnknown
from transport.vocabulary import Hold, Kind, MessageState, Receipt, ScreenState, Stage, WakePolicy


@pytest.fixture
async def stage(root: Root) -> AsyncIterator[Scene]:
    async with worker_scene(root) as built:
        yield built


async def test_each_task_gets_a_session_of_its_own_in_order(stage: Scene) -> None:
    tasks = [await stage.send(f"task {number}", to=WORKER) for number in range(3)]
    async with Shift(stage) as shift:
        for message in tasks:
            await shift.has(message)
            assert await shift.done()
            await shift.ends(message, MessageState.CONSUMED)
        await stage.clock.until(lambda: len(stage.actor.closed) == len(tasks))
    assert stage.actor.typed == [message.id for message in tasks]
    assert stage.starter.woken == 3
    assert len({session.fence for session in stage.actor.closed}) == 3


async def test_done_outlives_the_server(stage: Scene) -> None:
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await shift.has(message)
        await stage.clock.until(lambda: stage.deck.board.status(WORKER).hold is Hold.EPHEMERAL)
        stage.deck.flags.set(WORKER, Flag.ARMED, message.id)
        shift.tasks.cancel_scope.cancel()
    async with Shift(stage) as shift:
        await shift.ends(message, MessageState.CONSUMED, limit=5)
        await stage.clock.until(lambda: not stage.deck.flags.is_set(WORKER, Flag.ARMED))


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
        await stage.clock.until(lambda: stage.actor.closed)
        assert stage.actor.closed[0].fence == session.fence
        stage.starter.plays = []
        await shift.has(message)
    assert (await stage.record(message)).attempts == 1


async def test_a_directory_that_gives_no_answer_costs_a_task_no_attempt(stage: Scene) -> None:
    hangs = NoAnswer(Path("/mnt/dead"), "gave no answer")
    stage.starter.plays = [hangs] * 3
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await stage.clock.until(lambda: stage.deck.board.status(WORKER).detail == str(hangs))
        assert stage.deck.board.status(WORKER).hold is Hold.UNKNOWN
        await shift.has(message)
    assert (await stage.record(message)).attempts == 0


async def test_an_inbox_that_gives_no_answer_closes_no_worker(stage: Scene) -> None:
    hangs = NoAnswer(Path("/mnt/dead"), "gave no answer")
    hangs.untouched = True  # type: ignore[attr-defined]
    stage.actor.plays = [hangs] * 2
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await shift.has(message)
    assert stage.actor.closed == []
    assert (await stage.record(message)).attempts == 0


async def test_a_conversation_of_a_person_is_left_alone(stage: Scene) -> None:
    session = stage.session(WORKER)
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await stage.clock.until(lambda: stage.deck.board.status(WORKER).hold is Hold.BUSY)
        assert stage.actor.typed == [] and stage.actor.closed == []
        stage.kill(session)
        stage.deck.sessions.retire(session)
        await shift.has(message)


@pytest.mark.parametrize("age", [0, 1000])
async def test_a_person_who_attaches_in_between_gets_no_task_typed_in(stage: Scene, age: float) -> None:
    message = await stage.send(to=WORKER)
    stage.session(WORKER, woke_at=stage.clock.wall() - age)
    await stage.spool.lease(WORKER, "task", stage.clock.wall())
    async with Shift(stage):
        await stage.clock.until(lambda: stage.deck.board.status(WORKER).hold is Hold.BUSY, limit=10)
        assert (stage.actor.typed, stage.actor.closed) == ([], [])
        assert await stage.is_in(message, MessageState.QUEUED)


async def test_what_a_killed_server_left_of_a_settled_task_is_closed(stage: Scene) -> None:
    session = stage.session(WORKER, task="m_settled")
    with anyio.fail_after(10):
        await EphemeralDrain(stage.deck, WORKER).run()
    assert stage.actor.closed == [session]


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
        await shift.ends(poison, MessageState.DEAD, limit=5, step=0.05)
        await shift.has(message)


async def test_a_fault_of_ours_uses_up_attempts_and_wedges_nothing(stage: Scene) -> None:
    fault = RuntimeError("no words for it")
    fault.untouched = True  # type: ignore[attr-defined]
    stage.actor.plays = [fault] * 2
    poison, message = await stage.send("poison", to=WORKER), await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await shift.ends(poison, MessageState.DEAD, limit=20, step=0.2)
        await shift.has(message)
    assert "RuntimeError: no words for it" in str((await stage.record(poison)).reason)
    assert len(stage.actor.closed) == 2
    assert await stage.spool.depth(BOB) == 1


FULL = [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EMFILE, "Too many open files")]


@pytest.mark.parametrize("error", FULL)
@pytest.mark.parametrize("where", ["as the session is started", "as the task is typed"])
async def test_what_ails_the_whole_machine_costs_a_task_no_attempt(stage: Scene, error: OSError, where: str) -> None:
    error.untouched = True  # type: ignore[attr-defined]
    plays = stage.starter.plays if where == "as the session is started" else stage.actor.plays
    plays += [error] * 20  # type: ignore[arg-type]
    message, following = await stage.send(to=WORKER), await stage.send("next", to=WORKER)
    async with Shift(stage) as shift:
        await stage.clock.advance(10)
        assert (await stage.record(message)).attempts == 0
        await stage.clock.until(lambda: stage.deck.board.status(WORKER).hold is Hold.UNKNOWN, limit=30)
        assert error.strerror in str(stage.deck.board.status(WORKER).detail)
        await shift.has(message)
        assert [(await stage.record(each)).attempts for each in (message, following)] == [0, 0]
    assert stage.actor.closed == []
    assert stage.log("lifecycle").count("ev=task-fault") == 1
    assert stage.starter.woken == 1


async def test_a_body_that_finds_no_room_closes_no_worker(stage: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    original, faults = Deck.text, [*FULL]

    async def text(self: Deck, session: Session, message: Message) -> str:
        if faults:
            raise faults.pop()
        return await original(self, session, message)

    monkeypatch.setattr(Deck, "text", text)
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await shift.has(message)
    assert (stage.actor.closed, (await stage.record(message)).attempts) == ([], 0)


async def test_a_fault_of_ours_neither_closes_a_worker_at_work_nor_repeats_its_task(stage: Scene) -> None:
    stage.actor.state = ScreenState.BUSY
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await shift.has(message)
        look = stage.actor.look
        faults = [OSError(24, "Too many open files"), RuntimeError("can't start new thread")]

        async def passing(session: Session) -> tuple[ScreenState, tuple[str, ...]]:
            if faults:
                raise faults.pop()
            return await look(session)

        stage.actor.look = passing  # type: ignore[method-assign]
        await stage.clock.until(lambda: not faults)
        await stage.clock.advance(5)
        assert (stage.actor.typed, stage.actor.closed) == ([message.id], [])
        await shift.reply()
        stage.actor.state = ScreenState.READY
        await shift.ends(message, MessageState.CONSUMED, limit=10)
    assert stage.actor.typed == [message.id]
    assert "ev=task-fault identity=scripted-worker" in stage.log("lifecycle")


async def test_what_is_stuck_is_given_up_after_its_time_to_live(root: Root) -> None:
    async with scene(root, message_ttl_seconds=100) as stage:
        stage.peer("worker", WakePolicy.EPHEMERAL)
        stage.starter.plays = [SessionBlocked("a tmux server that there is no record of")] * 1000
        message = await stage.send(to=WORKER)
        async with Shift(stage) as shift:
            await stage.clock.until(lambda: stage.deck.board.status(WORKER).hold is Hold.BLOCKED)
            await stage.clock.advance(50)
            assert await stage.is_in(message, MessageState.LEASED)
            await shift.ends(message, MessageState.DEAD, limit=100)
        assert "no record of" in str((await stage.record(message)).reason)


@pytest.mark.parametrize("error", [TmuxUnknown("no answer"), OSError(24, "Too many open files")])
async def test_a_terminal_that_never_answers_again_ends_its_task_with_the_time_to_live(
    root: Root, error: Exception
) -> None:
    async with worker_scene(root, message_ttl_seconds=100) as stage:
        message, following = await stage.send(to=WORKER), await stage.send("next", to=WORKER)
        async with Shift(stage) as shift:
            await shift.has(message)
            look = stage.actor.look

            async def silent(session: Session) -> tuple[ScreenState, tuple[str, ...]]:
                raise error

            stage.actor.look = silent  # type: ignore[method-assign]
            await stage.clock.until(lambda: stage.deck.board.status(WORKER).hold is Hold.UNKNOWN)
            await stage.clock.advance(90)
            assert await stage.is_in(message, MessageState.LEASED)
            await shift.ends(message, MessageState.DEAD, limit=30)
            stage.actor.look = look  # type: ignore[method-assign]
            await shift.has(following)
        assert stage.actor.typed == [message.id, following.id]
        assert await stage.spool.depth(BOB) == 1


async def test_a_good_day_of_work_is_not_what_a_task_is_stuck_for(root: Root) -> None:
    async with scene(root, message_ttl_seconds=100) as stage:
        stage.peer("worker", WakePolicy.EPHEMERAL)
        stage.actor.state = ScreenState.BUSY
        stage.starter.plays = [TmuxUnknown("no answer")]
        message = await stage.send(to=WORKER)
        async with Shift(stage) as shift:
            await shift.has(message)
            await stage.clock.advance(300)
            look = stage.actor.look

            async def silent(session: Session) -> tuple[ScreenState, tuple[str, ...]]:
                stage.actor.look = look  # type: ignore[method-assign]
                raise TmuxUnknown("no answer")

            stage.actor.look = silent  # type: ignore[method-assign]
            await stage.clock.until(lambda: stage.deck.board.status(WORKER).hold is Hold.UNKNOWN)
            await stage.clock.advance(10)
            assert await stage.is_in(message, MessageState.LEASED)


async def test_a_peer_that_is_warm_now_gets_its_tasks_no_more(stage: Scene) -> None:
    profile = stage.registry.get("worker")
    assert profile is not None
    stage.registry.update(profile.model_copy(update={"wake_policy": WakePolicy.WARM}))
    message = await stage.send(to=WORKER)
    with anyio.fail_after(10):
        await EphemeralDrain(stage.deck, WORKER).run()
    assert stage.kicked == [WORKER]
    assert await stage.is_in(message, MessageState.QUEUED)


async def handed_over(stage: Scene, message: Message, session: Session, reached: Stage) -> None:
    """Lease a message as the drain of a warm peer does."""
    assert await stage.spool.lease(WORKER, session.fence, stage.clock.wall()) is not None
    if reached is not Stage.HELD:
        await stage.spool.stage(message.id, reached, stage.clock.wall(), fence=session.fence)


async def test_what_a_conversation_has_in_its_own_queue_is_no_task_of_a_peer_that_is_ephemeral_now(
    stage: Scene,
) -> None:
    session = stage.session(WORKER)
    message, following = await stage.send(to=WORKER), await stage.send("next", to=WORKER)
    await handed_over(stage, message, session, Stage.INJECTED)
    stage.actor.plays = [replace(INJECTED, typed=False)]
    stage.actor.state = ScreenState.BUSY
    async with Shift(stage):
        await stage.clock.until(lambda: stage.deck.board.status(WORKER).hold is Hold.BUSY, limit=10)
        await stage.clock.advance(60)
        assert await stage.is_in(message, MessageState.LEASED)
        stage.actor.evidence[message.id] = Receipt.CONSUMED
        await stage.clock.until(lambda: stage.is_in(message, MessageState.CONSUMED), limit=10)
        await stage.clock.until(lambda: "in use" in str(stage.deck.board.status(WORKER).detail), limit=10)
    assert stage.actor.stages == [Stage.INJECTED]
    assert (stage.starter.woken, stage.actor.closed) == (0, [])
    assert await stage.is_in(following, MessageState.QUEUED)
    assert ((await stage.record(message)).attempts, stage.log("delivery").count("ev=consumed")) == (0, 1)


async def test_what_was_pasted_into_a_conversation_is_submitted_there_and_nowhere_else(stage: Scene) -> None:
    session = stage.session(WORKER)
    message = await stage.send(to=WORKER)
    await handed_over(stage, message, session, Stage.PASTING)
    async with Shift(stage) as shift:
        await shift.ends(message, MessageState.CONSUMED, limit=10)
    assert (stage.actor.stages, stage.starter.woken, stage.actor.closed) == ([Stage.PASTING], 0, [])


@pytest.mark.parametrize("is_taken", [True, False])
async def test_what_a_conversation_had_in_hand_when_it_ended_is_judged_by_its_transcript(
    stage: Scene, is_taken: bool
) -> None:
    session = stage.session(WORKER)
    message = await stage.send(to=WORKER)
    await handed_over(stage, message, session, Stage.INJECTED)
    stage.kill(session)
    stage.deck.sessions.retire(session)
    if is_taken:
        stage.actor.evidence[message.id] = Receipt.CONSUMED
    async with Shift(stage) as shift:
        if is_taken:
            await shift.ends(message, MessageState.CONSUMED, limit=10)
        else:
            await shift.has(message)
    record = await stage.record(message)
    assert (record.attempts, stage.starter.woken) == ((0, 0) if is_taken else (1, 1))


async def test_what_may_have_been_taken_by_a_conversation_whose_record_is_lost_is_given_up(stage: Scene) -> None:
    session = stage.session(WORKER)
    message = await stage.send(to=WORKER)
    await handed_over(stage, message, session, Stage.PASTING)
    stage.kill(session)
    stage.deck.sessions.discard(session)
    async with Shift(stage) as shift:
        await shift.ends(message, MessageState.DEAD, limit=10)
    assert (stage.actor.typed, stage.starter.woken) == ([], 0)


async def test_a_conversation_that_was_to_take_a_message_is_not_closed_for_it(stage: Scene) -> None:
    session = stage.session(WORKER, woke_at=stage.clock.wall() - 1000)
    message = await stage.send(to=WORKER)
    await handed_over(stage, message, session, Stage.HELD)
    async with Shift(stage):
        await stage.clock.until(lambda: stage.deck.board.status(WORKER).hold is Hold.BUSY, limit=10)
        assert await stage.is_in(message, MessageState.QUEUED)
    assert ((await stage.record(message)).attempts, stage.actor.typed, stage.actor.closed) == (0, [], [])


async def test_the_books_and_the_board_never_contradict_each_other(stage: Scene) -> None:
    """Sampled at every change of the board: what is in hand is never said to wait for its backoff."""
    stage.starter.plays = [WakeFailed("exit 1")]
    seen: list[tuple[str | None, Hold | None]] = []
    update = stage.deck.board.update
    books: dict[str, str | None] = {"in_flight": None}

    def watched(identity: Identity, **changes: Hold | str | bool | None) -> None:
        update(identity, **changes)
        seen.append((books["in_flight"], stage.deck.board.status(identity).hold))

    lease, release = stage.spool.lease, stage.spool.release

    async def leasing(*args, **keywords):
        found = await lease(*args, **keywords)
        books["in_flight"] = None if found is None else found.message.id
        seen.append((books["in_flight"], stage.deck.board.status(WORKER).hold))
        return found

    async def releasing(*args, **keywords):
        books["in_flight"] = None
        return await release(*args, **keywords)

    stage.deck.board.update = watched  # type: ignore[method-assign]
    stage.spool.lease, stage.spool.release = leasing, releasing  # type: ignore[method-assign]
    message = await stage.send(to=WORKER)
    async with Shift(stage) as shift:
        await shift.has(message)
        await shift.reply()
        await shift.ends(message, MessageState.CONSUMED, limit=60)
    assert (message.id, Hold.EPHEMERAL) in seen and (None, Hold.BACKOFF) in seen
    assert all(hold is not Hold.BACKOFF for in_flight, hold in seen if in_flight is not None)
