"""The supervisor: what it takes over, what it survives, and that one concern never ends another."""

import os
import shutil
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import anyio
import pytest

from lifecycle.act import Acts
from lifecycle.decide import Action
from lifecycle.drain import Drain
from lifecycle.ephemeral import EphemeralDrain
from lifecycle.flags import Flag
from lifecycle.observe import Observation
from lifecycle.renew import NotReady
from lifecycle.requests import ForeignService
from lifecycle.session import Session
from lifecycle.states import Mode, SendStatus
from lifecycle.supervise import Supervisor
from tests.clock import FakeClock
from tests.lifecycle.workshop import Workshop, until, workshop
from transport.identity import Identity
from transport.message import Message, accept, check_draft
from transport.paths import Root
from transport.process import ProcessId, terminate
from transport.spool.faults import SpoolFull
from transport.spool.spool import Spool
from transport.vocabulary import Hold, MessageState, Stage, WakePolicy

ALICE, BOB, WORKER = (Identity("scripted", name) for name in ("alice", "bob", "worker"))
GONE = ProcessId(1, "never")


@pytest.fixture
async def shop(root: Root) -> AsyncIterator[Workshop]:
    async with workshop(root, tick_seconds=0.2, backoff_seconds=0.02) as built:
        built.peer()
        built.peer("bob")
        yield built


def dead(identity: Identity = ALICE, **changes: Any) -> Session:
    return replace(Session(identity, "h", "t", "/tmp", "f1", 1.0, Mode.FRESH, "s1", tmux=GONE, pane=GONE), **changes)


def deaths(shop: Workshop) -> int:
    path = shop.root.flag(ALICE, "deaths")
    return len(path.read_text().split()) if path.exists() else 0


async def test_records_of_the_dead_are_retired_at_the_start_and_counted(shop: Workshop) -> None:
    shop.deck.sessions.save(dead())
    shop.deck.sessions.save(dead(BOB, is_closing=True))
    async with shop.supervised():
        assert shop.deck.sessions.identities() == []
        assert shop.supervisor.watched == {}
    assert "ev=server-dead identity=scripted-alice" in shop.log()
    assert shop.root.flag(ALICE, "deaths").exists() and not shop.root.flag(BOB, "deaths").exists()


async def test_one_bad_record_keeps_no_server_from_starting_and_no_other_from_adoption(shop: Workshop) -> None:
    shop.deck.sessions.path(ALICE).write_text("{")
    shop.deck.sessions.save(dead(BOB))
    shop.deck.sessions.save(dead(Identity("vanished", "carol")))
    async with shop.supervised():
        assert shop.deck.sessions.identities() == [ALICE]
    assert shop.log().count("ev=observe-failed identity=scripted-alice code=session-unreadable") == 1


async def test_an_unreadable_record_is_looked_at_again_at_the_tick(shop: Workshop) -> None:
    shop.deck.sessions.path(ALICE).write_text("{")
    async with shop.supervised():
        shop.deck.sessions.save(dead())
        await until(lambda: shop.deck.sessions.identities() == [])


async def test_a_kick_starts_one_drain_and_pokes_it_afterwards(shop: Workshop) -> None:
    shop.peer("worker", WakePolicy.EPHEMERAL)
    for identity in (ALICE, WORKER):
        shop.deck.flags.set(identity, Flag.STOPPED)
    async with shop.supervised():
        for _ in range(3):
            shop.supervisor.kick(ALICE)
            shop.supervisor.kick(WORKER)
        assert isinstance(shop.supervisor.drains[ALICE], Drain)
        assert isinstance(shop.supervisor.drains[WORKER], EphemeralDrain)
        await until(lambda: not shop.supervisor.drains)
    shop.supervisor.kick(ALICE)
    assert shop.supervisor.drains == {}


async def test_what_arrives_behind_a_message_that_waits_has_nobody_look_and_a_kick_has(root: Root) -> None:
    looks, original = [], Spool.next_due

    async def counted(self: Spool, identity: Identity) -> float | None:
        looks.append(identity)
        return await original(self, identity)

    async with workshop(root, backoff_seconds=3600, backoff_max_seconds=7200) as shop, shop.supervised():
        shop.peer()
        await _spooled(shop, at=shop.deck.clock.wall())
        lease = await shop.deck.spool.lease(ALICE, "a session", shop.deck.clock.wall())
        assert lease is not None
        await shop.deck.settler.failed(lease, "not now")
        shop.supervisor.kick(ALICE)
        await until(lambda: shop.deck.board.status(ALICE).hold is Hold.BACKOFF)
        Spool.next_due = counted  # type: ignore[method-assign]
        try:
            for _ in range(20):
                assert (await shop.send("alice", sender=BOB)).reason is Hold.BACKOFF
            assert looks == []
            shop.supervisor.kick(ALICE)
            await until(lambda: looks)
        finally:
            Spool.next_due = original  # type: ignore[method-assign]
        assert looks == [ALICE]


async def test_a_registry_that_cannot_be_read_fails_no_sender(shop: Workshop) -> None:
    async with shop.supervised():
        shop.root.registry.write_text('{"version": 99, "peers": {}}')
        fresh = Supervisor(
            replace(
                shop.deck, resolver=replace(shop.deck.resolver, registry=type(shop.deck.resolver.registry)(shop.root))
            ),
            shop.parts.logs,
        )
        fresh.tasks = shop.supervisor.tasks
        fresh.kick(ALICE)
        assert fresh.drains == {}
    assert "ev=drain-failed identity=scripted-alice" in shop.log()


async def test_a_full_disk_ends_no_tick_and_no_server(shop: Workshop) -> None:
    spool, failures = shop.deck.spool, []

    async def full(*args: object, **keywords: object) -> None:
        failures.append(1)
        raise SpoolFull("no space is left")

    async with shop.supervised():
        original = Spool.expire
        try:
            Spool.expire = full  # type: ignore[method-assign,assignment]
            await until(lambda: len(failures) >= 3)
        finally:
            Spool.expire = original  # type: ignore[method-assign]
        assert shop.supervisor.is_running
        assert await spool.waiting() == {}
    assert "ev=tick-failed" in shop.log()


async def test_a_drain_that_fails_backs_off_says_so_and_goes_on(shop: Workshop) -> None:
    """The disk is full in the middle of a drain: the lease is not stuck, nothing spins, and others are served."""
    shop.deck.flags.set(BOB, Flag.STOPPED)
    original, failures = Spool.next_due, []

    async def full(self: Spool, identity: Identity) -> float | None:
        if identity == ALICE and len(failures) < 3:
            failures.append(anyio.current_time())
            raise SpoolFull("no space is left")
        return await original(self, identity)

    Spool.next_due = full  # type: ignore[method-assign]
    try:
        async with shop.supervised():
            shop.supervisor.kick(ALICE)
            await until(lambda: shop.deck.board.status(ALICE).hold is Hold.UNKNOWN)
            assert "no space" in (shop.deck.board.status(ALICE).detail or "")
            shop.supervisor.kick(BOB)
            await until(lambda: BOB not in shop.supervisor.drains)
            await until(lambda: ALICE not in shop.supervisor.drains)
    finally:
        Spool.next_due = original  # type: ignore[method-assign]
    assert [later - sooner >= 0.09 for sooner, later in pairwise(failures)] == [True, True]
    assert shop.deck.board.status(ALICE).hold is None
    assert shop.log().count("ev=drain-failed identity=scripted-alice") == 3


async def test_messages_that_wait_too_long_are_dead_also_while_held(shop: Workshop) -> None:
    shop.deck.flags.set(ALICE, Flag.STOPPED)
    old = await _spooled(shop, at=shop.deck.clock.wall() - 90_000)
    async with shop.supervised():
        await until(lambda: shop.deck.spool.depth(BOB))
        record = await shop.deck.spool.message(old)
        assert record is not None and record.state is MessageState.DEAD


async def _spooled(shop: Workshop, at: float) -> str:
    message = accept(check_draft("old"), BOB, ALICE, hops=0, now=at)
    shop.deck.flags.set(BOB, Flag.STOPPED)
    await shop.deck.spool.enqueue(message, cap=10, hop_limit=5)
    return message.id


async def test_a_tick_over_a_thousand_sleepers_looks_at_none_of_them(root: Root) -> None:
    clock = FakeClock()
    async with workshop(root, clock=clock) as shop:
        for number in range(1000):
            root.flag(Identity("scripted", f"p{number}"), "last").touch()
        async with shop.supervised():
            await clock.advance(1)
            loads: list[Identity] = []
            shop.deck.sessions.load = lambda identity: loads.append(identity)  # type: ignore[method-assign,assignment,return-value]
            await clock.advance(shop.deck.limits.tick_seconds)
            assert loads == []


@pytest.mark.live
async def test_an_idle_supervisor_adopts_and_watches(shop: Workshop) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    async with shop.supervised():
        assert shop.supervisor.watched == {ALICE: session.tmux}
        assert (await shop.send()).woke is False
    async with shop.supervised():
        assert session.tmux is not None
        terminate(session.tmux, signal.SIGKILL)
        await until(lambda: deaths(shop) == 1)
        assert shop.deck.sessions.identities() == []
        assert shop.supervisor.watched == {}
        await until(lambda: not shop.root.tmux_socket(ALICE).exists())


@pytest.mark.live
async def test_nothing_is_left_of_a_session_that_died_while_no_server_ran(shop: Workshop) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    assert session.tmux is not None
    terminate(session.tmux, signal.SIGKILL)
    await until(lambda: not session.is_alive())
    assert shop.root.tmux_socket(ALICE).exists()
    async with shop.supervised():
        assert shop.deck.sessions.identities() == []
        assert not shop.root.tmux_socket(ALICE).exists()


@pytest.mark.live
async def test_an_agent_that_dies_again_and_again_is_left_alone_then_started(shop: Workshop) -> None:
    async with shop.supervised():
        for number in range(3):
            assert (await shop.send(body=str(number), wait=20)).status is SendStatus.DELIVERED
            agent = shop.record(ALICE).pane
            assert agent is not None
            os.kill(agent.pid, signal.SIGKILL)
            await until(lambda: ALICE not in shop.supervisor.watched)
            count = number + 1
            await until(lambda count=count: deaths(shop) == count)
        await until(lambda: shop.deck.flags.is_set(ALICE, Flag.FAILED))
        assert shop.log("exits").count("ev=session-exit") == 3
        await shop.parts.application.start("alice")
        assert (await shop.send(body="again", wait=20)).status is SendStatus.DELIVERED


@pytest.mark.live
async def test_what_a_killed_server_left_of_a_worker_is_ended_though_nothing_waits(shop: Workshop) -> None:
    shop.peer("worker", WakePolicy.EPHEMERAL)
    session, _ = await shop.deck.waker.wake(WORKER, task="m_settled")
    async with shop.supervised():
        await until(lambda: not session.is_alive())
        await until(lambda: shop.deck.sessions.identities() == [])


@pytest.mark.live
async def test_a_server_that_goes_away_in_the_middle_is_taken_over_without_loss_or_repetition(shop: Workshop) -> None:
    """The supervisor ends between any two lines of a drain, again and again; every message arrives once, in order."""
    sent = [(await _accept(shop, f"message {number}")) for number in range(12)]
    with anyio.fail_after(90):
        for pause in (0.05, 0.21, 0.33, 0.02, 0.4, 0.11, 0.27, 0.5, 0.07):
            async with shop.supervised():
                await anyio.sleep(pause)
        async with shop.supervised():
            await until(lambda: _is_empty(shop), 60)
    assert shop.prompts() == [f"message {number}" for number in range(12)]
    assert len(sent) == 12


async def _accept(shop: Workshop, body: str) -> str:
    return (await shop.send(body=body, wait=0)).message_id


async def _is_empty(shop: Workshop) -> bool:
    return await shop.deck.spool.depth(ALICE) == 0


async def test_what_a_stopped_peer_had_in_flight_is_settled_and_nothing_else_is_done(shop: Workshop) -> None:
    message = await _accept(shop, "hello")
    place, now = str(shop.root.peers / "alice"), shop.deck.clock.wall()
    shop.deck.sessions.remember(Session(ALICE, "h", "t", place, "gone", now, Mode.FRESH, "gone"))
    lease = await shop.deck.spool.lease(ALICE, "gone", now)
    assert lease is not None
    await shop.deck.spool.stage(message, Stage.PASTING, shop.deck.clock.wall())
    shop.deck.flags.set(ALICE, Flag.STOPPED)
    async with shop.supervised():
        await until(lambda: _is_queued(shop, message))
        await shop.supervisor.tick()
    assert "ev=wake " not in shop.log() and shop.deck.sessions.identities() == []


async def _is_queued(shop: Workshop, message_id: str) -> bool:
    record = await shop.deck.spool.message(message_id)
    return record is not None and record.state is MessageState.QUEUED


async def test_a_service_that_is_not_ours_is_only_looked_at(root: Root) -> None:
    root.runtimes.mkdir()
    (root.runtimes / "radio.toml").write_text('extends = "command"\nkind = "service"\nargv = ["/bin/cat"]\n')
    async with workshop(root, tick_seconds=0.1) as shop:
        radio = shop.peer("tower", runtimes=("radio",), default_runtime="radio")
        record = shop.deck.sessions.save(dead(radio))
        shop.deck.flags.set(radio, Flag.NEW, "a seed")
        await shop.deck.spool.enqueue(_letter(shop, radio), cap=10, hop_limit=5)
        async with shop.supervised():
            with pytest.raises(ForeignService, match="tower"):
                await shop.send("tower")
            for _ in range(3):
                await shop.supervisor.tick()
            with pytest.raises(ForeignService):
                await shop.deck.waker.wake(radio)
        assert shop.deck.sessions.load(radio) == record
        assert shop.deck.flags.is_set(radio, Flag.NEW) and await shop.deck.spool.depth(radio) == 1
        assert str(radio) not in shop.log()


def _letter(shop: Workshop, to: Identity) -> Message:
    return accept(check_draft("hello"), BOB, to, hops=0, now=shop.deck.clock.wall())


async def test_many_deaths_at_once_are_one_event(root: Root) -> None:
    async with workshop(root) as shop:
        for number in range(7):
            shop.deck.sessions.save(dead(shop.peer(f"p{number}")))
        async with shop.supervised():
            assert shop.deck.sessions.identities() == []
        assert shop.log().count("ev=mass-death count=7 ") == 1
        assert "ev=server-dead" not in shop.log() and "ev=session-gone" not in shop.log()


async def test_a_tick_with_many_things_to_do_does_each_once(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """One action for one identity; what one of them raises keeps no other from being done."""
    done: list[tuple[Action, Identity]] = []

    async def act(self: Acts, action: Action, at: Observation) -> None:
        done.append((action, at.identity))
        if at.identity == ALICE:
            raise OSError("no space is left")

    monkeypatch.setattr(Acts, "act", act)
    shop.deck.sessions.save(dead())
    shop.deck.sessions.save(dead(BOB, is_closing=True))
    async with shop.supervised():
        assert sorted(done) == [(Action.BURY, ALICE), (Action.FINISH_CLOSE, BOB)]
    assert "ev=bury-failed identity=scripted-alice" in shop.log()


@pytest.mark.live
async def test_a_worker_that_leaves_cleanly_is_no_crash_though_its_exit_line_takes_time(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    (date := root.home / "date").write_text(f'#!/bin/sh\nsleep 1.6\nexec {shutil.which("date")} "$@"\n')
    date.chmod(0o755)
    monkeypatch.setenv("PATH", f"{root.home}:{os.environ['PATH']}")
    async with workshop(root) as shop:
        shop.peer("bob")
        shop.peer(policy=WakePolicy.EPHEMERAL)
        async with shop.supervised():
            await shop.send(body="the task", wait=0)
            await until(lambda: "the task" in shop.prompts())
            await shop.send("bob", "the reply", ALICE, wait=0)
            session = shop.record(ALICE)
            shop.tmux(ALICE, "send-keys", "-t", session.pane_id, "/exit", "Enter")
            await until(lambda: shop.deck.sessions.load(ALICE) is None)
            await until(lambda: "ev=session-gone" in shop.log())
    assert "exited with status 0" in shop.log()
    assert not root.flag(ALICE, "deaths").exists()


@pytest.mark.live
async def test_a_session_that_a_person_unblocked_is_brought_up_and_told_its_seed(root: Root) -> None:
    script = {"boot": {"dialogs": [{"text": "What is this?", "options": ["Yes", "No"]}]}}
    async with workshop(root, blocked_seconds=0.3, tick_seconds=0.2) as shop:
        shop.peer(script=script)
        async with shop.supervised():
            with pytest.raises(NotReady):
                await shop.parts.application.new("alice", None, "the seed")
            session = shop.record(ALICE)
            assert not session.is_ready
            shop.tmux(ALICE, "send-keys", "-t", session.pane_id, "Enter")
            await until(lambda: shop.record(ALICE).is_ready)
            assert shop.record(ALICE).fence == session.fence
            await until(lambda: shop.prompts() == ["the seed"])
