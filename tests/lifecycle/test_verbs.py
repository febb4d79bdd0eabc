"""What operators do to sessions, and the way out of every state that nothing else leads out of."""

import errno
import signal
from collections.abc import AsyncIterator
from dataclasses import replace

import anyio
import pytest

from lifecycle import canary
from lifecycle.flags import Flag
from lifecycle.requests import PeerStopped, UnknownPeer
from lifecycle.session import Sessions, SessionUnreadable
from lifecycle.states import End, SendStatus
from lifecycle.verbs import Verbs
from tests.lifecycle.workshop import Workshop, until, workshop
from transport.identity import Identity
from transport.paths import Root
from transport.process import terminate
from transport.tmux.control import TmuxUnknown

DIALOG = {"boot": {"dialogs": [{"text": "What is this?", "options": ["Yes", "No"]}]}}
ALICE, BOB = Identity("scripted", "alice"), Identity("scripted", "bob")


@pytest.fixture
async def shop(root: Root) -> AsyncIterator[Workshop]:
    async with workshop(root) as built:
        built.peer()
        built.peer("bob")
        yield built


def verbs(shop: Workshop) -> Verbs:
    return shop.parts.application.verbs


async def test_stop_and_start_of_sleepers(shop: Workshop) -> None:
    assert await verbs(shop).stop(None) == ("scripted-alice", "scripted-bob")
    assert shop.deck.flags.is_set(ALICE, Flag.STOPPED)
    shop.deck.flags.set(ALICE, Flag.FAILED)
    shop.root.flag(ALICE, "deaths").write_text("1\n")
    assert await verbs(shop).start("alice") == ("scripted-alice",)
    assert not shop.deck.flags.is_set(ALICE, Flag.STOPPED) and not shop.deck.flags.is_set(ALICE, Flag.FAILED)
    assert not shop.root.flag(ALICE, "deaths").exists()
    assert shop.deck.flags.is_set(BOB, Flag.STOPPED)


async def test_an_unknown_name_changes_nothing(shop: Workshop) -> None:
    for verb in (verbs(shop).stop, verbs(shop).start):
        with pytest.raises(UnknownPeer):
            await verb("alise")
    for other in (verbs(shop).new("alise", None, None), verbs(shop).refresh("alise", None)):
        with pytest.raises(UnknownPeer):
            await other


async def test_stop_is_the_way_out_of_an_unreadable_record(shop: Workshop) -> None:
    path = shop.deck.sessions.path(ALICE)
    path.write_text("{")
    with pytest.raises(SessionUnreadable, match="peerwake stop alice"):
        await verbs(shop).new("alice", None, None)
    await verbs(shop).stop("alice")
    assert not path.exists()
    assert shop.root.flag(ALICE, "damaged").read_text() == "{"


@pytest.mark.live
@pytest.mark.parametrize("record", ["{", '{"version": 2}', None])
@pytest.mark.parametrize("has_socket", [True, False])
async def test_stop_ends_what_runs_behind_a_record_that_tells_nothing(
    shop: Workshop, record: str | None, has_socket: bool
) -> None:
    """Deliberately: it leaves no line, and counts as no death."""
    async with shop.supervised():
        session, _ = await shop.deck.waker.wake(ALICE)
        if not has_socket:
            shop.root.tmux_socket(ALICE).unlink()
        path = shop.deck.sessions.path(ALICE)
        path.unlink() if record is None else path.write_text(record)
        await verbs(shop).stop("alice")
        assert not session.is_alive()
        await verbs(shop).start("alice")
        assert (await shop.send(wait=20)).status is SendStatus.DELIVERED
    assert not shop.root.flag(ALICE, "deaths").exists()
    assert session.tmux is not None
    assert canary.is_accounted(shop.root, ALICE, session.tmux.pid)
    assert f"server_pid={session.tmux.pid}" not in shop.log("exits")


@pytest.mark.live
async def test_what_is_known_of_a_session_outlives_its_unreadable_record(shop: Workshop) -> None:
    """Else nothing tells whether it took the message that it had in hand."""
    async with shop.supervised():
        assert (await shop.send(wait=20)).status is SendStatus.DELIVERED
        session = shop.deck.sessions.load(ALICE)
        assert session is not None
        shop.deck.sessions.path(ALICE).write_text("{")
        await verbs(shop).stop("alice")
        found = shop.deck.sessions.find(ALICE, session.fence)
        assert found is not None
        assert (found.session_id, found.is_closing, found.end) == (session.session_id, True, End.STOPPED)


@pytest.mark.live
@pytest.mark.parametrize("method", ["update", "retire"])
async def test_stop_needs_no_room_on_the_disk(shop: Workshop, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    def full(*args: object, **changes: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with shop.supervised():
        sessions = [(await shop.deck.waker.wake(identity))[0] for identity in (ALICE, BOB)]
        with monkeypatch.context() as patch:
            patch.setattr(Sessions, method, full)
            assert len(await verbs(shop).stop(None)) == 2
            assert not any(session.is_alive() for session in sessions)
        await shop.supervisor.tick()
        await until(lambda: shop.deck.sessions.load(ALICE) is None)
        last = shop.deck.sessions.last(ALICE)
        assert last is not None and (last.is_closing, last.end) == (True, End.STOPPED)
        await verbs(shop).start(None)
        assert (await shop.send(wait=20)).status is SendStatus.DELIVERED
    assert not shop.root.flag(ALICE, "deaths").exists()


@pytest.mark.live
@pytest.mark.parametrize("verb", ["stop", "remove", "tick"])
async def test_a_session_whose_start_was_cut_off_and_whose_tmux_hangs_can_be_ended(shop: Workshop, verb: str) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    assert session.tmux is not None
    await shop.deck.terminals.aclose()
    shop.deck.sessions.save(replace(session, tmux=None, pane=None, pane_id="", is_ready=False))
    terminate(session.tmux, signal.SIGSTOP)
    if verb == "tick":
        shop.deck.flags.set(ALICE, Flag.STOPPED)
    async with shop.supervised():
        if verb == "stop":
            await verbs(shop).stop("alice")
        elif verb == "remove":
            await shop.parts.application.remove("alice", force=True, purge=False)
        await until(lambda: not session.is_alive())
        await until(lambda: shop.deck.sessions.load(ALICE) is None)


@pytest.mark.live
@pytest.mark.parametrize("change", ["removed", "undeclared", "unknown-runtime"])
async def test_stop_ends_sessions_of_what_is_registered_no_more(shop: Workshop, change: str) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    registry = shop.parts.application.registry
    profile = registry.get("alice")
    assert profile is not None
    match change:
        case "removed":
            registry.remove("alice")
        case "undeclared":
            registry.update(profile.model_copy(update={"runtimes": ("command",), "default_runtime": "command"}))
        case _:
            await shop.deck.terminals.aclose()
            del shop.parts.table.runtimes["scripted"]  # type: ignore[attr-defined]
    assert "scripted-alice" in await verbs(shop).stop("alice")
    assert not session.is_alive()
    assert shop.deck.sessions.identities() == []


@pytest.mark.live
async def test_one_session_that_does_not_end_keeps_no_other_alive(shop: Workshop) -> None:
    alice, _ = await shop.deck.waker.wake(ALICE)
    bob, _ = await shop.deck.waker.wake(BOB)
    original = shop.deck.terminals.kill

    async def kill(session) -> None:
        if session.identity == ALICE:
            raise TmuxUnknown("it does not die")
        await original(session)

    type(shop.deck.terminals).kill, kept = (lambda self, session: kill(session)), type(shop.deck.terminals).kill  # type: ignore[method-assign]
    try:
        with pytest.raises(TmuxUnknown):
            await verbs(shop).stop(None)
    finally:
        type(shop.deck.terminals).kill = kept  # type: ignore[method-assign]
    assert alice.is_alive() and not bob.is_alive()
    assert shop.record(ALICE).is_closing
    await verbs(shop).stop("alice")
    assert not alice.is_alive()
    assert shop.deck.sessions.identities() == []


@pytest.mark.live
async def test_a_stopped_tmux_server_is_ended_too(shop: Workshop) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    assert session.tmux is not None
    terminate(session.tmux, signal.SIGSTOP)
    await verbs(shop).stop("alice")
    assert not session.is_alive()


@pytest.mark.live
async def test_stop_start_and_sends_that_cross_end_in_order_with_one_session(shop: Workshop) -> None:
    """A stop, a start and messages that race: nothing is lost, doubled or left running twice."""
    async with shop.supervised():
        accepted: list[str] = []
        for number in range(6):
            async with anyio.create_task_group() as tasks:

                async def send(number: int = number) -> None:
                    try:
                        await shop.send(body=f"message {number}", wait=0)
                    except PeerStopped:
                        return
                    accepted.append(f"message {number}")

                tasks.start_soon(send)
                await anyio.sleep(0.05 * number)
                tasks.start_soon(verbs(shop).stop, "alice")
            await verbs(shop).start("alice")
        assert (await shop.send(body="last", wait=30)).status is SendStatus.DELIVERED
        assert shop.prompts() == [*accepted, "last"]
        assert await shop.deck.spool.depth(ALICE) == 0
        assert shop.record(ALICE).is_alive()
    assert not shop.root.flag(ALICE, "deaths").exists()
