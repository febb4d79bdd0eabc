"""A client that outlives its terminal: it is ended with its session, whoever comes in between."""

import signal
from typing import Any

import anyio
import pytest

from lifecycle import vigil
from lifecycle.deaths import Deaths
from lifecycle.runtimes.command import program_path
from lifecycle.session import Session
from lifecycle.terminals import Terminals
from lifecycle.wake import AlreadyWaking
from tests.lifecycle.standstill import stand_still
from tests.lifecycle.workshop import Workshop, until, workshop
from transport.identity import Identity
from transport.paths import Root
from transport.process import group, terminate

pytestmark = pytest.mark.live

ALICE = Identity("command", "alice")
SURVIVES = """argv = ["/bin/sh", "-c", "trap '' HUP; echo 'peerwake: ready'; exec sleep 600"]\n"""
POINTS: dict[str, tuple[type, str, bool]] = {
    "before the burial": (Deaths, "bury", False),
    "after the burial": (Deaths, "bury", True),
    "before the clearing": (Terminals, "clear_away", False),
    "after the clearing": (Terminals, "clear_away", True),
}


async def survivor(shop: Workshop) -> Session:
    """Start a client that does not mind the hangup of its terminal."""
    session, _ = await shop.deck.waker.wake(ALICE)
    assert session.pane is not None and group(session.pane.pid)
    return session


def peer(shop: Workshop) -> None:
    shop.peer(runtimes=("command",), default_runtime="command")
    path = program_path(shop.root.peers / "alice")
    path.parent.mkdir(parents=True)
    path.write_text(SURVIVES)


def is_left(session: Session) -> bool:
    assert session.pane is not None
    return bool(group(session.pane.pid))


async def test_who_wakes_a_peer_as_its_death_is_noted_leaves_no_second_client(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, buried, goes_on = Deaths.bury, anyio.Event(), anyio.Event()

    async def bury(self: Deaths, *args: Any) -> None:
        await original(self, *args)
        if not buried.is_set():
            buried.set()
            await goes_on.wait()

    monkeypatch.setattr(Deaths, "bury", bury)
    async with workshop(root) as shop:
        peer(shop)
        async with shop.supervised():
            old = await survivor(shop)
            shop.tmux(ALICE, "kill-server")
            with anyio.fail_after(10):
                await buried.wait()
            try:
                new, _ = await shop.deck.waker.wake(ALICE)
            except AlreadyWaking:
                goes_on.set()
                new, _ = await shop.deck.waker.wake(ALICE)
            goes_on.set()
            assert new.fence != old.fence and new.is_alive()
            await until(lambda: not is_left(old), 5)


async def test_a_dead_agent_under_a_tmux_that_gives_no_answer_is_told_once_for_each_reason(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vigil, "LOOK_AGAIN_SECONDS", 0.1)
    looks: list[Session] = []
    original = Terminals.look

    async def look(self: Terminals, session: Session) -> Any:
        looks.append(session)
        return await original(self, session)

    monkeypatch.setattr(Terminals, "look", look)
    async with workshop(root) as shop:
        peer(shop)
        async with shop.supervised():
            session = await survivor(shop)
            assert session.tmux is not None and session.pane is not None
            terminate(session.tmux, signal.SIGSTOP)
            terminate(session.pane, signal.SIGKILL)
            await until(lambda: len(looks) >= 5)
            told = [line.partition("reason=")[2] for line in shop.log().splitlines() if "ev=agent-dead" in line]
            assert told and len(told) == len(set(told))
            terminate(session.tmux, signal.SIGCONT)
            await until(lambda: shop.deck.sessions.load(ALICE) is None)


@pytest.mark.parametrize("point", POINTS)
async def test_a_server_killed_as_it_notes_a_death_leaves_no_second_client(
    root: Root, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    async with workshop(root) as first:
        peer(first)
        async with first.supervised():
            old = await survivor(first)
            reached = stand_still(monkeypatch, *POINTS[point])
            first.tmux(ALICE, "kill-server")
            with anyio.fail_after(10):
                await reached.wait()
        await first.deck.terminals.aclose()
        async with workshop(root) as second:
            new, _ = await second.deck.waker.wake(ALICE)
            assert new.fence != old.fence and new.is_alive()
            assert not is_left(old)
            assert second.root.flag(ALICE, "deaths").read_text().count("\n") == 1
