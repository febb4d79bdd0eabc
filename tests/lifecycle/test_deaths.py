"""Each death is retired, logged and counted once, whoever notices it."""

from collections.abc import AsyncIterator

import anyio
import pytest

from lifecycle.flags import Flag
from lifecycle.session import Session
from tests.lifecycle.stage import ALICE, BOB, Scene, scene
from transport.identity import Identity
from transport.paths import Root
from transport.spool.faults import SpoolFull
from transport.spool.spool import Spool
from transport.vocabulary import Kind, Stage


@pytest.fixture
async def stage(root: Root) -> AsyncIterator[Scene]:
    async with scene(root) as built:
        yield built


def deaths(stage: Scene) -> int:
    path = stage.root.flag(ALICE, "deaths")
    return len(path.read_text().split()) if path.exists() else 0


async def test_who_comes_second_counts_nothing(stage: Scene) -> None:
    session = stage.session()
    async with anyio.create_task_group() as tasks:
        for event in ("session-gone", "session-gone", "server-dead"):
            tasks.start_soon(stage.deck.deaths.bury, session, event)
    assert deaths(stage) == 1
    assert stage.log("lifecycle").count("ev=session-gone identity=scripted-alice") == 1


async def test_an_end_that_somebody_meant_is_no_death(stage: Scene) -> None:
    await stage.deck.deaths.bury(stage.session(is_closing=True), "session-gone")
    assert deaths(stage) == 0
    assert stage.deck.sessions.identities() == []


async def test_a_run_of_deaths_stops_the_wakes_with_its_reason(stage: Scene) -> None:
    for number in range(3):
        assert not stage.deck.flags.is_set(ALICE, Flag.FAILED)
        stage.clock.now += number
        await stage.deck.deaths.bury(stage.session(), "session-gone")
    assert stage.deck.flags.text(ALICE, Flag.FAILED) == "3 deaths in 300 s"
    assert "ev=crash-loop identity=scripted-alice" in stage.log("lifecycle")


async def test_failed_starts_are_counted_with_what_they_said(stage: Scene) -> None:
    for _ in range(3):
        await stage.deck.deaths.count(ALICE, "the client is not installed\x1b[31m" + "x" * 1000)
    text = stage.deck.flags.text(ALICE, Flag.FAILED)
    assert text.startswith("the client is not installed") and len(text) <= 300


def exited(stage: Scene, status: str, **changes: object) -> Session:
    """Return a session that was up and whose client exited with this status, as its hook wrote it down."""
    session = stage.session(**{"is_ready": True} | changes)
    assert session.tmux is not None
    stage.deck.deaths.logs.exits.write(
        "session-exit", identity=ALICE, dead_status=status, dead_signal="", server_pid=session.tmux.pid
    )
    return session


async def test_a_client_that_was_left_at_rest_has_not_crashed(stage: Scene) -> None:
    for number in range(3):
        stage.clock.now += number
        await stage.deck.deaths.bury(exited(stage, "0"), "session-gone")
    assert deaths(stage) == 0 and not stage.deck.flags.is_set(ALICE, Flag.FAILED)
    assert stage.log("lifecycle").count("ev=session-gone identity=scripted-alice") == 3


async def test_any_other_status_is_a_crash(stage: Scene) -> None:
    await stage.deck.deaths.bury(exited(stage, "1"), "session-gone")
    assert deaths(stage) == 1


async def test_a_clean_exit_is_a_crash_while_messages_wait_or_before_it_was_up(stage: Scene) -> None:
    await stage.deck.deaths.bury(exited(stage, "0", is_ready=False), "session-gone")
    assert deaths(stage) == 1
    await stage.send()
    await stage.deck.deaths.bury(exited(stage, "0"), "session-gone")
    assert deaths(stage) == 2


async def test_a_worker_that_exits_without_a_word_has_crashed_and_one_that_replied_has_not(stage: Scene) -> None:
    task = await stage.send()
    await stage.spool.lease(ALICE, "task", stage.clock.wall())
    await stage.spool.stage(task.id, Stage.PASTING, stage.clock.wall())
    await stage.deck.deaths.bury(exited(stage, "0", task=task.id), "session-gone")
    assert deaths(stage) == 1
    stage.clock.now += 1
    await stage.send(sender=ALICE, to=BOB)
    await stage.deck.deaths.bury(exited(stage, "0", task=task.id), "session-gone")
    assert deaths(stage) == 1


CAROL = Identity("scripted", "carol")


async def loop(stage: Scene) -> None:
    for _ in range(3):
        await stage.deck.deaths.count(ALICE, "it died")


async def test_a_crash_loop_is_told_to_each_sender_that_waits_once(stage: Scene) -> None:
    for _ in range(3):
        await stage.send(sender=BOB)
    await stage.send(sender=CAROL)
    await loop(stage)
    assert (await stage.spool.depth(ALICE), await stage.spool.depth(BOB), await stage.spool.depth(CAROL)) == (4, 1, 1)
    assert sorted(stage.kicked) == [BOB, CAROL]
    lease = await stage.spool.lease(BOB, "f", stage.clock.wall())
    assert lease is not None and lease.message.kind is Kind.NOTICE and "it died" in lease.message.body
    await stage.deck.deaths.count(ALICE, "and again")
    assert await stage.spool.depth(BOB) == 1
    stage.deck.flags.clear(ALICE, Flag.FAILED)
    await stage.deck.deaths.count(ALICE, "after a start")
    assert await stage.spool.depth(BOB) == 2


async def test_who_waits_in_a_call_is_woken_to_hear_of_a_crash_loop(stage: Scene) -> None:
    message = await stage.send()
    with stage.deck.board.watch(message.id, ALICE) as watch:
        changed = watch.changed
        await loop(stage)
        assert changed.is_set()


async def test_a_disk_that_is_full_keeps_no_crash_loop_from_being_stopped(stage: Scene) -> None:
    async def full(*args: object) -> None:
        raise SpoolFull("no space is left")

    await stage.send()
    original, Spool.tell_waiting = Spool.tell_waiting, full  # type: ignore[method-assign,assignment]
    try:
        await loop(stage)
    finally:
        Spool.tell_waiting = original  # type: ignore[method-assign]
    assert stage.deck.flags.is_set(ALICE, Flag.FAILED)
    assert "ev=tell-senders-failed identity=scripted-alice" in stage.log("lifecycle")
