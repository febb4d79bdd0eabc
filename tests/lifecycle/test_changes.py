"""Removing and renaming in a server that runs: whatever is on its way ends or goes along, nothing is lost silently."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from lifecycle.changes import Changes
from lifecycle.flags import Flag
from lifecycle.journal import Journal, Removal, Renaming
from lifecycle.liveness import PeerLive
from lifecycle.remove import MessagesWaiting, Removed, Remover
from lifecycle.rename import Renamed, Renamer
from lifecycle.requests import NotAllowed, PeerStopped, UnknownPeer
from lifecycle.states import Mode, SendStatus
from lifecycle.wake import AlreadyWaking
from mcp_server.serve.callers import Caller
from mcp_server.tools.queues import check_party
from tests.bulkheads import pipes
from tests.lifecycle.workshop import Workshop, until, workshop
from transport.bulkhead import Area, NoAnswer
from transport.identity import Identity
from transport.message import accept, check_draft
from transport.paths import Root
from transport.process import terminate
from transport.relocate import Place
from transport.spool import upkeep
from transport.spool.store import SpoolStore
from transport.vocabulary import MessageState, WakePolicy

ALICE, ALICIA, BOB = (Identity("scripted", name) for name in ("alice", "alicia", "bob"))


@pytest.fixture
async def shop(root: Root) -> AsyncIterator[Workshop]:
    async with workshop(root) as built:
        built.peer()
        built.peer("bob")
        yield built


def changes(shop: Workshop) -> Changes:
    return shop.parts.application.changes


async def dead(shop: Workshop, message_id: str) -> bool:
    record = await shop.deck.spool.message(message_id)
    return record is not None and record.state is MessageState.DEAD


async def test_who_is_not_there_is_neither_removed_nor_renamed(shop: Workshop) -> None:
    with pytest.raises(UnknownPeer, match="did you mean alice"):
        await changes(shop).remove("alise")
    with pytest.raises(UnknownPeer, match="did you mean alice"):
        await changes(shop).rename("alise", "alicia")


async def test_a_peer_whose_directory_gives_no_answer_is_left_and_holds_up_no_other(
    shop: Workshop, tmp_path: Path
) -> None:
    cwd, made = shop.root.peers / "alice", changes(shop)
    with pipes(tmp_path, 1) as (pipe,):
        with pytest.raises(NoAnswer):
            await shop.deck.terminals.bulkhead.of(Area.DIRECTORY, cwd).run(cwd, pipe.open, 0.05)
        with anyio.fail_after(60):
            for force in (False, True):
                with pytest.raises(NoAnswer, match="alice gives no answer"):
                    await made.remove("alice", force=force)
            with pytest.raises(NoAnswer, match="has to answer, or to be unmounted"):
                await made.rename("alice", "alicia")
            assert Journal(shop.root).load() is None
            assert (await made.rename("bob", "bert")).after.name == "bert"
            Journal(shop.root).write(Removal(Place("alice", cwd)))
            await made.recover()
        assert "ev=change-unfinished" in shop.log()
        assert shop.parts.application.knows(ALICE)


async def test_a_sleeper_with_messages_is_renamed_and_removed_with_force_only(shop: Workshop) -> None:
    first = await shop.send(sender=BOB, wait=0)
    assert (await changes(shop).rename("alice", "alicia")).messages == 1
    assert await shop.deck.spool.waiting() == {ALICIA: 1}
    with pytest.raises(UnknownPeer, match="did you mean alicia"):
        await shop.send(wait=0)
    with pytest.raises(MessagesWaiting):
        await changes(shop).remove("alicia")
    removed = await changes(shop).remove("alicia", force=True)
    assert [each.id for each in removed.buried] == [first.message_id]
    assert await dead(shop, first.message_id)
    assert await shop.deck.spool.waiting() == {BOB: 1}
    assert not shop.parts.application.knows(ALICIA)


async def test_a_stopped_peer_stays_stopped_under_its_new_name(shop: Workshop) -> None:
    await shop.parts.application.verbs.stop("alice")
    await changes(shop).rename("alice", "alicia")
    with pytest.raises(PeerStopped):
        await shop.send("alicia")
    assert not shop.deck.flags.is_set(ALICE, Flag.STOPPED)


async def test_two_that_want_the_same_name_do_not_both_get_it(shop: Workshop) -> None:
    outcomes: list[object] = []

    async def rename(name: str) -> None:
        try:
            outcomes.append((await changes(shop).rename(name, "carol")).before.name)
        except Exception as error:
            outcomes.append(type(error).__name__)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(rename, "alice")
        tasks.start_soon(rename, "bob")
    assert sorted(map(str, outcomes)) in (["NameTaken", "alice"], ["NameTaken", "bob"])


async def test_a_wake_on_its_way_keeps_a_rename_away(shop: Workshop) -> None:
    async with shop.deck.waker.locked(ALICE):
        with pytest.raises(AlreadyWaking):
            await changes(shop).rename("alice", "alicia")
    assert (await changes(shop).rename("alice", "alicia")).after.name == "alicia"


async def test_what_was_on_its_way_to_the_old_name_goes_along(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Renamer.carry_out

    def carry_out(self: Renamer, change: Renaming) -> Renamed:
        done = whole(self, change)
        with SpoolStore(shop.root.spool) as store:
            store.enqueue(accept(check_draft("late"), BOB, ALICE, hops=0, now=1.0), cap=10, hop_limit=9)
        return done

    monkeypatch.setattr(Renamer, "carry_out", carry_out)
    await shop.send(wait=0)
    assert (await changes(shop).rename("alice", "alicia")).messages == 2
    assert await shop.deck.spool.waiting() == {ALICIA: 2}


async def test_senders_and_a_rename_that_cross_lose_nothing(shop: Workshop) -> None:
    accepted: list[str] = []

    async def keep_sending() -> None:
        while True:
            try:
                accepted.append((await shop.send(body="x", wait=0)).message_id)
            except UnknownPeer:
                return

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keep_sending)
        await until(lambda: len(accepted) > 20)
        await changes(shop).rename("alice", "alicia")
    assert await shop.deck.spool.waiting() == {ALICIA: len(accepted)}


@pytest.mark.parametrize("phase", ["rename", "remove"])
async def test_what_an_earlier_server_began_is_finished_by_the_next(shop: Workshop, phase: str) -> None:
    before, after = (Place(name, shop.root.peers / name) for name in ("alice", "alicia"))
    Journal(shop.root).write(Renaming(before, after) if phase == "rename" else Removal(before))
    await changes(shop).recover()
    assert Journal(shop.root).load() is None
    assert shop.parts.application.registry.names() == (("alicia", "bob") if phase == "rename" else ("bob",))


async def test_repeating_what_was_cut_off_finishes_it(shop: Workshop) -> None:
    before, after = (Place(name, shop.root.peers / name) for name in ("alice", "alicia"))
    Journal(shop.root).write(Renaming(before, after))
    assert (await changes(shop).rename("alice", "alicia")).after == after
    Journal(shop.root).write(Removal(after))
    assert (await changes(shop).remove("alicia")).place == after


async def test_a_new_peer_may_not_ask_about_what_a_removed_one_of_its_name_had_sent(shop: Workshop) -> None:
    sent = await shop.send("bob", sender=ALICE, wait=0)
    await changes(shop).remove("alice")
    shop.peer()
    report = await shop.parts.application.message(sent.message_id)
    assert report.sender == "scripted-alice~removed"
    with pytest.raises(NotAllowed, match="neither from you nor to you"):
        check_party(Caller(ALICE, is_operator=False), report)
    check_party(Caller(BOB, is_operator=False), report)


async def test_what_is_on_its_way_from_a_peer_that_is_removed_is_no_later_peers(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Remover.finish

    def finish(self: Remover, removal: Removal) -> Removed:
        done = whole(self, removal)
        with SpoolStore(shop.root.spool) as store:
            store.enqueue(accept(check_draft("late"), ALICE, BOB, hops=0, now=1.0), cap=10, hop_limit=9)
        return done

    monkeypatch.setattr(Remover, "finish", finish)
    await changes(shop).remove("alice")
    with SpoolStore(shop.root.spool) as store:
        assert store.read(upkeep.senders, "alice") == []


LONG_AGO = "2020-01-01T00:00:00.000+00:00"


@pytest.mark.parametrize("act", ["recover", "remove another", "remove it"])
async def test_a_removal_whose_peer_has_a_successor_is_over(shop: Workshop, act: str) -> None:
    sent = await shop.send(wait=0)
    Journal(shop.root).write(Removal(Place("alice", shop.root.peers / "alice"), True, LONG_AGO))
    match act:
        case "recover":
            await changes(shop).recover()
        case "remove another":
            await changes(shop).remove("bob")
        case _:
            with pytest.raises(MessagesWaiting):
                await changes(shop).remove("alice")
    assert Journal(shop.root).load() is None
    assert "alice" in shop.parts.application.registry.names()
    assert (shop.root.peers / "alice").is_dir()
    assert not await dead(shop, sent.message_id)
    assert not shop.deck.flags.is_set(ALICE, Flag.STOPPED)


async def test_what_is_sent_to_a_peer_that_is_made_during_a_removal_is_hers(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Remover.finish

    def finish(self: Remover, removal: Removal) -> Removed:
        done = whole(self, removal)
        shop.peer()
        with SpoolStore(shop.root.spool) as store:
            store.enqueue(accept(check_draft("to her"), BOB, ALICE, hops=0, now=1.0), cap=10, hop_limit=9)
        return done

    monkeypatch.setattr(Remover, "finish", finish)
    assert (await changes(shop).remove("alice")).buried == ()
    assert await shop.deck.spool.depth(ALICE) == 1


@pytest.mark.live
async def test_a_session_of_the_next_peer_of_the_name_goes_on(shop: Workshop) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    Journal(shop.root).write(Removal(Place("alice", shop.root.peers / "alice"), True, LONG_AGO))
    await changes(shop).recover()
    assert session.is_alive()
    assert Journal(shop.root).load() is None


async def test_a_journal_that_cannot_be_read_keeps_no_server_from_starting(shop: Workshop) -> None:
    Journal(shop.root).path.write_text("{")
    await changes(shop).recover()
    assert "ev=change-unfinished" in shop.log()
    assert Journal(shop.root).path.exists()


async def test_a_fault_in_an_unfinished_change_keeps_no_server_from_starting(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish(self: Remover, removal: Removal) -> Removed:
        raise TypeError("nobody thought of this")

    Journal(shop.root).write(Removal(Place("alice", shop.root.peers / "alice")))
    with monkeypatch.context() as patch:
        patch.setattr(Remover, "finish", finish)
        await changes(shop).recover()
    assert "nobody thought of this" in shop.log()
    assert Journal(shop.root).load() is not None
    await changes(shop).recover()
    assert Journal(shop.root).load() is None


@pytest.mark.live
async def test_a_live_session_refuses_both(shop: Workshop) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    for change in (changes(shop).remove("alice"), changes(shop).rename("alice", "alicia")):
        with pytest.raises(PeerLive, match="peerwake stop alice"):
            await change
    assert session.is_alive()
    assert shop.parts.application.registry.names() == ("alice", "bob")


@pytest.mark.live
async def test_forced_a_live_session_is_ended_without_a_death(shop: Workshop) -> None:
    async with shop.supervised():
        assert (await shop.send(wait=20)).status is SendStatus.DELIVERED
        session = shop.record(ALICE)
        await changes(shop).remove("alice", force=True)
        assert not session.is_alive()
        await until(lambda: ALICE not in shop.supervisor.watched)
    assert shop.log("exits") == ""
    assert "why=removed" in shop.log()
    assert not any("scripted-alice" in path.name for path in shop.root.home.glob("*/**/*") if "canary" not in str(path))


@pytest.mark.live
async def test_a_peer_is_removed_while_it_is_being_woken(root: Root) -> None:
    async with workshop(root, blocked_seconds=100.0) as shop:
        shop.peer(script={"boot": {"seconds": 100}})
        shop.peer("bob")
        async with shop.supervised():
            sent = await shop.send(sender=BOB, wait=0)
            await until(lambda: shop.root.flag(ALICE, "pane.lock").exists())  # its screen is being looked at
            session = shop.record(ALICE)
            removed = await changes(shop).remove("alice", force=True)
            assert [each.id for each in removed.buried] == [sent.message_id]
            assert not session.is_alive()
            await until(lambda: ALICE not in shop.supervisor.drains)
            await until(lambda: shop.prompts("bob"))
            assert "alice was removed" in shop.prompts("bob")[0]
        assert shop.deck.sessions.identities() in ([], [BOB])
        assert shop.prompts() == []


@pytest.mark.live
async def test_a_message_in_the_middle_of_its_delivery_becomes_a_dead_letter(shop: Workshop) -> None:
    (shop.root.peers / "alice" / "scripted.json").write_text('[{"match": "first", "busy_seconds": 60}]')
    async with shop.supervised():
        await shop.send(body="first", sender=BOB, wait=20)
        second = await shop.send(body="second", sender=BOB, wait=0)
        await until(lambda: shop.deck.spool.leased(ALICE))
        await changes(shop).remove("alice", force=True)
        await until(lambda: dead(shop, second.message_id))
        assert await shop.deck.spool.leased(ALICE) is None
        await until(lambda: ALICE not in shop.supervisor.drains)
    assert "drain-failed" not in shop.log()


@pytest.mark.live
async def test_a_worker_is_removed_in_the_middle_of_its_task(root: Root) -> None:
    async with workshop(root) as shop:
        worker = shop.peer("worker", policy=WakePolicy.EPHEMERAL, script=[{"busy_seconds": 60}])
        async with shop.supervised():
            tasks = [await shop.send("worker", body=f"task {number}", sender=BOB, wait=0) for number in range(3)]
            await until(lambda: shop.prompts("worker"))
            removed = await changes(shop).remove("worker", force=True)
            assert {each.id for each in removed.buried} == {task.message_id for task in tasks}
            await until(lambda: worker not in shop.supervisor.drains)
        assert shop.deck.sessions.identities() == []
        assert shop.prompts("worker") == ["task 0"]


@pytest.mark.live
async def test_senders_and_a_removal_that_cross_lose_nothing_silently(shop: Workshop) -> None:
    async with shop.supervised():
        accepted: list[str] = []

        async def keep_sending() -> None:
            while True:
                try:
                    accepted.append((await shop.send(body="x", wait=0)).message_id)
                except (PeerStopped, UnknownPeer):
                    return
                await anyio.sleep(0.01)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep_sending)
            await until(lambda: len(accepted) > 5)
            await changes(shop).remove("alice", force=True)
        for message_id in accepted:
            record = await shop.deck.spool.message(message_id)
            assert record is not None
            assert record.state in (MessageState.CONSUMED, MessageState.DEAD)
    assert await shop.deck.spool.depth(ALICE) == 0


@pytest.mark.live
async def test_the_conversation_goes_on_under_the_new_name(shop: Workshop) -> None:
    async with shop.supervised():
        await shop.send(body="one", wait=20)
        await shop.parts.application.verbs.stop("alice")
        await changes(shop).rename("alice", "alicia")
        await shop.parts.application.verbs.start("alicia")
        assert (await shop.parts.application.attach("alicia", None))["mode"] == Mode.RESUME
        assert (await shop.send("alicia", body="two", wait=20)).status is SendStatus.DELIVERED
    assert shop.prompts("alicia") == ["one", "two"]
    assert len(list((shop.root.peers / "alicia/.peerwake/runtimes/scripted").glob("*.jsonl"))) == 1


@pytest.mark.live
async def test_a_death_that_nobody_has_noticed_does_not_count_as_life(shop: Workshop) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    assert session.tmux is not None
    terminate(session.tmux, signal.SIGKILL)
    await until(lambda: not session.is_alive())
    await changes(shop).rename("alice", "alicia")
    assert shop.root.flag(ALICIA, "deaths").exists()
    last = shop.deck.sessions.last(ALICIA)
    assert last is not None
    assert (last.fence, last.cwd) == (session.fence, str(shop.root.peers / "alicia"))


@pytest.mark.live
async def test_a_removal_that_was_cut_off_ends_the_session_at_the_next_start(shop: Workshop) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    Journal(shop.root).write(Removal(Place("alice", shop.root.peers / "alice")))
    await changes(shop).recover()
    assert not session.is_alive()
    assert shop.parts.application.registry.names() == ("bob",)
    assert shop.deck.sessions.identities() == []
