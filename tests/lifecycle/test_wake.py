"""Waking, and what a server killed between any two lines of it leaves to the next one."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from filelock import FileLock

from lifecycle.environment import launch_env_path
from lifecycle.flags import Flag
from lifecycle.renewal import Renewal, Renewals
from lifecycle.requests import CrashLooping, PeerStopped, UndeclaredRuntime, UnknownPeer
from lifecycle.runtimes.base import CannotResume
from lifecycle.session import Session, Sessions, SessionUnreadable
from lifecycle.states import End, Mode
from lifecycle.wake import AlreadyWaking, SessionBlocked, WakeFailed
from tests.bulkheads import pipes
from tests.held_paths import held
from tests.lifecycle.workshop import Workshop, until, workshop
from transport.bulkhead import Area, NoAnswer
from transport.clock import SystemClock
from transport.identity import Identity
from transport.paths import Root
from transport.process import ProcessId, terminate
from transport.profile import profile_path
from transport.spool.records import Record
from transport.tmux import commands
from transport.tmux.control import TmuxUnknown
from transport.tmux.listener import listener
from transport.tmux.program import find_tmux
from transport.vocabulary import MessageState

DIALOG = {"boot": {"dialogs": [{"text": "What is this?", "options": ["Yes", "No"]}]}}
ALICE = Identity("scripted", "alice")


@pytest.fixture
async def shop(root: Root) -> AsyncIterator[Workshop]:
    async with workshop(root) as built:
        built.peer()
        yield built


async def test_refusals_come_before_anything_is_touched(shop: Workshop) -> None:
    waker, flags = shop.deck.waker, shop.deck.flags
    with pytest.raises(UnknownPeer):
        await waker.wake(Identity("scripted", "nobody"))
    with pytest.raises(UndeclaredRuntime, match="alice does not declare the runtime 'claude'"):
        await waker.wake(Identity("claude", "alice"))
    flags.set(ALICE, Flag.FAILED, "3 deaths")
    with pytest.raises(CrashLooping):
        await waker.wake(ALICE)
    flags.set(ALICE, Flag.STOPPED)
    with pytest.raises(PeerStopped):
        await waker.wake(ALICE)
    assert shop.deck.sessions.identities() == []


async def test_an_unreadable_record_is_never_overwritten(shop: Workshop) -> None:
    shop.deck.sessions.path(ALICE).write_text("{")
    with pytest.raises(SessionUnreadable):
        await shop.deck.waker.wake(ALICE)
    assert shop.deck.sessions.path(ALICE).read_text() == "{"


async def test_a_lock_held_elsewhere_is_reported_and_a_dead_holder_frees_it(shop: Workshop) -> None:
    path = shop.root.flag(ALICE, "wake.lock")
    held = FileLock(path)
    with held, pytest.raises(AlreadyWaking):
        await shop.deck.waker.wake(ALICE)
    with holding(path) as holder:
        with pytest.raises(AlreadyWaking):
            async with shop.deck.waker.locked(ALICE):
                pass
        holder.kill()
        holder.wait()
        async with shop.deck.waker.locked(ALICE):
            pass


async def test_a_stop_while_a_wake_waits_for_its_lock_starts_nothing(shop: Workshop) -> None:
    refused: list[str] = []

    async def wake() -> None:
        try:
            await shop.deck.waker.wake(ALICE)
        except PeerStopped as error:
            refused.append(error.code)

    async with anyio.create_task_group() as tasks:
        with FileLock(shop.root.flag(ALICE, "wake.lock")):
            tasks.start_soon(wake)
            # The slot is taken just before the lock is waited for.
            await until(lambda: shop.deck.waker.at_once.borrowed_tokens)
            shop.deck.flags.set(ALICE, Flag.STOPPED)
    assert refused == ["stopped"]
    assert "ev=wake" not in shop.log()


@contextmanager
def holding(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the lock."""
    program = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print(flush=True); time.sleep(600)"
    )
    argv = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline()
        yield holder
        holder.kill()


async def test_a_start_that_fails_leaves_no_record_and_counts(shop: Workshop) -> None:
    cwd = shop.root.peers / "alice"
    cwd.rename(shop.root.home / "moved")
    for attempt in range(3):
        with pytest.raises(WakeFailed, match="is not there; restore it or remove the peer"):
            await shop.deck.waker.wake(ALICE)
        assert shop.deck.sessions.identities() == []
        assert shop.deck.flags.is_set(ALICE, Flag.FAILED) == (attempt == 2)


async def test_a_runtime_for_another_intelligence_is_not_launched_and_the_sender_learns_it(root: Root) -> None:
    root.runtimes.mkdir()
    (root.runtimes / "scripted.toml").write_text('requires_intelligence = "natural"\n')
    async with workshop(root, attempts=1) as shop:
        bob = shop.peer("bob")
        shop.deck.flags.set(bob, Flag.STOPPED)
        shop.peer("alice", intelligence="natural")
        edited, registry = profile_path(root.peers / "alice"), shop.parts.application.registry
        edited.write_text(edited.read_text().replace('"natural"', '"artificial"'))
        registry.rebuild()
        async with shop.supervised():
            sent = await shop.send("alice", sender=bob, wait=0)
            record = await until(lambda: settled(shop, sent.message_id))
        why = "scripted is for a peer of natural intelligence, and that of alice is artificial"
        assert record.state is MessageState.DEAD and why in record.reason
        assert str(edited) in record.reason and "peerwake verify --fix" in record.reason
        assert "ev=wake-failed identity=scripted-alice code=wrong-intelligence" in shop.log()
        assert shop.deck.sessions.identities() == []
        assert (await shop.deck.spool.queue(bob, SystemClock().wall())).depth == 1


async def settled(shop: Workshop, message_id: str) -> Record | None:
    record = await shop.deck.spool.message(message_id)
    return record if record is not None and record.settled_at is not None else None


async def test_a_thousand_that_wait_for_a_slot_hold_no_files(shop: Workshop) -> None:
    waker = shop.deck.waker
    await waker.at_once.acquire_on_behalf_of("somebody")
    for number in range(1, int(waker.at_once.total_tokens)):
        await waker.at_once.acquire_on_behalf_of(number)
    before = len(os.listdir("/dev/fd"))
    async with anyio.create_task_group() as tasks:
        for number in range(1000):
            tasks.start_soon(waker.wake, Identity("scripted", f"peer-{number}"))
        await until(lambda: waker.at_once.statistics().tasks_waiting == 1000)
        assert len(os.listdir("/dev/fd")) <= before + 4
        tasks.cancel_scope.cancel()


async def test_a_directory_that_gives_no_answer_takes_no_place_and_is_no_death(shop: Workshop, tmp_path: Path) -> None:
    waker, bulkhead, cwd = shop.deck.waker, shop.deck.terminals.bulkhead, shop.root.peers / "alice"
    with pipes(tmp_path, 1) as (pipe,):
        with pytest.raises(NoAnswer):
            await bulkhead.of(Area.DIRECTORY, ALICE).run(cwd, pipe.open, 0.05)
        for number in range(int(waker.at_once.total_tokens)):
            await waker.at_once.acquire_on_behalf_of(number)
        for _ in range(4):
            with anyio.fail_after(30), pytest.raises(NoAnswer, match="alice gives no answer"):
                await waker.wake(ALICE)
        assert waker.at_once.statistics().tasks_waiting == 0
    assert not shop.deck.flags.is_set(ALICE, Flag.FAILED)
    assert not shop.root.flag(ALICE, "deaths").exists()
    assert shop.log().count("ev=no-answer") == 1
    assert "wake-failed" not in shop.log()


async def test_what_hangs_while_a_session_is_prepared_gives_its_place_back(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lifecycle.launch.PREPARE_SECONDS", 0.2)
    path = launch_env_path(shop.root.peers / "alice", "scripted")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o600)
    waker = shop.deck.waker
    with held(path) as paths:
        for _ in range(4):
            with pytest.raises(NoAnswer):
                await waker.wake(ALICE)
            assert waker.at_once.borrowed_tokens == 0
        assert paths.waiting == 1
    assert shop.deck.sessions.identities() == []
    assert not shop.root.flag(ALICE, "deaths").exists()


@pytest.mark.live
async def test_wake_then_the_same_session(shop: Workshop) -> None:
    first, is_new = await shop.deck.waker.wake(ALICE)
    again, is_new_again = await shop.deck.waker.wake(ALICE)
    assert (is_new, is_new_again) == (True, False)
    assert first == again == shop.record(ALICE)
    assert first.takes_messages and first.is_alive()


@pytest.mark.live
async def test_many_at_once_start_one_session(shop: Workshop) -> None:
    found = []

    async def wake() -> None:
        # On a busy machine a wake may hold its lock for longer than the others wait for it.
        while True:
            with suppress(AlreadyWaking):
                return found.append(await shop.deck.waker.wake(ALICE))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(wake)
    assert len({session.fence for session, _ in found}) == 1
    assert sorted(is_new for _, is_new in found) == [False] * 4 + [True]


@pytest.mark.live
async def test_a_client_that_waits_at_its_start_keeps_no_other_from_starting(root: Root) -> None:
    limits = {"wakes_at_once": 1, "blocked_seconds": 600.0, "boot_seconds": 20.0}
    async with workshop(root, **limits) as shop, anyio.create_task_group() as tasks:
        shop.peer(script=DIALOG)
        shop.peer("bob")
        tasks.start_soon(shop.deck.waker.wake, ALICE)
        await until(lambda: shop.deck.sessions.live(ALICE))
        session, _ = await shop.deck.waker.wake(Identity("scripted", "bob"))
        assert session.is_ready
        assert not shop.record(ALICE).is_ready
        tasks.cancel_scope.cancel()


@pytest.mark.live
async def test_a_stop_during_the_start_ends_it_whatever_the_screen_shows(shop: Workshop) -> None:
    """The stop finds no session yet; the wake finds the flag, also where the client would block at a dialog."""
    (shop.root.peers / "alice" / "scripted.json").write_text(json.dumps(DIALOG))
    launcher = shop.deck.waker.launcher
    original = launcher.sessions.update

    def update(*args, **changes):
        if "tmux" in changes:
            shop.deck.flags.set(ALICE, Flag.STOPPED)
        return original(*args, **changes)

    launcher.sessions.update = update  # type: ignore[method-assign]
    with pytest.raises(PeerStopped):
        await shop.deck.waker.wake(ALICE)
    assert shop.deck.sessions.identities() == []
    assert listener(shop.root.tmux_socket(ALICE)) is None


@pytest.mark.live
async def test_a_client_that_dies_at_boot_is_one_death(shop: Workshop) -> None:
    (shop.root.peers / "alice" / "scripted.json").write_text('{"boot": {"exit": 3}}')
    async with shop.supervised():
        with pytest.raises(WakeFailed):
            await shop.deck.waker.wake(ALICE)
        await until(lambda: ALICE not in shop.supervisor.watched)
    assert len(shop.root.flag(ALICE, "deaths").read_text().split()) == 1
    assert shop.log("exits").count("ev=session-exit") == 1
    assert shop.deck.sessions.identities() == []


@pytest.mark.live
async def test_a_server_killed_after_the_intent_leaves_nothing(shop: Workshop) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    await shop.deck.terminals.close(session, End.STOPPED)
    shop.deck.sessions.save(replace(session, tmux=None, pane=None, pane_id="", is_ready=False, fence="cut-off"))
    assert await shop.deck.waker.adopt(ALICE) is None
    assert shop.deck.sessions.identities() == []
    assert not shop.root.flag(ALICE, "deaths").exists()


@pytest.mark.live
async def test_a_server_killed_between_tmux_and_its_session_leaves_no_tmux(shop: Workshop) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    await shop.deck.terminals.close(session, End.STOPPED)
    cut_off = replace(session, tmux=None, pane=None, pane_id="", is_ready=False, fence="cut-off")
    bare = start_bare(shop.root)
    try:
        await until(lambda: listener(shop.root.tmux_socket(ALICE)))
        shop.deck.sessions.save(cut_off)
        found, is_new = await shop.deck.waker.wake(ALICE)
        assert is_new and found.is_alive()
        assert bare.wait(5) is not None
    finally:
        bare.kill()
        bare.wait()


@pytest.mark.live
async def test_a_tmux_without_any_session_that_came_too_late_is_in_nobodys_way(shop: Workshop) -> None:
    """The launcher of a killed server brings one up after the next server has looked."""
    bare = start_bare(shop.root)
    try:
        await until(lambda: listener(shop.root.tmux_socket(ALICE)))
        session, is_new = await shop.deck.waker.wake(ALICE)
        assert is_new and session.is_ready
        assert bare.wait(5) is not None
    finally:
        bare.kill()
        bare.wait()


def start_bare(root: Root) -> subprocess.Popen[bytes]:
    argv = commands.foreground_server(find_tmux(), root.tmux_socket(ALICE))
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.live
async def test_a_server_killed_before_the_record_was_complete_is_adopted(shop: Workshop) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    shop.deck.sessions.save(replace(session, tmux=None, pane=None, pane_id="", is_ready=False))
    found, is_new = await shop.deck.waker.wake(ALICE)
    assert not is_new
    assert (found.tmux, found.pane, found.pane_id) == (session.tmux, session.pane, session.pane_id)


@pytest.mark.live
async def test_a_launch_cut_off_before_its_record_was_complete_has_obeyed_its_wish(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one server: the disk is full at the moment when the record is to be completed."""
    Renewals(shop.root).set(ALICE, Renewal(None, "begin"))

    def full(*args: object, **changes: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(Sessions, "update", full)
        await shop.deck.waker.wake(ALICE)
    session, is_new = await shop.deck.waker.wake(ALICE)
    assert (is_new, session.seed) == (False, "begin")
    assert not shop.deck.flags.is_set(ALICE, Flag.NEW)


@pytest.mark.live
async def test_a_person_opened_a_window_before_the_adoption(shop: Workshop) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    shop.tmux(ALICE, "new-window", "-d", "sleep", "600")
    shop.deck.sessions.save(replace(session, tmux=None, pane=None, pane_id="", is_ready=False))
    found = await shop.deck.waker.adopt(ALICE)
    assert found is not None and found.pane == session.pane


@pytest.mark.live
async def test_a_tmux_that_does_not_answer_is_neither_adopted_nor_replaced(shop: Workshop) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    assert session.tmux is not None
    cut_off = shop.deck.sessions.save(replace(session, tmux=None, pane=None, pane_id="", is_ready=False))
    await shop.deck.terminals.aclose()
    terminate(session.tmux, signal.SIGSTOP)
    try:
        with pytest.raises(TmuxUnknown):
            await shop.deck.waker.wake(ALICE)
        assert shop.deck.sessions.load(ALICE) == cut_off
    finally:
        terminate(session.tmux, signal.SIGCONT)

    async def adopted() -> Session | None:
        with suppress(TmuxUnknown):
            return await shop.deck.waker.adopt(ALICE)
        return None

    found = await until(adopted)
    assert found.tmux == session.tmux


@pytest.mark.live
async def test_a_server_killed_in_the_middle_of_a_close_is_finished_by_the_next(shop: Workshop) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    shop.deck.sessions.update(session, is_closing=True)
    found, is_new = await shop.deck.waker.wake(ALICE)
    assert is_new and found.tmux != session.tmux
    assert not session.is_alive()
    assert not shop.root.flag(ALICE, "deaths").exists()


@pytest.mark.live
async def test_a_server_killed_between_the_stop_and_the_close_is_finished_by_the_next(shop: Workshop) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    shop.deck.flags.set(ALICE, Flag.STOPPED)
    assert await shop.deck.waker.adopt(ALICE) is None
    assert not session.is_alive()
    assert shop.deck.sessions.identities() == []


@pytest.mark.live
async def test_a_session_that_nobody_has_a_record_of_is_not_started_over(shop: Workshop) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    shop.deck.sessions.path(ALICE).unlink()
    with pytest.raises(SessionBlocked, match="peerwake stop alice"):
        await shop.deck.waker.wake(ALICE)
    assert session.is_alive()
    await shop.parts.application.stop("alice")
    await shop.parts.application.start("alice")
    found, is_new = await shop.deck.waker.wake(ALICE)
    assert is_new and not session.is_alive() and found.is_alive()


@pytest.mark.live
async def test_a_death_that_nobody_noticed_is_counted_by_the_wake_that_finds_it(shop: Workshop) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    kill(session.tmux)
    await until(lambda: not session.is_alive())
    _, is_new = await shop.deck.waker.wake(ALICE)
    assert is_new
    assert len(shop.root.flag(ALICE, "deaths").read_text().split()) == 1
    last = shop.deck.sessions.find(ALICE, session.fence)
    assert last is not None


def kill(process: ProcessId | None) -> None:
    assert process is not None
    terminate(process, signal.SIGKILL)


@pytest.mark.live
async def test_resume_takes_the_conversation_up_again(shop: Workshop) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    async with shop.supervised():
        assert (await shop.send(body="one")).status == "delivered"
    await shop.deck.terminals.close(session, End.STOPPED)
    last = shop.deck.sessions.last(ALICE)
    assert last is not None and last.session_ref == session.session_id
    found, is_new = await shop.deck.waker.wake(ALICE, asked=Mode.RESUME)
    assert is_new and found.mode is Mode.RESUME and found.is_ready


def transcript(shop: Workshop, session: Session) -> Path:
    return Path(session.cwd) / ".peerwake/runtimes/scripted" / f"{session.session_id}.jsonl"


@pytest.mark.live
async def test_a_message_with_the_old_topic_finds_the_old_conversation(shop: Workshop) -> None:
    async with shop.supervised():
        assert (await shop.send(body="one", topic="release")).status == "delivered"
        await until(lambda: shop.record(ALICE).topics == ("release",))
        first = shop.record(ALICE)
        await shop.deck.terminals.close(first, End.IDLE)
        assert (await shop.send(body="two", topic="Release")).status == "delivered"
        second = shop.record(ALICE)
        assert (second.mode, second.session_ref, second.topics) == (Mode.RESUME, first.session_id, ("release",))
        assert transcript(shop, first).read_text().count('"type": "user"') == 2
        await shop.deck.terminals.close(second, End.IDLE)
        assert (await shop.send(body="three")).status == "delivered"
        assert shop.record(ALICE).mode is Mode.FRESH


@pytest.mark.live
async def test_a_resume_that_fails_is_left_for_a_fresh_start_and_said(root: Root) -> None:
    root.runtimes.mkdir(exist_ok=True)
    (root.runtimes / "scripted.toml").write_text('resume_argv = ["/bin/sh", "-c", "echo no such conversation; exit 1"]')
    async with workshop(root) as shop, shop.supervised():
        shop.peer()
        assert (await shop.send(body="one", topic="release")).status == "delivered"
        first = shop.record(ALICE)
        await shop.deck.terminals.close(first, End.IDLE)
        assert (await shop.send(body="two", topic="release")).status == "delivered"
        second = shop.record(ALICE)
        assert second.mode is Mode.FRESH and second.session_ref is None
        assert "ev=resume-failed" in shop.log()
        assert not shop.root.flag(ALICE, "deaths").exists()
        await shop.deck.terminals.close(second, End.IDLE)
        with pytest.raises(CannotResume, match="cannot be resumed"):
            await shop.deck.waker.wake(ALICE, asked=Mode.RESUME)
        assert shop.deck.sessions.identities() == []


@pytest.mark.live
async def test_a_fresh_session_is_told_its_seed_before_any_message(shop: Workshop) -> None:
    Renewals(shop.root).set(ALICE, Renewal(None, "read the plan"))
    async with shop.supervised():
        assert (await shop.send(body="one")).status == "delivered"
    assert shop.prompts() == ["read the plan", "one"]
    assert not shop.root.flag(ALICE, "new").exists()


@pytest.mark.live
async def test_a_message_in_flight_when_its_session_is_ended_costs_no_attempt(shop: Workshop) -> None:
    (shop.root.peers / "alice" / "scripted.json").write_text('[{"match": "^zero$", "busy_seconds": 60}]')
    async with shop.supervised():
        assert (await shop.send(body="zero")).status == "delivered"
        waiting = await shop.send(body="one", wait=0)
        await until(lambda: _is_typed(shop, waiting.message_id))
        (shop.root.peers / "alice" / "scripted.json").write_text("[]")
        await shop.deck.terminals.close(shop.record(ALICE), End.NEW)
        await until(lambda: _is_consumed(shop, waiting.message_id))
    report = await shop.parts.application.message(waiting.message_id)
    assert report.attempts == 0
    assert shop.prompts() == ["zero", "one"]


async def _is_typed(shop: Workshop, message_id: str) -> bool:
    return (await shop.parts.application.message(message_id)).stage in ("pasting", "injected")


async def _is_consumed(shop: Workshop, message_id: str) -> bool:
    return (await shop.parts.application.message(message_id)).state == "consumed"
