"""The open terminals: opened on demand, closed when unused, and never in the way of an end."""

import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace

import anyio
import pytest

from lifecycle.session import Session
from lifecycle.states import End, Mode
from tests.held_paths import held
from tests.lifecycle.workshop import Workshop, me, until, workshop
from transport.identity import Identity
from transport.paths import Root
from transport.process import ProcessId, terminate
from transport.tmux.control import TmuxGone
from transport.vocabulary import Hold, ScreenState

ALICE = Identity("scripted", "alice")
GONE = ProcessId(1, "never")


@pytest.fixture
async def shop(root: Root) -> AsyncIterator[Workshop]:
    async with workshop(root, control_idle_seconds=0.2) as built:
        built.peer()
        yield built


def dead(**changes: object) -> Session:
    session = Session(ALICE, "h", "t", "/tmp", "f1", 1.0, Mode.FRESH, "s1", tmux=GONE, pane=GONE, pane_id="%0")
    return replace(session, **changes)  # type: ignore[arg-type]


async def test_the_end_of_a_session_of_an_unknown_runtime_is_still_an_end(shop: Workshop) -> None:
    session = shop.deck.sessions.save(dead(identity=Identity("vanished", "alice"), session_ref="kept"))
    assert await shop.deck.terminals.ended(session)
    assert not await shop.deck.terminals.ended(session)
    last = shop.deck.sessions.last(session.identity)
    assert last is not None and last.session_ref == "kept"
    assert "ev=no-reference identity=vanished-alice" in shop.log()


async def test_a_client_whose_files_give_no_answer_says_nothing_and_ends_all_the_same(shop: Workshop) -> None:
    files = shop.root.home / "claude"
    said = files / "sessions" / f"{os.getpid()}.json"
    said.parent.mkdir(parents=True)
    said.write_text("{}")
    session = dead(identity=Identity("claude", "alice"), pane=me(), client_env={"CLAUDE_CONFIG_DIR": str(files)})
    shop.deck.sessions.save(session)
    terminals, bulkhead = shop.deck.terminals, shop.deck.terminals.bulkhead
    with held(said) as paths:
        terminal = await terminals._terminal(session)
        bulkhead.seconds = 0.2
        assert await terminals._status(terminal) is None
        assert await terminals.ended(session)
        assert paths.waiting == 1
        last = shop.deck.sessions.last(session.identity)
        assert last is not None and last.session_ref is None
    told = f"ev=no-answer identity=claude-alice area=transcript path={files}"
    assert shop.log().count(told) == 1
    assert "ev=no-reference identity=claude-alice" in shop.log()


async def test_the_dead_answer_nothing_and_stay_open_nowhere(shop: Workshop) -> None:
    terminals, session = shop.deck.terminals, shop.deck.sessions.save(dead())
    with pytest.raises(TmuxGone):
        await terminals.look(session)
    assert await terminals.glance(session) is None
    assert await terminals.find(session, "m_1") is None
    await terminals.close(session, End.STOPPED)
    assert terminals._open == {}


@pytest.mark.live
async def test_a_ready_session_passes_the_gate_and_shows_its_screen(shop: Workshop) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    terminals = shop.deck.terminals
    assert await terminals.gate(session) == (None, None)
    assert await terminals.is_idle(session)
    assert (await terminals.look(session))[0] is ScreenState.READY


@pytest.mark.live
async def test_a_busy_client_takes_input_and_is_not_idle(shop: Workshop) -> None:
    (shop.root.peers / "alice" / "scripted.json").write_text('[{"busy_seconds": 30}]')
    async with shop.supervised():
        assert (await shop.send(wait=20)).status == "delivered"
        session = shop.record(ALICE)
        await until(lambda: _is_busy(shop, session))
        assert await shop.deck.terminals.gate(session) == (None, None)
        assert not await shop.deck.terminals.is_idle(session)


async def _is_busy(shop: Workshop, session: Session) -> bool:
    return (await shop.deck.terminals.look(session))[0] is ScreenState.BUSY


@pytest.mark.live
async def test_unused_control_clients_are_closed_and_opened_again(shop: Workshop) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    terminals = shop.deck.terminals
    await terminals.look(session)
    (terminal,) = terminals._open.values()
    assert terminal.pane is not None and terminal.pane.control.is_open
    await terminals.release_unused()
    assert terminal.pane.control.is_open
    await anyio.sleep(0.25)
    await terminals.release_unused()
    assert not terminal.pane.control.is_open
    assert await terminals.gate(session) == (None, None)


@pytest.mark.live
async def test_a_close_is_no_death_and_leaves_nothing_open(shop: Workshop) -> None:
    before = len(os.listdir("/dev/fd"))
    async with shop.supervised():
        for _ in range(3):
            session, _ = await shop.deck.waker.wake(ALICE)
            await shop.deck.terminals.close(session, End.STOPPED)
            assert not session.is_alive()
        await until(lambda: not shop.supervisor.watched)
    assert shop.log("exits") == ""
    assert not shop.root.flag(ALICE, "deaths").exists()
    assert shop.deck.terminals._open == {}
    await until(lambda: len(os.listdir("/dev/fd")) <= before + 1)


@pytest.mark.live
async def test_a_close_is_written_down_before_anything_dies_and_may_be_cut_off(shop: Workshop) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    terminals = shop.deck.terminals
    with anyio.CancelScope() as scope:
        scope.cancel()
        await terminals.close(session, End.STOPPED)
    assert session.tmux is not None
    terminate(session.tmux, signal.SIGSTOP)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(terminals.close, session, End.STOPPED)
        intent = await until(lambda: _closing(shop), 15)
        assert intent.end is End.STOPPED
        assert session.is_alive()
        terminate(session.tmux, signal.SIGCONT)
    await terminals.close(session, End.STOPPED)
    assert not session.is_alive()
    assert shop.deck.sessions.identities() == []


def _closing(shop: Workshop) -> Session | None:
    found = shop.deck.sessions.load(ALICE)
    return found if found is not None and found.is_closing else None


@pytest.mark.live
async def test_what_a_death_left_is_cleared_away_without_taking_it_for_meant(shop: Workshop) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    assert session.tmux is not None
    await shop.deck.terminals.clear_away(session)
    assert not session.is_alive()
    line = f"ev=server-exit identity={ALICE} server_pid={session.tmux.pid} "
    await until(lambda: line in shop.log("exits"))


@pytest.mark.live
async def test_a_session_that_was_renamed_stays_the_same(shop: Workshop) -> None:
    """Its agent or a person renames it: it is reached, and a record that was cut off is completed."""
    session, _ = await shop.deck.waker.wake(ALICE)
    await shop.deck.terminals.aclose()
    shop.tmux(ALICE, "rename-session", "-t", f"={ALICE}", "mine")
    assert await shop.deck.terminals.gate(session) == (None, None)
    await shop.deck.terminals.aclose()
    shop.deck.sessions.save(replace(session, tmux=None, pane=None, pane_id=""))
    assert await shop.deck.waker.present(ALICE) == session
    assert session.is_alive()


@pytest.mark.live
async def test_a_person_who_types_holds_messages_back(shop: Workshop) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    terminals = shop.deck.terminals
    await terminals.look(session)
    (terminal,) = terminals._open.values()
    assert terminal.pane is not None
    await terminal.pane.press("h", "i")
    await until(lambda: _is_held(shop, session))


async def _is_held(shop: Workshop, session: Session) -> bool:
    return (await shop.deck.terminals.gate(session))[0] is Hold.DRAFT
