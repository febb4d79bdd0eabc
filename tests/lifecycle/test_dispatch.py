"""Send: what is refused, what is accepted, what is waited for, and what the answer claims."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import anyio
import pytest

from lifecycle.board import Board
from lifecycle.dispatch import Dispatcher
from lifecycle.flags import Flag
from lifecycle.requests import DeadLetter, PeerStopped, RateLimited, Refused, SelfSend, SendRequest, SendResult
from lifecycle.resolve import RateLimit
from lifecycle.states import SendStatus
from tests.lifecycle.stage import ALICE, BOB, Scene, scene
from transport.errors import InvalidInput
from transport.identity import Identity
from transport.message import check_draft
from transport.paths import Root
from transport.spool.records import SpoolCapped
from transport.vocabulary import Hold, MessageState, WakePolicy

SECONDS = 0.3


@dataclass
class Desk:
    """A dispatcher over a scene; `arrived` and the state of the supervisor are a test's to choose."""

    stage: Scene
    supervised: bool = True
    live: bool = False
    arrivals: list[Identity] = field(default_factory=list)
    repeats: list[Identity] = field(default_factory=list)
    on_arrival: Callable[[Identity], None] | None = None
    dispatcher: Dispatcher = field(init=False)

    def __post_init__(self) -> None:
        deck = self.stage.deck
        self.dispatcher = Dispatcher(
            deck.resolver,
            deck.spool,
            deck.board,
            deck.limits,
            self.stage.clock,
            RateLimit(deck.limits, self.stage.clock.monotonic),
            self._arrived,
            lambda: self.supervised,
            lambda _: self.live,
            self._repeated,
        )

    async def _repeated(self, identity: Identity) -> None:
        self.repeats.append(identity)

    def _arrived(self, identity: Identity) -> None:
        self.arrivals.append(identity)
        if self.on_arrival is not None:
            self.on_arrival(identity)

    async def send(
        self,
        name: str = "alice",
        body: str = "hello",
        wait: float | None = None,
        key: str | None = None,
        sender: Identity = BOB,
    ) -> SendResult:
        request = SendRequest(name, check_draft(body, idempotency_key=key), wait_seconds=wait)
        with anyio.fail_after(10):
            return await self.dispatcher.send(sender, request)


@pytest.fixture
async def desk(root: Root) -> AsyncIterator[Desk]:
    async with scene(root, wait_seconds=SECONDS, queue_cap=5, sends_per_minute=50) as stage:
        stage.peer("worker", WakePolicy.EPHEMERAL)
        stage.peer("carol")
        yield Desk(stage)


async def test_refusals_accept_nothing(desk: Desk) -> None:
    desk.stage.deck.flags.set(ALICE, Flag.STOPPED)
    with pytest.raises(PeerStopped):
        await desk.send()
    with pytest.raises(SelfSend):
        await desk.send("bob")
    with pytest.raises(InvalidInput, match="wait_seconds"):
        await desk.send("carol", wait=121)
    with pytest.raises(InvalidInput, match="wait_seconds"):
        await desk.send("carol", wait=-1)
    assert await desk.stage.spool.waiting() == {}
    assert desk.arrivals == []


async def test_a_full_queue_and_a_fast_sender_are_refused(desk: Desk) -> None:
    for _ in range(5):
        await desk.send(wait=0)
    with pytest.raises(SpoolCapped):
        await desk.send(wait=0)
    with pytest.raises(RateLimited):
        for number in range(50):
            with suppress(SpoolCapped):
                await desk.send("carol", wait=0, key=f"key {number}")
    assert (await desk.send("worker", wait=0, sender=ALICE)).status is SendStatus.QUEUED


@pytest.mark.parametrize("hold", [Hold.BUSY, Hold.DRAFT, Hold.ASKS, Hold.BLOCKED, Hold.BACKOFF])
async def test_a_recipient_that_makes_no_progress_is_answered_at_once(desk: Desk, hold: Hold) -> None:
    desk.stage.deck.board.update(ALICE, hold=hold)
    with anyio.fail_after(SECONDS / 2):
        result = await desk.send()
    assert (result.status, result.reason) == (SendStatus.QUEUED, hold)


async def test_an_ephemeral_recipient_and_a_missing_supervisor_are_answered_at_once(desk: Desk) -> None:
    with anyio.fail_after(SECONDS / 2):
        assert (await desk.send("worker")).reason is Hold.EPHEMERAL
        desk.supervised = False
        assert (await desk.send()).reason is Hold.NO_SUPERVISOR


@pytest.mark.parametrize(("live", "reason"), [(True, Hold.HANDING_OVER), (False, Hold.WAKING)])
async def test_progress_is_waited_for_up_to_the_bound(desk: Desk, live: bool, reason: Hold) -> None:
    desk.live = live
    began = anyio.current_time()
    result = await desk.send()
    assert anyio.current_time() - began >= SECONDS
    assert (result.status, result.reason) == (SendStatus.QUEUED, reason)


async def test_an_asked_for_wait_is_kept_whatever_holds_the_message(desk: Desk) -> None:
    desk.stage.deck.board.update(ALICE, hold=Hold.BUSY)
    began = anyio.current_time()
    assert (await desk.send(wait=SECONDS)).reason is Hold.BUSY
    assert anyio.current_time() - began >= SECONDS


async def test_who_waits_while_the_server_ends_is_told_what_is_known(desk: Desk) -> None:
    desk.live = True
    results: list[SendResult] = []

    async def send() -> None:
        results.append(await desk.send(wait=100))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        with anyio.fail_after(10):
            while not desk.arrivals:  # noqa: ASYNC110
                await anyio.sleep(0.001)
        desk.stage.deck.board.release()
    results.append(await desk.send(wait=100))
    assert [result.status for result in results] == [SendStatus.QUEUED] * 2
    assert [result.reason for result in results] == [Hold.HANDING_OVER, Hold.BUSY]


async def test_delivered_is_said_only_with_a_receipt(desk: Desk) -> None:
    def settle(identity: Identity) -> None:
        tasks.start_soon(consume, identity)

    async def consume(identity: Identity) -> None:
        deck = desk.stage.deck
        lease = await deck.spool.lease(identity, "f", desk.stage.clock.wall())
        assert lease is not None
        deck.board.woke(identity)
        await deck.settler.consumed(lease, "transcript")

    desk.on_arrival = settle
    async with anyio.create_task_group() as tasks:
        result = await desk.send()
    assert (result.status, result.reason, result.woke, result.queue_depth) == (SendStatus.DELIVERED, None, True, 0)


async def test_a_message_given_up_while_its_sender_waits_is_an_error(desk: Desk) -> None:
    async def bury(identity: Identity) -> None:
        lease = await desk.stage.deck.spool.lease(identity, "f", desk.stage.clock.wall())
        assert lease is not None
        await desk.stage.deck.settler.bury(lease, "no client")

    desk.on_arrival = lambda identity: tasks.start_soon(bury, identity)
    async with anyio.create_task_group() as tasks:
        with pytest.raises(DeadLetter, match="no client"):
            await desk.send()


async def test_a_repeated_key_is_the_first_message_and_its_outcome(desk: Desk) -> None:
    first = await desk.send(wait=0, key="k")
    again = await desk.send(wait=0, key="k")
    assert again.duplicate and again.message_id == first.message_id
    assert desk.repeats == [BOB]
    lease = await desk.stage.spool.lease(ALICE, "f", desk.stage.clock.wall())
    assert lease is not None
    await desk.stage.deck.settler.consumed(lease, "transcript")
    done = await desk.send(key="k")
    assert (done.status, done.duplicate, done.message_id) == (SendStatus.DELIVERED, True, first.message_id)
    assert await desk.stage.spool.depth(ALICE) == 0


@pytest.mark.parametrize("since", ["stopped", "failed", "removed", "rate"])
async def test_what_was_accepted_is_not_refused_when_it_is_repeated(desk: Desk, since: str) -> None:
    first = await desk.send(wait=0, key="k")
    flags = desk.stage.deck.flags
    match since:
        case "stopped":
            flags.set(ALICE, Flag.STOPPED)
        case "failed":
            flags.set(ALICE, Flag.FAILED, "3 deaths")
        case "removed":
            desk.stage.registry.remove("alice")
        case _:
            with suppress(RateLimited):
                while True:
                    desk.dispatcher.rate.take(BOB)
    again = await desk.send(wait=0, key="k")
    assert (again.message_id, again.status, again.duplicate) == (first.message_id, SendStatus.QUEUED, True)
    for key in (None, "another"):
        with pytest.raises(Refused):
            await desk.send(wait=0, key=key)
    if since != "rate":
        with pytest.raises(Refused):
            await desk.send(wait=0, key="k", sender=Identity("scripted", "carol"))
    desk.stage.clock.epoch += 24 * 3600 + 1
    with pytest.raises(Refused):
        await desk.send(wait=0, key="k")
    assert await desk.stage.spool.waiting() == {ALICE: 1}


async def test_what_was_given_up_since_is_said_when_it_is_repeated(desk: Desk) -> None:
    await desk.send(wait=0, key="k")
    await desk.stage.spool.bury_all("alice", "alice was removed", desk.stage.clock.wall())
    desk.stage.registry.remove("alice")
    with pytest.raises(DeadLetter, match="alice was removed"):
        await desk.send(key="k")


async def test_a_repeated_key_to_somebody_else_waits_for_the_first_recipient(desk: Desk) -> None:
    """The answer is about the first message, so the news of its recipient must reach who waits."""
    first = await desk.send(wait=0, key="k")

    async def consume() -> None:
        await anyio.sleep(0.05)
        lease = await desk.stage.spool.lease(ALICE, "f", desk.stage.clock.wall())
        assert lease is not None
        await desk.stage.deck.settler.consumed(lease, "transcript")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(consume)
        result = await desk.send("carol", wait=5, key="k")
    assert (result.status, result.message_id, result.personality) == (SendStatus.DELIVERED, first.message_id, "alice")


async def test_a_sender_that_leaves_in_the_middle_leaves_a_message_somebody_knows_of(desk: Desk) -> None:
    with anyio.CancelScope() as scope:
        original = desk.stage.spool.post

        async def post(*args, **keywords):
            scope.cancel()
            return await original(*args, **keywords)

        desk.stage.spool.post = post  # type: ignore[method-assign]
        await desk.send()
    assert scope.cancelled_caught
    with anyio.fail_after(5):
        while True:
            if await desk.stage.spool.depth(ALICE) == 1 and desk.arrivals:
                break
            await anyio.sleep(0.001)
    assert desk.arrivals == [ALICE]


async def test_a_reply_tells_the_drain_of_its_sender(desk: Desk) -> None:
    heard: list[int] = []
    with desk.stage.deck.board.on_send(BOB, lambda: heard.append(1)):
        await desk.send(wait=0)
    assert heard == [1]


async def test_progress_is_told_once_for_each_reason(root: Root) -> None:
    told: list[str] = []

    async def progress(text: str) -> None:
        told.append(text)

    async def move(board: Board) -> None:
        for number, holds in enumerate(([Hold.WAKING, Hold.UNKNOWN], [Hold.UNKNOWN, Hold.WAKING], [Hold.BUSY]), 1):
            while len(told) < number:  # noqa: ASYNC110
                await anyio.sleep(0.001)
            for hold in holds:
                board.update(ALICE, hold=hold)
                await anyio.wait_all_tasks_blocked()

    request = SendRequest("alice", check_draft("hello"))
    async with scene(root) as stage:
        with anyio.fail_after(15):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(move, stage.deck.board)
                result = await Desk(stage).dispatcher.send(BOB, request, progress)
        assert told == ["alice: waking", "alice: unknown", "alice: waking"]
        assert result.reason is Hold.BUSY
        assert await stage.spool.message(result.message_id) is not None


async def test_nobody_waits_for_a_message_that_is_only_second(desk: Desk) -> None:
    await desk.send(wait=0)
    with anyio.fail_after(SECONDS / 2):
        result = await desk.send()
    assert (result.reason, result.queue_depth) == (Hold.BUSY, 2)
    assert (await desk.stage.spool.message(result.message_id)).state is MessageState.QUEUED  # type: ignore[union-attr]
