"""The drain of a warm identity: every way a hand-over can go, and what stands in the spool afterwards."""

import subprocess
from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path

import anyio
import anyio.from_thread
import pytest

from lifecycle.deck import Deck
from lifecycle.drain import Drain
from lifecycle.flags import Flag
from lifecycle.session import Session
from lifecycle.steady import SteadyWall
from lifecycle.wake import AlreadyWaking, SessionBlocked, WakeFailed
from tests.held_paths import held
from tests.lifecycle.stage import ALICE, BOB, INJECTED, TAKEN, UNREAD, UNTAKEN, Scene, process_id, scene
from transport.bulkhead import NoAnswer
from transport.delivery import HandOver
from transport.envelope import Form
from transport.errors import InvalidInput
from transport.message import Message
from transport.paths import Root
from transport.tmux.control import TmuxGone, TmuxUnknown
from transport.vocabulary import Hold, MessageState, Receipt, ScreenState, Stage

HANGS = NoAnswer(Path("/mnt/dead"), "gave no answer")


@pytest.fixture
async def stage(root: Root) -> AsyncIterator[Scene]:
    async with scene(root, attempts=3, message_ttl_seconds=100.0) as built:
        yield built


async def drained(stage: Scene, *messages: Message, state: MessageState = MessageState.CONSUMED) -> Drain:
    """Run a drain until all messages stand where they should."""
    drain = Drain(stage.deck, ALICE)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drain.run)
        for message in messages:
            await stage.clock.until(lambda message=message: stage.is_in(message, state))
        tasks.cancel_scope.cancel()
    return drain


async def test_messages_are_handed_over_one_by_one_in_order(stage: Scene) -> None:
    sent = [await stage.send(f"message {number}") for number in range(5)]
    await drained(stage, *sent)
    assert stage.actor.typed == [message.id for message in sent]
    assert stage.starter.woken == 1


async def test_a_drain_ends_with_its_queue(stage: Scene) -> None:
    await stage.send()
    with anyio.fail_after(10):
        await Drain(stage.deck, ALICE).run()
    assert stage.deck.board.status(ALICE).hold is None


async def test_nothing_is_leased_while_the_gate_holds(stage: Scene) -> None:
    stage.actor.holds = [Hold.DRAFT]
    message = await stage.send()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Drain(stage.deck, ALICE).run)
        await stage.clock.until(lambda: stage.deck.board.status(ALICE).hold is Hold.DRAFT)
        await stage.clock.advance(20)
        assert await stage.is_in(message, MessageState.QUEUED)
        assert (await stage.record(message)).attempts == 0
        stage.actor.holds = []
        await stage.clock.until(lambda: stage.is_in(message, MessageState.CONSUMED))
        tasks.cancel_scope.cancel()


async def test_what_stays_unknown_is_blocked_and_the_first_answer_ends_that(stage: Scene) -> None:
    stage.actor.holds = [TmuxUnknown("no answer")]
    message = await stage.send()
    board = stage.deck.board
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Drain(stage.deck, ALICE).run)
        await stage.clock.until(lambda: board.status(ALICE).hold is Hold.UNKNOWN)
        await stage.clock.until(lambda: board.status(ALICE).hold is Hold.BLOCKED, limit=12)
        stage.actor.holds = []
        await stage.clock.until(lambda: stage.is_in(message, MessageState.CONSUMED))
        tasks.cancel_scope.cancel()


async def test_no_receipt_is_tried_again_and_then_given_up_with_a_notice(stage: Scene) -> None:
    stage.actor.plays = [UNTAKEN] * 9
    message = await stage.send()
    await drained(stage, message, state=MessageState.DEAD)
    assert stage.actor.typed == [message.id] * 3
    assert stage.actor.stages == [Stage.HELD, Stage.PASTING, Stage.PASTING]
    assert stage.kicked == [BOB]
    assert await stage.spool.depth(BOB) == 1


async def test_failed_wakes_back_off_and_are_counted_in_the_spool(stage: Scene) -> None:
    stage.starter.plays = [WakeFailed("no client")] * 9
    message = await stage.send()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Drain(stage.deck, ALICE).run)
        await stage.clock.until(lambda: stage.deck.board.status(ALICE).hold is Hold.BACKOFF)
        assert (await stage.record(message)).attempts == 1
        tasks.cancel_scope.cancel()
    began = stage.clock.now
    await drained(stage, message, state=MessageState.DEAD)
    assert stage.clock.now - began >= 4
    assert (await stage.record(message)).reason == "waking failed: no client"


@pytest.mark.parametrize("how", ["removed", "undeclared"])
async def test_a_message_for_a_presence_that_is_gone_ends_as_a_dead_letter(stage: Scene, how: str) -> None:
    if how == "removed":
        stage.registry.remove("alice")
    else:
        profile = stage.registry.get("alice")
        assert profile is not None
        stage.registry.update(profile.model_copy(update={"runtimes": ("command",), "default_runtime": "command"}))

    async def wake(*args: object, **keywords: object) -> None:
        stage.deck.resolver.declared(ALICE)

    stage.starter.wake = wake  # type: ignore[method-assign,assignment]
    message = await stage.send()
    await drained(stage, message, state=MessageState.DEAD)
    assert await stage.spool.depth(BOB) == 1
    assert not stage.deck.flags.is_set(ALICE, Flag.FAILED)


async def test_our_own_text_that_a_composer_keeps_with_something_else_is_blocked_after_a_while(stage: Scene) -> None:
    stage.actor.plays = [HandOver(None, Hold.DRAFT, True, "played", "[Image #1]<peer-message")] * 10_000
    message = await stage.send()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Drain(stage.deck, ALICE).run)
        await stage.clock.until(lambda: stage.deck.board.status(ALICE).hold is Hold.DRAFT)
        await stage.clock.until(lambda: stage.deck.board.status(ALICE).hold is Hold.BLOCKED)
        assert stage.deck.board.status(ALICE).detail == "[Image #1]<peer-message"
        stage.actor.plays = []
        await stage.clock.until(lambda: stage.is_in(message, MessageState.CONSUMED))
        tasks.cancel_scope.cancel()


async def test_a_stopped_peer_keeps_its_queue_and_ends_the_drain(stage: Scene) -> None:
    stage.deck.flags.set(ALICE, Flag.STOPPED)
    message = await stage.send()
    with anyio.fail_after(10):
        await Drain(stage.deck, ALICE).run()
    assert await stage.is_in(message, MessageState.QUEUED)
    assert stage.starter.woken == 0


@pytest.mark.parametrize(
    ("error", "hold"),
    [(SessionBlocked("a dialog"), Hold.BLOCKED), (AlreadyWaking("x"), Hold.UNKNOWN), (HANGS, Hold.UNKNOWN)],
)
async def test_a_blocked_or_busy_wake_costs_no_attempt(stage: Scene, error: Exception, hold: Hold) -> None:
    stage.starter.plays = [error] * 3
    message = await stage.send()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Drain(stage.deck, ALICE).run)
        await stage.clock.until(lambda: stage.deck.board.status(ALICE).hold is hold)
        await stage.clock.until(lambda: stage.is_in(message, MessageState.CONSUMED))
        tasks.cancel_scope.cancel()
    assert (await stage.record(message)).attempts == 0


async def test_an_unreadable_record_holds_the_message_and_does_not_spin(stage: Scene) -> None:
    stage.deck.sessions.path(ALICE).write_text("{")
    message = await stage.send()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Drain(stage.deck, ALICE).run)
        await stage.clock.until(lambda: stage.deck.board.status(ALICE).hold is Hold.UNKNOWN)
        detail = stage.deck.board.status(ALICE).detail
        assert detail is not None and "peerwake stop alice" in detail
        assert stage.clock.sleeping == 1
        assert await stage.is_in(message, MessageState.QUEUED)
        assert stage.starter.woken == 0
        stage.deck.sessions.path(ALICE).unlink()
        await stage.clock.until(lambda: stage.is_in(message, MessageState.CONSUMED))
        tasks.cancel_scope.cancel()


async def test_a_message_that_was_typed_is_never_typed_again_blindly(stage: Scene) -> None:
    """The terminal falls silent after the paste: the next look starts from the stage that was reached."""
    stage.actor.plays = [TmuxUnknown("no answer"), OSError(24, "Too many open files"), TAKEN]
    message = await stage.send()
    await drained(stage, message)
    assert stage.actor.stages == [Stage.HELD, Stage.PASTING, Stage.PASTING]
    assert (await stage.record(message)).attempts == 0


async def test_an_error_before_anything_was_typed_puts_the_message_back(stage: Scene) -> None:
    error = OSError(24, "Too many open files")
    error.untouched = True  # type: ignore[attr-defined]
    stage.actor.plays = [error]
    message = await stage.send()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Drain(stage.deck, ALICE).run)
        await stage.clock.until(lambda: stage.deck.board.status(ALICE).hold is Hold.UNKNOWN)
        assert await stage.is_in(message, MessageState.QUEUED)
        await stage.clock.until(lambda: stage.is_in(message, MessageState.CONSUMED))
        tasks.cancel_scope.cancel()
    assert stage.actor.stages == [Stage.HELD, Stage.HELD]


async def test_a_disk_that_is_full_when_a_session_is_to_be_started_costs_no_attempt(stage: Scene) -> None:
    stage.starter.plays = [OSError(28, "No space left on device")] * 20
    message = await stage.send()
    for _ in range(20):
        with pytest.raises(OSError, match="No space"):
            await Drain(stage.deck, ALICE).run()
    await drained(stage, message)
    assert (await stage.record(message)).attempts == 0


async def test_a_body_that_cannot_be_written_for_its_reader_does_not_block_the_queue(stage: Scene) -> None:
    session = stage.session()
    inbox = Path(session.cwd) / ".peerwake" / "inbox"
    inbox.parent.mkdir(parents=True, exist_ok=True)
    inbox.write_text("a file of somebody's")
    long, short = await stage.send("x" * 20_000), await stage.send("short")
    await drained(stage, short)
    record = await stage.record(long)
    assert (record.state, len(stage.actor.typed)) == (MessageState.DEAD, 1)
    assert "cannot be put into a file" in str(record.reason)
    assert await stage.spool.depth(BOB) == 1


async def test_a_disk_that_is_full_costs_a_body_no_attempt(stage: Scene) -> None:
    message = await stage.send()

    class Full(Deck):
        async def text(self, session: Session, message: Message) -> str:
            raise OSError(28, "No space left on device")

    stage.deck = Full(**{each.name: getattr(stage.deck, each.name) for each in fields(stage.deck)})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Drain(stage.deck, ALICE).run)
        await stage.clock.until(lambda: stage.deck.board.status(ALICE).hold is Hold.UNKNOWN)
        await stage.clock.advance(20)
        await stage.clock.until(lambda: stage.is_in(message, MessageState.QUEUED))
        tasks.cancel_scope.cancel()
    assert (await stage.record(message)).attempts == 0


async def test_an_inbox_that_gives_no_answer_costs_a_body_no_attempt(stage: Scene) -> None:
    inbox = Path(stage.session().cwd) / ".peerwake" / "inbox"
    inbox.mkdir(parents=True)
    stage.actor.inline, stage.actor.bulkhead.seconds = Form(10), 0.2
    message = await stage.send("x" * 20_000)
    board = stage.deck.board
    with held(inbox) as paths:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Drain(stage.deck, ALICE).run)
            await stage.clock.until(lambda: "gave no answer" in str(board.status(ALICE).detail))
            assert board.status(ALICE).hold is Hold.UNKNOWN
            await stage.clock.until(lambda: stage.is_in(message, MessageState.QUEUED))
            assert stage.actor.typed == []
            paths.release()
            await stage.clock.until(lambda: stage.is_in(message, MessageState.CONSUMED))
            tasks.cancel_scope.cancel()
    assert (await stage.record(message)).attempts == 0


async def test_a_gate_that_waits_for_a_path_costs_no_attempt(stage: Scene) -> None:
    stage.actor.holds = [HANGS]
    message = await stage.send()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Drain(stage.deck, ALICE).run)
        await stage.clock.until(lambda: stage.deck.board.status(ALICE).detail == str(HANGS))
        stage.actor.holds = []
        await stage.clock.until(lambda: stage.is_in(message, MessageState.CONSUMED))
        tasks.cancel_scope.cancel()
    assert (await stage.record(message)).attempts == 0


async def test_what_cannot_be_typed_waits_for_a_transcript_that_gives_no_answer(
    stage: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.actor.plays = [InvalidInput("text", "holds a control character")] * 2
    message = await stage.send()

    async def hangs(session: Session, message_id: str) -> None:
        raise HANGS

    async with anyio.create_task_group() as tasks:
        with monkeypatch.context() as fault:
            fault.setattr(stage.actor, "find", hangs)
            tasks.start_soon(Drain(stage.deck, ALICE).run)
            await stage.clock.until(lambda: stage.deck.board.status(ALICE).detail == str(HANGS))
        await stage.clock.until(lambda: stage.is_in(message, MessageState.DEAD))
        tasks.cancel_scope.cancel()


async def test_silence_for_hours_does_not_pile_up_calls(root: Root) -> None:
    async with scene(root) as stage:
        stage.actor.plays = [TmuxUnknown("no answer") for _ in range(350)]
        message = await stage.send()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Drain(stage.deck, ALICE).run)
            await stage.clock.until(lambda: not stage.actor.plays, step=20)
            await stage.clock.until(lambda: stage.is_in(message, MessageState.CONSUMED))
            tasks.cancel_scope.cancel()
    assert "drain-failed" not in stage.log("lifecycle")


async def test_a_text_that_no_terminal_takes_is_a_dead_letter(stage: Scene) -> None:
    stage.actor.plays = [InvalidInput("text", "holds a control character")]
    message, following = await stage.send("poison"), await stage.send("fine")
    await drained(stage, following)
    assert await stage.is_in(message, MessageState.DEAD)


async def test_a_dropped_queue_of_the_client_is_noticed(stage: Scene) -> None:
    """Injected, and then the client is idle without it: a person pressed Escape."""
    stage.actor.plays = [INJECTED]
    stage.actor.state = ScreenState.BUSY
    message = await stage.send()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Drain(stage.deck, ALICE).run)
        await stage.clock.until(lambda: stage.deck.board.status(ALICE).hold is Hold.BUSY)
        await stage.clock.advance(20)
        assert await stage.is_in(message, MessageState.LEASED)
        stage.actor.state = ScreenState.READY
        await stage.clock.until(lambda: stage.is_in(message, MessageState.CONSUMED), limit=30)
        tasks.cancel_scope.cancel()
    assert stage.actor.typed == [message.id] * 2
    assert (await stage.record(message)).attempts == 1


async def test_a_message_that_was_taken_is_settled_whatever_becomes_of_its_topic(stage: Scene) -> None:
    settled: list[bool] = []
    stage.session()
    first, second = await stage.send("one", topic="release"), await stage.send("two")

    def full(session: Session, topic: str | None) -> None:
        settled.append(anyio.from_thread.run(stage.is_in, first, MessageState.CONSUMED))
        raise OSError(28, "No space left on device")

    stage.deck.sessions.add_topic = full  # type: ignore[method-assign]
    await drained(stage, first, second)
    assert settled == [True]
    assert stage.actor.typed == [first.id, second.id]
    assert "ev=topic-not-noted identity=scripted-alice" in stage.log("lifecycle")


async def test_injected_becomes_consumed_when_the_transcript_says_so(stage: Scene) -> None:
    stage.actor.plays = [INJECTED]
    stage.actor.state = ScreenState.BUSY
    message = await stage.send()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Drain(stage.deck, ALICE).run)
        await stage.clock.until(lambda: stage.deck.board.status(ALICE).hold is Hold.BUSY)
        stage.actor.evidence[message.id] = Receipt.CONSUMED
        await stage.clock.until(lambda: stage.is_in(message, MessageState.CONSUMED), limit=2)
        tasks.cancel_scope.cancel()
    assert stage.actor.typed == [message.id]


async def test_a_death_after_the_paste_is_settled_by_the_transcript(stage: Scene) -> None:
    async def dies(message_id: str) -> None:
        stage.actor.on_deliver = None
        stage.actor.evidence[message_id] = Receipt.CONSUMED

    stage.actor.on_deliver = dies
    stage.actor.plays = [TmuxGone("dead")]
    message = await stage.send()
    await drained(stage, message)
    assert stage.actor.typed == [message.id]


async def test_a_death_without_evidence_puts_the_message_back_to_the_head(stage: Scene) -> None:
    async def dies(message_id: str) -> None:
        stage.actor.on_deliver = None
        stage.kill(stage.deck.sessions.load(ALICE))  # type: ignore[arg-type]

    stage.actor.on_deliver = dies
    stage.actor.plays = [TmuxGone("dead")]
    first, second = await stage.send("first"), await stage.send("second")
    await drained(stage, first, second)
    assert stage.actor.typed == [first.id, first.id, second.id]
    assert (await stage.record(first)).attempts == 1


async def test_a_stop_in_the_middle_costs_no_attempt(stage: Scene) -> None:
    async def stopped(message_id: str) -> None:
        stage.deck.flags.set(ALICE, Flag.STOPPED)

    stage.actor.on_deliver = stopped
    stage.actor.plays = [TmuxGone("closed")]
    message = await stage.send()
    with anyio.fail_after(10):
        await Drain(stage.deck, ALICE).run()
    record = await stage.record(message)
    assert (record.state, record.attempts) == (MessageState.QUEUED, 0)


def client_of(stage: Scene) -> subprocess.Popen[bytes]:
    """A client in a process group of its own, as in a pane."""
    client = subprocess.Popen(["sleep", "600"], process_group=0)
    stage.processes.append(client)
    return client


@pytest.mark.parametrize("takes", [True, False])
async def test_a_client_has_a_moment_to_write_down_what_it_took_before_its_end(stage: Scene, takes: bool) -> None:
    """A stop ends tmux first, and the client has a second after that."""
    client = client_of(stage)
    session = stage.session(pane=process_id(client))

    async def stopped(message_id: str) -> None:
        stage.deck.flags.set(ALICE, Flag.STOPPED)
        stage.kill(session)

    stage.actor.on_deliver = stopped
    stage.actor.plays = [TmuxGone("closed")]
    message = await stage.send()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Drain(stage.deck, ALICE).run)
        await stage.clock.until(lambda: stage.actor.typed)
        await stage.clock.advance(0.5)
        assert await stage.is_in(message, MessageState.LEASED)
        if takes:
            stage.actor.evidence[message.id] = Receipt.CONSUMED
            client.kill()
            client.wait()
        state = MessageState.CONSUMED if takes else MessageState.QUEUED
        await stage.clock.until(lambda: stage.is_in(message, state), limit=2)
        tasks.cancel_scope.cancel()


async def leased(stage: Scene, message: Message, fence: str, reached: Stage | None) -> None:
    """The state that a server leaves behind which was killed in the middle of a hand-over."""
    assert await stage.spool.lease(message.recipient, fence, stage.clock.wall()) is not None
    if reached is not None:
        await stage.spool.stage(message.id, reached, stage.clock.wall(), fence=fence)


async def test_a_message_that_came_back_from_the_clients_queue_into_its_composer_is_looked_for_again(
    stage: Scene,
) -> None:
    stage.actor.plays = [INJECTED]
    stage.actor.state = ScreenState.BUSY
    message = await stage.send()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Drain(stage.deck, ALICE).run)
        await stage.clock.until(lambda: stage.deck.board.status(ALICE).hold is Hold.BUSY)
        await stage.clock.advance(20)
        assert stage.actor.stages == [Stage.HELD]
        stage.actor.state = ScreenState.DRAFT
        await stage.clock.until(lambda: stage.is_in(message, MessageState.CONSUMED))
        tasks.cancel_scope.cancel()
    first, again = stage.actor.stages
    assert first is Stage.HELD
    assert again is not Stage.HELD


@pytest.mark.parametrize("reached", [None, Stage.PASTING, Stage.INJECTED])
async def test_the_next_server_goes_on_from_the_stage_in_a_live_session(stage: Scene, reached: Stage | None) -> None:
    message = await stage.send()
    await leased(stage, message, stage.session().fence, reached)
    await drained(stage, message)
    assert stage.actor.stages == [reached or Stage.HELD]


@pytest.mark.parametrize(("taken", "typed"), [(True, 0), (False, 1)])
async def test_the_next_server_looks_into_the_transcript_of_a_dead_session(
    stage: Scene, taken: bool, typed: int
) -> None:
    message = await stage.send()
    session = stage.session()
    await leased(stage, message, session.fence, Stage.PASTING)
    stage.kill(session)
    if taken:
        stage.actor.evidence[message.id] = Receipt.CONSUMED
    await drained(stage, message)
    assert len(stage.actor.typed) == typed


async def test_a_session_that_an_operator_woke_in_between_hides_no_evidence(stage: Scene) -> None:
    """The session a message was pasted into is the last one, not the current one."""
    message = await stage.send()
    session = stage.session()
    await leased(stage, message, session.fence, Stage.PASTING)
    stage.kill(session)
    stage.deck.sessions.retire(session)
    stage.session()
    stage.actor.evidence[message.id] = Receipt.CONSUMED
    await drained(stage, message)
    assert stage.actor.typed == []


async def test_a_task_of_a_worker_that_is_warm_now_is_found_in_its_session(stage: Scene) -> None:
    message = await stage.send()
    stage.session(task=message.id)
    await leased(stage, message, "task", Stage.PASTING)
    stage.actor.plays = [TAKEN]
    await drained(stage, message)
    assert stage.actor.stages == [Stage.PASTING]


async def test_a_transcript_that_cannot_be_read_keeps_the_lease_until_the_message_is_too_old(stage: Scene) -> None:
    message = await stage.send()
    session = stage.session()
    await leased(stage, message, session.fence, Stage.PASTING)
    stage.kill(session)
    stage.actor.unreadable = True
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Drain(stage.deck, ALICE).run)
        await stage.clock.until(lambda: stage.deck.board.status(ALICE).hold is Hold.UNKNOWN)
        assert await stage.is_in(message, MessageState.LEASED)
        await stage.clock.until(lambda: stage.is_in(message, MessageState.DEAD), step=5, limit=300)
        tasks.cancel_scope.cancel()
    assert stage.actor.typed == []


async def test_a_record_that_stays_unreadable_keeps_a_lease_no_longer_than_its_time_to_live(stage: Scene) -> None:
    message = await stage.send()
    await leased(stage, message, stage.session().fence, Stage.PASTING)
    stage.deck.sessions.path(ALICE).write_text("{")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Drain(stage.deck, ALICE).run)
        await stage.clock.until(lambda: stage.deck.board.status(ALICE).hold is Hold.UNKNOWN)
        await stage.clock.advance(90)
        assert await stage.is_in(message, MessageState.LEASED)
        await stage.clock.until(lambda: stage.is_in(message, MessageState.DEAD), step=5, limit=30)
        tasks.cancel_scope.cancel()
    assert "peerwake stop alice" in str((await stage.record(message)).reason)
    assert await stage.spool.depth(BOB) == 1


async def test_what_may_have_been_taken_by_a_session_nobody_knows_any_more_is_not_typed_again(stage: Scene) -> None:
    message = await stage.send()
    await leased(stage, message, "lost", Stage.PASTING)
    await drained(stage, message, state=MessageState.DEAD)
    assert stage.actor.typed == []
    assert "may have been taken" in str((await stage.record(message)).reason)
    assert await stage.spool.depth(BOB) == 1


@pytest.mark.parametrize("hold", [Hold.ASKS, Hold.UNKNOWN])
async def test_a_hold_of_typed_text_is_waited_out_without_attempts(stage: Scene, hold: Hold) -> None:
    held = HandOver(None, hold, True, "something else came up", "Proceed?")
    stage.actor.plays = [held] * 20 + [TAKEN]
    message = await stage.send()
    await drained(stage, message)
    assert (await stage.record(message)).attempts == 0


async def test_what_was_typed_as_often_as_it_may_be_is_given_up_though_each_time_the_client_worked(root: Root) -> None:
    async with scene(root, attempts=100) as stage:
        worked = HandOver(None, Hold.BUSY, True, "submitted, no receipt", "", 1)
        stage.actor.plays = [worked] * 3 + [HandOver(None, None, True, "typed 3 times", "", is_spent=True)]
        message = await stage.send()
        await drained(stage, message, state=MessageState.DEAD)
        assert "typed 3 times" in str((await stage.record(message)).reason)


async def test_a_client_that_has_perhaps_not_read_the_enter_makes_no_dead_letter(root: Root) -> None:
    async with scene(root, attempts=1) as stage:
        stage.actor.plays = [UNREAD] * 200
        message = await stage.send()
        await drained(stage, message)
        assert (await stage.record(message)).attempts == 0


async def test_a_screen_that_stays_unknown_over_typed_text_ends_with_the_time_to_live(stage: Scene) -> None:
    stage.actor.plays = [HandOver(None, Hold.UNKNOWN, True, "something else came up", "?")] * 10_000
    message = await stage.send()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Drain(stage.deck, ALICE).run)
        await stage.clock.until(lambda: stage.deck.board.status(ALICE).hold is Hold.BLOCKED, limit=300)
        assert await stage.is_in(message, MessageState.LEASED)
        await stage.clock.until(lambda: stage.is_in(message, MessageState.DEAD), step=5, limit=300)
        tasks.cancel_scope.cancel()


async def test_a_session_that_is_being_closed_gets_nothing(stage: Scene) -> None:
    stage.session(is_closing=True)
    message = await stage.send()
    stage.starter.plays = [TmuxUnknown("it does not die")] * 3
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Drain(stage.deck, ALICE).run)
        await stage.clock.until(lambda: stage.deck.board.status(ALICE).hold is Hold.UNKNOWN)
        assert stage.actor.typed == []
        assert await stage.is_in(message, MessageState.QUEUED)
        tasks.cancel_scope.cancel()


async def test_a_fault_of_ours_uses_up_attempts_and_wedges_nothing(stage: Scene) -> None:
    poison, message = await stage.send("poison"), await stage.send("good")
    fault = RuntimeError("no words for it")
    fault.untouched = True  # type: ignore[attr-defined]
    stage.actor.plays = [fault] * 10
    stage.session()
    for _ in range(stage.limits.attempts):
        assert not await stage.is_in(poison, MessageState.DEAD)
        with pytest.raises(RuntimeError):
            await Drain(stage.deck, ALICE).run()
        await stage.clock.advance(stage.limits.backoff_max_seconds)
    assert "RuntimeError: no words for it" in str((await stage.record(poison)).reason)
    stage.actor.plays = []
    await Drain(stage.deck, ALICE).run()
    assert await stage.is_in(message, MessageState.CONSUMED)


async def test_a_fault_after_the_paste_gives_up_only_what_is_old(stage: Scene) -> None:
    message = await stage.send()
    lease = await stage.spool.lease(ALICE, "f", stage.clock.wall())
    await stage.spool.stage(message.id, Stage.PASTING, stage.clock.wall())
    wall = SteadyWall(stage.clock)

    async def fault() -> None:
        await stage.deck.settler.fault(ALICE, RuntimeError("odd"), wall)

    await fault()
    assert lease is not None and await stage.is_in(message, MessageState.LEASED)
    stage.clock.epoch += 10 * stage.limits.message_ttl_seconds
    await fault()
    assert await stage.is_in(message, MessageState.LEASED)
    await stage.clock.advance(stage.limits.message_ttl_seconds + 1)
    await fault()
    assert await stage.is_in(message, MessageState.DEAD)
    await fault()


async def test_what_a_busy_client_keeps_in_its_queue_has_a_time_to_live(root: Root) -> None:
    async with scene(root, message_ttl_seconds=10) as stage:
        stage.session()
        stage.actor.state = ScreenState.BUSY
        stage.actor.plays = [INJECTED]
        message = await stage.send()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Drain(stage.deck, ALICE).run)
            await stage.clock.until(lambda: stage.is_in(message, MessageState.DEAD))
            tasks.cancel_scope.cancel()
        assert "for longer than its time to live" in str((await stage.record(message)).reason)


@pytest.mark.parametrize("hours", [-1.0, -100.0, 1.0, 20.0])
async def test_a_clock_that_jumps_does_not_stretch_a_backoff(stage: Scene, hours: float) -> None:
    stage.starter.plays = [WakeFailed("no client")]
    message = await stage.send()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Drain(stage.deck, ALICE).run)
        await stage.clock.until(lambda: stage.deck.board.status(ALICE).hold is Hold.BACKOFF, limit=60)
        tasks.cancel_scope.cancel()
    stage.clock.epoch += hours * 3600
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Drain(stage.deck, ALICE).run)
        await stage.clock.until(lambda: stage.is_in(message, MessageState.CONSUMED), limit=60)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("is_live", [True, False])
async def test_a_backoff_longer_than_any_by_now_is_waited_out_without_a_hurry(root: Root, is_live: bool) -> None:
    """The setting was lowered while a message waited; the spool still knows when it is due."""
    async with scene(root, backoff_max_seconds=5.0) as stage:
        message = await stage.send()
        await stage.spool.lease(ALICE, "f", stage.clock.wall())
        due = stage.clock.wall() + 200
        await stage.spool.release(message.id, "x", stage.clock.wall(), not_before=due, attempted=True)
        pauses, sleep = [], stage.clock.sleep

        async def sleeping(seconds: float) -> None:
            pauses.append(seconds)
            await sleep(seconds)

        stage.clock.sleep = sleeping  # type: ignore[method-assign]
        if is_live:
            stage.session()
        else:
            stage.starter.plays = [WakeFailed("no client") for _ in range(10_000)]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Drain(stage.deck, ALICE).run)
            await stage.clock.until(lambda: len(pauses) > 2, limit=60)
            assert min(pauses) >= 1
            stage.starter.plays = []
            await stage.clock.until(lambda: stage.is_in(message, MessageState.CONSUMED), step=1)
            tasks.cancel_scope.cancel()
        assert stage.clock.wall() >= due


async def test_what_the_client_holds_does_not_grow_old_by_a_jump(stage: Scene) -> None:
    """A machine that slept for two days, or a clock set forth; what really lasts too long is given up as before."""
    stage.actor.plays = [INJECTED]
    stage.actor.state = ScreenState.BUSY
    message = await stage.send()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Drain(stage.deck, ALICE).run)
        await stage.clock.until(lambda: stage.deck.board.status(ALICE).hold is Hold.BUSY)
        stage.clock.epoch += 48 * 3600
        await stage.clock.advance(20)
        assert await stage.is_in(message, MessageState.LEASED)
        await stage.clock.until(lambda: stage.is_in(message, MessageState.DEAD), limit=100)
        tasks.cancel_scope.cancel()
