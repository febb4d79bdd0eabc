"""A person at a session: attached, watching, or beginning anew."""

import json
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pytest

from lifecycle.flags import Flag
from lifecycle.requests import PeerStopped, UndeclaredRuntime, UnknownPeer
from lifecycle.runtimes.base import CannotResume
from lifecycle.session import SessionUnreadable
from lifecycle.states import Mode, SendStatus
from lifecycle.visits import AlreadyLive, Asleep, Visits
from tests.lifecycle.workshop import Workshop, until, workshop
from transport.identity import Identity
from transport.paths import Root
from transport.process import terminate
from transport.tmux.commands import watch_terminal
from transport.tmux.program import find_tmux
from transport.vocabulary import ScreenState

ALICE = Identity("scripted", "alice")
DIALOG = {"boot": {"dialogs": [{"text": "What is this?", "options": ["Yes", "No"]}]}}
SLOW = {"boot": {"seconds": 1.5}}


@pytest.fixture
async def shop(root: Root) -> AsyncIterator[Workshop]:
    async with workshop(root) as built:
        built.peer(script=[{"match": "work", "sleep_forever": True}, {"match": "die", "exit": 3}])
        yield built


def visits(shop: Workshop) -> Visits:
    return shop.parts.application.visits


def boots(shop: Workshop, script: object) -> None:
    (shop.root.peers / "alice" / "scripted.json").write_text(json.dumps(script))


@dataclass(frozen=True, slots=True)
class Viewer:
    """Somebody who watches: his tmux client, and the keyboard of his terminal."""

    pid: int
    keyboard: int

    def has_left(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


@contextmanager
def viewer(shop: Workshop) -> Iterator[Viewer]:
    """Watch alice from a terminal; in the end that is killed."""
    argv = watch_terminal(find_tmux(), shop.root.tmux_socket(ALICE), str(ALICE), "viewer_1")
    pid, keyboard = os.forkpty()
    if pid == 0:
        os.execve(argv[0], argv, {"TERM": "xterm", "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"})
    reader = threading.Thread(target=_read_all, args=(keyboard,), daemon=True)
    reader.start()
    try:
        yield Viewer(pid, keyboard)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        # Once it reads nothing more: the number of a closed descriptor is soon that of another file.
        reader.join()
        os.close(keyboard)


def _read_all(terminal: int) -> None:
    """A terminal that nobody reads would stop its client."""
    with suppress(OSError):
        while os.read(terminal, 1 << 16):
            pass


def attached(shop: Workshop) -> list[str]:
    """Return the sessions and whether they may only look, of the terminals besides our own control clients."""
    rows = shop.tmux(ALICE, "list-clients", "-F", "#{client_control_mode} #{client_session} #{client_readonly}")
    return [row.partition(" ")[2] for row in rows.splitlines() if row.startswith("0")]


def size(shop: Workshop) -> str:
    return shop.tmux(ALICE, "display-message", "-p", "-t", "=scripted-alice:", "#{pane_width}x#{pane_height}")


async def test_what_is_refused_changes_nothing(shop: Workshop) -> None:
    for verb in (visits(shop).attach, visits(shop).watch):
        with pytest.raises(UnknownPeer, match="alice"):
            await verb("alise", None)
        with pytest.raises(UndeclaredRuntime):
            await verb("alice", "claude")
    with pytest.raises(Asleep, match="asleep; a message wakes it, or: peerwake attach alice"):
        await visits(shop).watch("alice", None)
    shop.deck.flags.set(ALICE, Flag.STOPPED)
    with pytest.raises(Asleep, match="peerwake start alice"):
        await visits(shop).watch("alice", None)
    for refused in (visits(shop).attach("alice", None), visits(shop).run("alice", None, is_replacing=True)):
        with pytest.raises(PeerStopped, match="peerwake start alice"):
            await refused
    assert shop.deck.sessions.identities() == []


async def test_an_unreadable_record_names_the_way_out(shop: Workshop) -> None:
    shop.deck.sessions.path(ALICE).write_text("{")
    for refused in (visits(shop).attach("alice", None), visits(shop).watch("alice", None)):
        with pytest.raises(SessionUnreadable, match="peerwake stop alice"):
            await refused


@pytest.mark.live
async def test_attach_says_first_then_live_then_resume(shop: Workshop) -> None:
    async with shop.supervised():
        first = await visits(shop).attach("alice", None)
        assert (first["mode"], first["first"], first["state"]) == ("fresh", True, "ready")
        await shop.send(wait=20)
        assert (await visits(shop).attach("alice", None))["mode"] == "live"
        await shop.parts.application.stop("alice")
        await shop.parts.application.start("alice")
        again = await visits(shop).attach("alice", None)
        assert (again["mode"], again["first"], again["state"]) == (Mode.RESUME, False, "ready")
        assert again["socket"] == str(shop.root.tmux_socket(ALICE))


@pytest.mark.live
async def test_attach_fails_loudly_when_there_is_nothing_to_resume(shop: Workshop) -> None:
    async with shop.supervised():
        await shop.send(wait=20)
        await shop.parts.application.stop("alice")
        await shop.parts.application.start("alice")
        for path in (shop.root.peers / "alice" / ".peerwake/runtimes/scripted").glob("*.jsonl"):
            path.unlink()
        with pytest.raises(CannotResume, match="start it fresh: peerwake new alice"):
            await visits(shop).attach("alice", None)
        assert shop.deck.sessions.live(ALICE) is None
        assert (await shop.send(wait=20)).status is SendStatus.DELIVERED


@pytest.mark.live
async def test_attach_reaches_a_session_that_is_blocked_or_being_booted(shop: Workshop) -> None:
    boots(shop, DIALOG)
    async with shop.supervised():
        await shop.send(wait=0)
        await until(lambda: shop.deck.sessions.live(ALICE))
        found = await visits(shop).attach("alice", None)
        assert found["state"] in ("booting", "blocked")
        assert found["socket"] == str(shop.root.tmux_socket(ALICE))


@pytest.mark.live
async def test_attach_during_a_wake_joins_the_session_that_comes_up(shop: Workshop) -> None:
    boots(shop, SLOW)
    async with shop.supervised():
        await shop.send(wait=0)
        await until(lambda: shop.deck.sessions.live(ALICE))
        assert not shop.record(ALICE).is_ready
        found = await visits(shop).attach("alice", None)
        assert (found["mode"], found["state"] in ("ready", "booting")) == ("live", True)
        fence = shop.record(ALICE).fence
        await until(lambda: shop.prompts() == ["hello"])
        assert shop.record(ALICE).fence == fence


@pytest.mark.live
async def test_run_is_fresh_and_refuses_a_live_session_unless_it_is_to_be_replaced(shop: Workshop) -> None:
    async with shop.supervised():
        await shop.send(topic="a", wait=20)
        await shop.parts.application.stop("alice")
        await shop.parts.application.start("alice")
        found = await visits(shop).run("alice", None, is_replacing=False)
        assert (found["mode"], found["state"]) == ("fresh", "ready")
        fence = shop.record(ALICE).fence
        with pytest.raises(AlreadyLive, match="peerwake attach alice, or replace it: peerwake run --replace"):
            await visits(shop).run("alice", None, is_replacing=False)
        assert shop.record(ALICE).fence == fence
        assert (await visits(shop).run("alice", None, is_replacing=True))["mode"] == "fresh"
        assert shop.record(ALICE).fence != fence


@pytest.mark.live
async def test_run_attaches_to_a_fresh_session_that_asks_something(shop: Workshop) -> None:
    boots(shop, DIALOG)
    for is_replacing in (False, True):
        found = await visits(shop).run("alice", None, is_replacing=is_replacing)
        assert found["state"] == "blocked"
        assert shop.deck.sessions.live(ALICE) is not None


@pytest.mark.live
async def test_run_during_somebody_elses_wake_is_refused(shop: Workshop) -> None:
    boots(shop, SLOW)
    async with shop.supervised():
        await shop.send(wait=0)
        await until(lambda: shop.root.flag(ALICE, "session").exists())
        with pytest.raises(AlreadyLive):
            await visits(shop).run("alice", None, is_replacing=False)
        await until(lambda: shop.prompts() == ["hello"])


@pytest.mark.live
async def test_a_viewer_neither_types_nor_resizes_and_goes_with_its_terminal(shop: Workshop) -> None:
    async with shop.supervised():
        await shop.send(wait=20)
        session = shop.record(ALICE)

        async def is_done() -> bool:
            state, lines = await shop.deck.terminals.look(session)
            return state is ScreenState.READY and "● ok" in lines

        await until(is_done)
        before = await shop.deck.terminals.look(session), size(shop)
        with viewer(shop) as somebody:
            await until(lambda: attached(shop) == ["viewer_1 1"])
            os.write(somebody.keyboard, b"typed\r\x03\x02:kill-server\r\x02&y")
            await until(lambda: os.write(somebody.keyboard, b"\x02d") and somebody.has_left())
        with viewer(shop):
            await until(lambda: attached(shop) == ["viewer_1 1"])
            target = await shop.deck.terminals.target(session)
            assert (await target.pane.look()).human_at is None
            assert (await shop.deck.terminals.look(session), size(shop)) == before
            assert (await shop.send(body="seen", wait=20)).status is SendStatus.DELIVERED
        await until(lambda: shop.tmux(ALICE, "list-sessions", "-F", "#{session_name}") == "scripted-alice\n")
        assert session.is_alive()
    assert shop.prompts() == ["hello", "seen"]


@pytest.mark.live
@pytest.mark.parametrize("end", ["stop", "new", "exit", "kill-session", "kill-server"])
async def test_every_end_of_a_session_is_the_same_with_a_viewer(shop: Workshop, end: str) -> None:
    async with shop.supervised():
        await shop.send(wait=20)
        session = shop.record(ALICE)
        assert session.tmux is not None
        with viewer(shop):
            await until(lambda: len(attached(shop)) == 1)
            match end:
                case "stop":
                    await shop.parts.application.stop("alice")
                case "new":
                    await shop.parts.application.new("alice", None, None)
                case "exit":
                    await shop.send(body="die", wait=0)
                case "kill-session":
                    shop.tmux(ALICE, "kill-session", "-t", "=scripted-alice")
                case _:
                    terminate(session.tmux, signal.SIGKILL)
            await until(lambda: not session.is_alive())
        is_deliberate = end in ("stop", "new")
        await until(lambda: is_deliberate or shop.root.flag(ALICE, "deaths").exists())
        assert shop.log("exits").count("ev=session-exit") == (end == "exit")
    assert shop.root.flag(ALICE, "deaths").exists() != is_deliberate


@pytest.mark.live
async def test_watching_a_session_that_has_just_ended_starts_nothing(shop: Workshop) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    shop.tmux(ALICE, "rename-session", "-t", "=scripted-alice", "other")
    with viewer(shop) as somebody:
        await until(somebody.has_left)
        assert shop.tmux(ALICE, "list-sessions", "-F", "#{session_name}") == "other\n"
    assert session.is_alive()
