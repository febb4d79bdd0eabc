"""What those who ask are told of queues and dead letters, and what operators do about them."""

from collections.abc import AsyncIterator

import pytest

from lifecycle.flags import Flag
from lifecycle.queues import Queues
from lifecycle.requests import NoSuchMessage, Selection, UnknownPeer
from tests.lifecycle.stage import ALICE, BOB, Scene, scene
from transport.identity import OPERATOR, Identity
from transport.message import Message
from transport.paths import Root
from transport.profile import host, tenant
from transport.vocabulary import Hold, MessageState, Stage, WakePolicy


@pytest.fixture
async def stage(root: Root) -> AsyncIterator[Scene]:
    async with scene(root) as built:
        built.peer("carol", runtimes=("claude", "codex"), default_runtime="codex")
        built.peer("worker", WakePolicy.EPHEMERAL)
        yield built


def queues(stage: Scene, *, is_supervised: bool = True, is_live: bool = False) -> Queues:
    deck = stage.deck
    return Queues(
        stage.registry,
        deck.resolver,
        deck.spool,
        deck.board,
        deck.settler.logs,
        stage.clock,
        stage.kicked.append,
        is_supervised=lambda: is_supervised,
        is_live=lambda identity: is_live,
    )


async def test_queues_of_one_of_all_and_of_who_is_gone(stage: Scene) -> None:
    message = await stage.send()
    stage.deck.board.update(ALICE, hold=Hold.DRAFT, detail="half a line")
    (row,) = await queues(stage).rows("alice")
    assert (row.depth, row.hold, row.detail, row.in_flight, row.host) == (1, Hold.DRAFT, "half a line", None, "here")
    assert [row.identity for row in await queues(stage).rows("carol")] == ["claude-carol", "codex-carol"]
    stage.deck.flags.set(ALICE, Flag.STOPPED)
    (row,) = await queues(stage).rows("alice")
    assert (row.hold, row.detail) == (Hold.STOPPED, None)
    stage.registry.remove("alice")
    await stage.spool.bury(message.id, "gone", stage.clock.wall())
    rows = {row.identity: row for row in await queues(stage).rows(None)}
    assert set(rows) == {"scripted-alice", "scripted-bob"}
    assert (rows["scripted-alice"].dead, rows["scripted-bob"].depth) == (1, 1)
    assert [row.identity for row in await queues(stage).rows("alice")] == ["scripted-alice"]
    with pytest.raises(UnknownPeer):
        await queues(stage).rows("alicia")


async def test_more_than_a_hundred_queues_with_dead_letters_are_all_shown(stage: Scene) -> None:
    for number in range(120):
        letter = await stage.send(to=Identity("scripted", f"gone{number}"), sender=OPERATOR)
        await stage.spool.bury(letter.id, "gone", stage.clock.wall())
    rows = await queues(stage).rows(None)
    assert len(rows) == 120
    assert {(row.host, row.tenant_id) for row in rows} == {(host(), tenant())}


async def test_what_waits_for_its_backoff_says_why_the_last_attempt_failed(stage: Scene) -> None:
    message = await stage.send()
    await stage.spool.lease(ALICE, "f", stage.clock.wall())
    (row,) = await queues(stage).rows("alice")
    assert (row.in_flight, row.hold) == (message.id, Hold.HANDING_OVER)
    later = stage.clock.wall() + 60
    await stage.spool.release(message.id, "no receipt", stage.clock.wall(), not_before=later, attempted=True)
    (row,) = await queues(stage).rows("alice")
    assert (row.in_flight, row.hold, row.detail) == (None, Hold.BACKOFF, "no receipt")


async def test_a_message_s_history_is_complete_and_an_unknown_id_an_error(stage: Scene) -> None:
    message = await stage.send()
    await stage.spool.lease(ALICE, "f", stage.clock.wall())
    report = await queues(stage).message(message.id)
    assert (report.state, report.stage, report.sender) == ("leased", "held", "scripted-bob")
    assert [event for _, event, _ in report.events] == ["accepted", "leased"]
    with pytest.raises(NoSuchMessage):
        await queues(stage).message("m_" + "0" * 20)


async def dead(stage: Scene, to: Identity, count: int) -> list[Message]:
    messages = [await stage.send(f"{number}", to=to) for number in range(count)]
    for message in messages:
        await stage.spool.bury(message.id, "poison", stage.clock.wall())
    return messages


async def test_dead_letters_by_peer_and_age(stage: Scene) -> None:
    old = await dead(stage, ALICE, 3)
    await stage.clock.advance(100)
    new = await dead(stage, Identity("codex", "carol"), 2)
    letters = await queues(stage).letters(Selection(), 4)
    assert ([each.message_id for each in letters.rows], letters.total) == (
        [message.id for message in (*reversed(new), *reversed(old))][:4],
        5,
    )
    letters = await queues(stage).letters(Selection(personality="carol"), 10)
    assert letters.total == 2
    letters = await queues(stage).letters(Selection(older_seconds=50), 10)
    assert {each.recipient for each in letters.rows} == {"scripted-alice"}
    assert (await queues(stage).letters(Selection(personality="carol", older_seconds=50), 10)).total == 0
    with pytest.raises(UnknownPeer):
        await queues(stage).letters(Selection(personality="nobody"), 10)


async def test_retry_wakes_those_it_concerns_in_order(stage: Scene) -> None:
    first, second = await dead(stage, ALICE, 2)
    (other,) = await dead(stage, Identity("codex", "carol"), 1)
    handled = await queues(stage).retry(Selection(personality="alice"))
    assert [each.message_id for each in handled.done] == [first.id, second.id]
    assert stage.kicked == [ALICE]
    handled = await queues(stage).retry(Selection((other.id, first.id)))
    assert [each.message_id for each in handled.done] == [other.id]
    ((refused, error),) = handled.refused
    assert (refused, "only a dead letter" in str(error)) == (first.id, True)


async def test_drop_kicks_the_senders_who_get_a_notice(stage: Scene) -> None:
    (letter,) = await dead(stage, ALICE, 1)
    waiting, held = await stage.send("waits"), await stage.send("in hand", to=Identity("codex", "carol"))
    await stage.spool.lease(held.recipient, "f", stage.clock.wall())
    await stage.spool.stage(held.id, Stage.PASTING, stage.clock.wall())
    with stage.deck.board.watch(waiting.id, ALICE) as watch:
        handled = await queues(stage).drop(Selection((letter.id, waiting.id, held.id)))
    assert (watch.outcome, watch.reason) == (MessageState.DEAD, "an operator dropped it")
    assert f"ev=dropped identity=scripted-alice id={waiting.id}" in stage.log("delivery")
    assert {each.message_id for each in handled.done} == {letter.id, waiting.id}
    assert [message_id for message_id, _ in handled.refused] == [held.id]
    assert BOB in stage.kicked
    assert await stage.spool.depth(BOB) == 2
    assert await stage.is_in(held, MessageState.LEASED)


async def test_drop_all_takes_dead_letters_of_removed_peers_too_and_nothing_that_waits(stage: Scene) -> None:
    await dead(stage, ALICE, 2)
    waiting = await stage.send("waits")
    stage.registry.remove("alice")
    handled = await queues(stage).drop(Selection(personality="alice"))
    assert len(handled.done) == 2
    assert await stage.is_in(waiting, MessageState.QUEUED)
    assert (await queues(stage).letters(Selection(), 10)).total == 0


async def test_without_a_supervisor_everything_waits_for_one(stage: Scene) -> None:
    await stage.send()
    await stage.send(to=Identity("scripted", "worker"))
    rows = await queues(stage, is_supervised=False).rows(None)
    assert {row.hold for row in rows} == {Hold.NO_SUPERVISOR}
    rows = await queues(stage, is_live=True).rows(None)
    assert {row.identity: row.hold for row in rows} == {
        "scripted-alice": Hold.HANDING_OVER,
        "scripted-worker": Hold.EPHEMERAL,
    }
