"""How a hand-over ends in the spool, in the log and for those who wait."""

from collections.abc import AsyncIterator

import pytest

from tests.lifecycle.stage import ALICE, BOB, Scene, scene
from transport.identity import OPERATOR
from transport.message import Message
from transport.paths import Root
from transport.spool.records import Lease
from transport.vocabulary import Hold, Kind, MessageState


@pytest.fixture
async def stage(root: Root) -> AsyncIterator[Scene]:
    async with scene(root, attempts=4, backoff_seconds=2.0, backoff_max_seconds=5.0) as built:
        yield built


async def lease(stage: Scene) -> Lease:
    found = await stage.spool.lease(ALICE, "f", stage.clock.wall())
    assert found is not None
    return found


async def test_consumed_is_told_after_it_is_on_disk(stage: Scene) -> None:
    message = await stage.send()
    with stage.deck.board.watch(message.id, ALICE) as watch:
        await stage.deck.settler.consumed(await lease(stage), "transcript")
        assert watch.outcome is MessageState.CONSUMED
    assert await stage.is_in(message, MessageState.CONSUMED)
    assert f"ev=consumed identity=scripted-alice id={message.id} sender=scripted-bob" in stage.log("delivery")


async def test_nothing_is_told_when_the_spool_did_not_take_it(stage: Scene) -> None:
    message = await stage.send()
    given = await lease(stage)
    await stage.spool.release(message.id, "x", stage.clock.wall(), attempted=False)
    await stage.spool.lease(ALICE, "another", stage.clock.wall())
    with stage.deck.board.watch(message.id, ALICE) as watch:
        with pytest.raises(Exception, match="leased to another"):
            await stage.deck.settler.consumed(given, "transcript")
        assert watch.outcome is None


async def test_attempts_double_their_pause_up_to_a_bound_then_end(stage: Scene) -> None:
    message, pauses = await stage.send(), []
    while True:
        pause = await stage.deck.settler.failed(await lease(stage), "no receipt")
        if pause is None:
            break
        pauses.append(pause)
        assert await stage.spool.lease(ALICE, "f", stage.clock.wall() + pause - 0.01) is None
        stage.clock.now += pause
    assert pauses == [2.0, 4.0, 5.0]
    assert await stage.is_in(message, MessageState.DEAD)
    assert stage.kicked == [BOB]


async def test_what_was_only_returned_is_the_head_at_once_and_uncounted(stage: Scene) -> None:
    first, _ = await stage.send("one"), await stage.send("two")
    await stage.deck.settler.returned(await lease(stage), Hold.DRAFT)
    again = await lease(stage)
    assert (again.message.id, again.attempts) == (first.id, 0)


async def bury(stage: Scene, message: Message) -> None:
    del message
    await stage.deck.settler.bury(await lease(stage), "given up")


@pytest.mark.parametrize("sender", [OPERATOR, BOB])
async def test_a_notice_goes_to_peers_only_and_none_follows_a_notice(stage: Scene, sender: object) -> None:
    await bury(stage, await stage.send(sender=sender))  # type: ignore[arg-type]
    assert stage.kicked == ([] if sender is OPERATOR else [BOB])
    await bury(stage, await stage.send(kind=Kind.NOTICE))
    assert len(stage.kicked) == (0 if sender is OPERATOR else 1)


async def test_a_reason_from_a_broken_screen_can_be_stored(stage: Scene) -> None:
    message = await stage.send()
    await stage.deck.settler.failed(await lease(stage), "half a pair \udc80 and NUL \0")
    assert (await stage.record(message)).attempts == 1
    stage.clock.now += 60
    await stage.deck.settler.bury(await lease(stage), "half a pair \udc80")
    assert await stage.is_in(message, MessageState.DEAD)
