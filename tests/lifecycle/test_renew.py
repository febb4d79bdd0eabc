"""A session replaced by a fresh one: what was in flight, what comes in between, what a killed server leaves."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import anyio
import pytest

from lifecycle.flags import Flag
from lifecycle.initial import InitialPrompt
from lifecycle.renew import NotReady
from lifecycle.renewal import Renewal, Renewals
from lifecycle.requests import CrashLooping, NotAllowed, PeerStopped
from lifecycle.session import Session
from lifecycle.states import End, Mode, SendStatus
from lifecycle.terminals import Terminals
from lifecycle.verbs import AlwaysFresh, Verbs
from lifecycle.wake import WakeFailed, Waker
from tests.lifecycle.standstill import stand_still
from tests.lifecycle.workshop import Workshop, until, workshop
from transport.errors import InvalidInput, PeerwakeError
from transport.files import locked
from transport.identity import Identity
from transport.paths import Root
from transport.spool.records import Record
from transport.vocabulary import WakePolicy

ALICE = Identity("scripted", "alice")
WORKER = Identity("scripted", "worker")
SLOW = {"boot": {"seconds": 1.5}, "rules": []}
DIALOG = {"boot": {"dialogs": [{"text": "What is this?", "options": ["Yes", "No"]}]}}
EXITS = {"boot": {"exit": 3}, "rules": []}
POINTS: dict[str, tuple[type, str, bool]] = {
    "while it boots": (Terminals, "boot", False),
    "before it is told": (InitialPrompt, "hand_over", False),
    "after it was told": (InitialPrompt, "hand_over", True),
    "after it was ready": (Waker, "wake", True),
}
RULES = [{"match": "work", "busy_seconds": 600}, {"match": "turn", "busy_seconds": 1.5}]


@pytest.fixture
async def shop(root: Root) -> AsyncIterator[Workshop]:
    async with workshop(root) as built:
        built.peer(script=RULES)
        yield built


def verbs(shop: Workshop) -> Verbs:
    return shop.parts.application.verbs


def script(shop: Workshop, content: Any) -> None:
    (shop.root.peers / "alice" / "scripted.json").write_text(json.dumps(content))


def wish(shop: Workshop, identity: Identity = ALICE) -> Renewal | None:
    return Renewals(shop.root).load(identity)


async def record(shop: Workshop, message_id: str) -> Record:
    found = await shop.deck.spool.message(message_id)
    assert found is not None
    return found


async def is_busy(shop: Workshop) -> bool:
    session = shop.deck.sessions.live(ALICE)
    return session is not None and not await shop.deck.terminals.is_idle(session)


async def test_what_is_refused_changes_nothing(shop: Workshop) -> None:
    shop.peer("worker", WakePolicy.EPHEMERAL)
    for refused in (verbs(shop).new("worker", None, None), verbs(shop).refresh("worker", None)):
        with pytest.raises(AlwaysFresh, match="worker is ephemeral"):
            await refused
    with pytest.raises(InvalidInput, match="at most 16384"):
        await verbs(shop).new("alice", None, "x" * 16_385)
    shop.deck.flags.set(ALICE, Flag.FAILED, "3 deaths")
    with pytest.raises(CrashLooping):
        await verbs(shop).new("alice", None, None)
    shop.deck.flags.set(ALICE, Flag.STOPPED)
    with pytest.raises(PeerStopped):
        await verbs(shop).new("alice", None, None)
    assert wish(shop) is wish(shop, WORKER) is None
    assert shop.deck.sessions.identities() == []


async def test_a_sleeping_peer_is_refreshed_at_its_next_wake(shop: Workshop) -> None:
    answer = await verbs(shop).refresh("alice", None)
    assert answer == {"identity": "scripted-alice", "state": "fresh at its next wake", "live": False}
    assert shop.deck.flags.is_set(ALICE, Flag.REFRESH)


async def test_a_start_that_fails_withdraws_the_wish(shop: Workshop) -> None:
    (shop.root.peers / "alice").rename(shop.root.home / "moved")
    with pytest.raises(WakeFailed, match="is not there"):
        await verbs(shop).new("alice", None, "go on")
    assert wish(shop) is None


async def test_only_a_session_ends_itself(shop: Workshop) -> None:
    for refused in (verbs(shop).self_new(ALICE, None), verbs(shop).self_done(ALICE)):
        with pytest.raises(NotAllowed, match="say it from inside one"):
            await refused
    assert wish(shop) is None


@pytest.mark.live
async def test_new_of_a_sleeping_peer_wakes_it_with_its_seed(shop: Workshop) -> None:
    async with shop.supervised():
        answer = await verbs(shop).new("alice", None, "go on")
        assert (answer["state"], answer["mode"]) == ("ready", "fresh")
        assert shop.prompts() == ["go on"]
        assert shop.record(ALICE).takes_messages
        assert wish(shop) is None


@pytest.mark.live
async def test_new_ends_a_busy_session_and_nothing_that_was_taken_is_repeated(shop: Workshop) -> None:
    async with shop.supervised():
        await shop.send(body="work", wait=20)
        old = shop.record(ALICE)
        queued = await shop.send(body="queued in the client", wait=0)
        await until(lambda: "queued in the client" in _transcripts(shop))
        behind = await shop.send(body="behind it", wait=0)
        await verbs(shop).new("alice", None, None)
        assert not old.is_alive() and shop.record(ALICE).fence != old.fence
        await until(lambda: shop.prompts() == ["work", "queued in the client", "behind it"])
        for sent in (queued, behind):
            assert (await record(shop, sent.message_id)).attempts == 0
    assert not shop.root.flag(ALICE, "deaths").exists()
    assert shop.log("exits") == ""


def _transcripts(shop: Workshop) -> str:
    paths = (shop.root.peers / "alice" / ".peerwake/runtimes/scripted").glob("*.jsonl")
    return "".join(path.read_text() for path in paths)


async def hangs(shop: Workshop, seed: str | None = None) -> Session:
    """Return the session that is coming up, once its client shows a dialog and waits."""
    session: Session = await until(lambda: (live := shop.deck.sessions.live(ALICE)) and live.seed == seed and live)
    await until(lambda: _asks(shop, session))
    return session


async def _asks(shop: Workshop, session: Session) -> bool:
    return any("What is this?" in line for line in (await shop.deck.terminals.look(session))[1])


@pytest.mark.live
async def test_new_while_a_wake_is_on_its_way_replaces_what_comes_up(root: Root) -> None:
    async with workshop(root, blocked_seconds=60.0) as shop:
        shop.peer(script=DIALOG)
        async with shop.supervised():
            sent = await shop.send(wait=0)
            old = await hangs(shop)
            script(shop, RULES)
            await verbs(shop).new("alice", None, "the seed")
            assert shop.record(ALICE).fence != old.fence
            assert not old.is_alive()
            await until(lambda: shop.prompts() == ["the seed", "hello"])
            assert (await record(shop, sent.message_id)).attempts == 0
        assert not shop.root.flag(ALICE, "deaths").exists()
        assert "wake-failed" not in shop.log()


@pytest.mark.live
async def test_new_before_the_client_of_a_wake_exists(shop: Workshop) -> None:
    async with shop.supervised():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shop.deck.waker.wake, ALICE)
            await until(lambda: shop.root.flag(ALICE, "session").exists())
            assert shop.record(ALICE).tmux is None
            await verbs(shop).new("alice", None, "the seed")
        assert shop.record(ALICE).seed == "the seed"
        assert shop.prompts() == ["the seed"]


@pytest.mark.live
@pytest.mark.parametrize("is_live", [False, True])
async def test_new_many_times_at_once_ends_in_one_ready_session(shop: Workshop, is_live: bool) -> None:
    async with shop.supervised():
        if is_live:
            await shop.send(wait=20)
        answers: list[dict[str, Any]] = []

        async def new(seed: str) -> None:
            answers.append(await verbs(shop).new("alice", None, seed))

        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(new, f"seed {number}")
        assert len(answers) == 4
        assert shop.record(ALICE).is_ready and shop.record(ALICE).seed in {f"seed {number}" for number in range(4)}
        assert wish(shop) is None
        assert (await shop.send(body="after", wait=20)).status is SendStatus.DELIVERED
    assert shop.prompts()[-1] == "after"
    assert not shop.root.flag(ALICE, "deaths").exists()


@pytest.mark.live
async def test_the_second_new_does_not_wait_for_a_first_that_hangs(root: Root) -> None:
    async with workshop(root, blocked_seconds=60.0) as shop:
        shop.peer(script=DIALOG)
        async with shop.supervised():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(verbs(shop).new, "alice", None, "one")
                await hangs(shop, "one")
                script(shop, RULES)
                await verbs(shop).new("alice", None, "two")
            assert shop.prompts() == ["two"]


@pytest.mark.live
async def test_a_stop_ends_a_new_that_is_under_way(shop: Workshop) -> None:
    script(shop, SLOW)
    async with shop.supervised():
        failures: list[PeerwakeError] = []

        async def new() -> None:
            try:
                await verbs(shop).new("alice", None, "the seed")
            except PeerwakeError as error:
                failures.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(new)
            await until(lambda: shop.deck.sessions.live(ALICE))
            await verbs(shop).stop("alice")
        (failure,) = failures
        assert isinstance(failure, PeerStopped)
        assert "peerwake start alice" in str(failure)
        assert shop.deck.sessions.live(ALICE) is None
        assert wish(shop) is None
    assert shop.prompts() == []


@pytest.mark.live
async def test_a_fresh_session_that_asks_something_is_not_ready(shop: Workshop) -> None:
    script(shop, DIALOG)
    with pytest.raises(NotReady, match="peerwake attach alice"):
        await verbs(shop).new("alice", None, None)
    assert shop.record(ALICE).is_alive()
    script(shop, RULES)
    assert (await verbs(shop).new("alice", None, None))["state"] == "ready"


@pytest.mark.live
async def test_refresh_leaves_the_live_session_and_the_next_is_fresh(shop: Workshop) -> None:
    async with shop.supervised():
        await shop.send(topic="a", wait=20)
        session = shop.record(ALICE)
        assert (await verbs(shop).refresh("alice", None))["live"] is True
        await shop.send(body="still there", topic="a", wait=20)
        assert shop.record(ALICE).fence == session.fence
        await verbs(shop).stop("alice")
        await verbs(shop).start("alice")
        await shop.send(body="later", topic="a", wait=20)
        assert shop.record(ALICE).mode is Mode.FRESH
        assert not shop.deck.flags.is_set(ALICE, Flag.REFRESH)


@pytest.mark.live
async def test_self_new_waits_for_the_end_of_the_turn(shop: Workshop) -> None:
    async with shop.supervised():
        await shop.send(body="turn", wait=20)
        old = shop.record(ALICE)
        await until(lambda: is_busy(shop))
        await verbs(shop).self_new(ALICE, "go on from here")
        assert wish(shop) == Renewal(old.fence, "go on from here", at_turn_end=True)
        assert old.is_alive() and await is_busy(shop)
        await until(lambda: shop.prompts() == ["turn", "go on from here"])
        await until(lambda: shop.record(ALICE).is_ready)
        assert (shop.record(ALICE).mode, wish(shop)) == (Mode.FRESH, None)
        last = shop.deck.sessions.find(ALICE, old.fence)
        assert last is not None and last.end is End.NEW
    assert '"type": "assistant"' in _transcripts(shop)
    assert not shop.root.flag(ALICE, "deaths").exists()


@pytest.mark.live
async def test_a_message_in_the_last_moment_of_a_session_is_taken_once(shop: Workshop) -> None:
    async with shop.supervised():
        await shop.send(body="turn", wait=20)
        await verbs(shop).self_new(ALICE, None)
        sent = [await shop.send(body=f"number {number}", wait=0) for number in range(5)]
        await until(lambda: len(shop.prompts()) >= 6)
        await until(lambda: wish(shop) is None and shop.deck.sessions.live(ALICE))
        for each in sent:
            assert (await record(shop, each.message_id)).attempts == 0
    assert shop.prompts() == ["turn", *(f"number {number}" for number in range(5))]


@pytest.mark.live
async def test_a_long_seed_is_put_into_a_file(shop: Workshop) -> None:
    async with shop.supervised():
        await verbs(shop).new("alice", None, "start " + "x" * 10_000)
        (path,) = (shop.root.peers / "alice" / ".peerwake" / "inbox").iterdir()
        assert path.read_text() == "start " + "x" * 10_000
        assert str(path) in _transcripts(shop)


async def test_self_done_is_finished_by_the_next_server(shop: Workshop) -> None:
    async with shop.supervised():
        await shop.send(body="turn", wait=20)
        old = shop.record(ALICE)
    shop.deck.sessions.update(old, end=End.SELF)
    async with shop.supervised():
        await until(lambda: not old.is_alive())
        await until(lambda: shop.deck.sessions.load(ALICE) is None)
    last = shop.deck.sessions.last(ALICE)
    assert last is not None and (last.is_closing, last.end) == (True, End.SELF)
    assert not shop.root.flag(ALICE, "deaths").exists()


async def test_self_done_is_on_disk_before_it_is_answered(shop: Workshop) -> None:
    async with shop.supervised():
        await shop.send(body="work", wait=20)
        await verbs(shop).self_done(ALICE)
        session = shop.record(ALICE)
        assert (session.is_closing, session.end) == (False, End.SELF)


async def test_self_done_ends_a_warm_session_and_the_next_message_finds_it_fresh(shop: Workshop) -> None:
    async with shop.supervised():
        await shop.send(body="turn", topic="a", wait=20)
        old = shop.record(ALICE)
        await verbs(shop).self_done(ALICE)
        await until(lambda: not old.is_alive())
        await until(lambda: shop.deck.sessions.load(ALICE) is None)
        last = shop.deck.sessions.last(ALICE)
        assert last is not None and last.end is End.SELF
        assert "ev=self-done identity=scripted-alice\n" in shop.log()
        await shop.send(body="later", topic="a", wait=20)
        assert shop.record(ALICE).mode is Mode.FRESH
    assert shop.prompts() == ["turn", "later"]
    assert '"type": "assistant"' in _transcripts(shop)


@pytest.mark.live
async def test_self_done_outlives_an_error(shop: Workshop) -> None:
    """Another process has the pane for a moment."""
    async with shop.supervised():
        await shop.send(body="turn", wait=20)
        old = shop.record(ALICE)
        await shop.deck.terminals.aclose()
        with locked(shop.root.flag(ALICE, "pane.lock")):
            await verbs(shop).self_done(ALICE)
            await until(lambda: "ev=self-done-failed" in shop.log())
            assert old.is_alive()
        await until(lambda: not old.is_alive())
        await until(lambda: shop.deck.sessions.load(ALICE) is None)


@pytest.mark.live
async def test_a_turn_without_an_end_is_cut_off_after_a_bound(root: Root) -> None:
    async with workshop(root, self_end_seconds=0.5) as shop:
        shop.peer(script=RULES)
        async with shop.supervised():
            await shop.send(body="work", wait=20)
            old = shop.record(ALICE)
            await verbs(shop).self_new(ALICE, "next")
            await until(lambda: shop.prompts() == ["work", "next"])
            assert not old.is_alive()


@pytest.mark.live
async def test_a_stopped_session_that_wished_to_be_renewed_stays_down(shop: Workshop) -> None:
    async with shop.supervised():
        await shop.send(body="turn", wait=20)
        await verbs(shop).self_new(ALICE, "next")
        await verbs(shop).stop("alice")
        await until(lambda: "self-new-failed" in shop.log())
        assert shop.deck.sessions.live(ALICE) is None
    assert shop.prompts() == ["turn"]


@pytest.mark.live
async def test_a_worker_with_a_task_does_not_renew_itself(shop: Workshop) -> None:
    shop.peer("worker", WakePolicy.EPHEMERAL, script=RULES)
    async with shop.supervised():
        await shop.send("worker", "work", wait=0)
        await until(lambda: (live := shop.deck.sessions.live(WORKER)) is not None and live.is_ready)
        with pytest.raises(NotAllowed, match="it says: peerwake self done"):
            await verbs(shop).self_new(WORKER, None)
        assert wish(shop, WORKER) is None


@pytest.mark.live
async def test_nothing_is_done_twice_for_a_session_that_was_replaced_meanwhile(shop: Workshop) -> None:
    async with shop.supervised():
        await shop.send(body="turn", wait=20)
        old = shop.record(ALICE)
        await verbs(shop).self_new(ALICE, "of the session")
        await verbs(shop).new("alice", None, "of the operator")
        renewed = shop.record(ALICE)
        await verbs(shop).renewer.end_after_turn(old, End.NEW)
        assert shop.record(ALICE) == replace(renewed, topics=shop.record(ALICE).topics)
    assert shop.prompts() == ["turn", "of the operator"]


@pytest.mark.live
@pytest.mark.parametrize("is_up", [False, True], ids=["while it boots", "when it is to be told"])
async def test_a_client_that_dies_before_it_was_told_its_seed_is_started_again_with_it(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, is_up: bool
) -> None:
    original = InitialPrompt.hand_over

    async def hand_over(self: InitialPrompt, session: Session) -> bool:
        if is_up and "ev=wake-failed" not in shop.log():
            shop.tmux(ALICE, "send-keys", "C-d")
            await until(lambda: not session.is_alive())
        return await original(self, session)

    async with shop.supervised():
        await shop.send(body="turn", wait=20)
        monkeypatch.setattr(InitialPrompt, "hand_over", hand_over)
        script(shop, RULES if is_up else EXITS)
        await verbs(shop).self_new(ALICE, "next")
        await until(lambda: "ev=wake-failed" in shop.log())
        await until(lambda: shop.deck.sessions.load(ALICE) is None)
        assert wish(shop) is not None
        script(shop, RULES)
        await shop.supervisor.tick()
        await until(lambda: shop.prompts()[-1:] == ["next"])
        await until(lambda: shop.record(ALICE).is_ready)
        assert wish(shop) is None
    assert shop.prompts() == ["turn", "next"]
    assert shop.root.flag(ALICE, "deaths").read_text().count("\n") == 1


@pytest.mark.live
async def test_a_client_that_always_dies_before_it_was_told_its_seed_is_a_crash_loop(shop: Workshop) -> None:
    async with shop.supervised():
        await shop.send(body="turn", wait=20)
        script(shop, EXITS)
        await verbs(shop).self_new(ALICE, "next")
        for count in range(1, shop.deck.limits.crash_count + 1):
            await until(lambda count=count: shop.log().count("ev=wake-failed") == count)
            await until(lambda: ALICE not in shop.supervisor.busy)
            await shop.supervisor.tick()
        assert shop.deck.flags.is_set(ALICE, Flag.FAILED)
        assert (shop.log().count("ev=wake-failed"), wish(shop) is None) == (shop.deck.limits.crash_count, False)
        script(shop, RULES)
        await verbs(shop).start("alice")
        await shop.supervisor.tick()
        await until(lambda: shop.prompts() == ["turn", "next"])


@pytest.mark.live
async def test_a_session_that_waits_for_a_person_keeps_its_seed_until_it_is_told(shop: Workshop) -> None:
    async with shop.supervised():
        await shop.send(body="turn", wait=20)
        script(shop, DIALOG)
        await verbs(shop).self_new(ALICE, "next")
        await until(lambda: "end=blocked" in shop.log())
        blocked = shop.record(ALICE)
        await shop.supervisor.tick()
        assert (shop.record(ALICE).fence, wish(shop) is None) == (blocked.fence, False)
        shop.tmux(ALICE, "send-keys", "Enter")
        await until(lambda: _is_told(shop, "next"))
        assert shop.record(ALICE).fence == blocked.fence
        assert wish(shop) is None
        assert "ev=self-new-failed" not in shop.log()


async def _is_told(shop: Workshop, seed: str) -> bool:
    await shop.supervisor.tick()
    return shop.prompts()[-1:] == [seed] and shop.record(ALICE).is_ready


@pytest.mark.live
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("is_dead", [False, True], ids=["and the session lives", "and the session died"])
async def test_a_wish_outlives_its_server_until_the_session_was_told(
    root: Root, monkeypatch: pytest.MonkeyPatch, point: str, is_dead: bool
) -> None:
    async with workshop(root) as first:
        first.peer(script=RULES)
        Renewals(root).set(ALICE, Renewal(None, "next"))
        reached = stand_still(monkeypatch, *POINTS[point])
        async with first.supervised():
            with anyio.fail_after(30):
                await reached.wait()
        await first.deck.terminals.aclose()
        assert first.record(ALICE).is_ready == (point == "after it was ready")
        assert (wish(first) is None) == (point == "after it was ready")
        old = first.record(ALICE)
        if is_dead:
            first.tmux(ALICE, "kill-server")
            await until(lambda: not old.is_alive())
        async with workshop(root) as second, second.supervised():
            if is_dead and point == "after it was ready":
                await until(lambda: second.deck.sessions.load(ALICE) is None)
            else:
                await until(lambda: (live := second.deck.sessions.live(ALICE)) is not None and live.is_ready)
                assert (second.record(ALICE).fence == old.fence) != is_dead
            await second.supervisor.tick()
            # What was told to a session that died before anybody had noted that is told again: nothing is lost.
            expected = ["next"] * (2 if is_dead and point == "after it was told" else 1)
            assert (second.prompts(), wish(second)) == (expected, None)


@pytest.mark.live
@pytest.mark.parametrize("is_newer", [False, True])
async def test_a_wish_that_comes_while_a_session_is_told_its_own_is_kept(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, is_newer: bool
) -> None:
    Renewals(shop.root).set(ALICE, Renewal(None, "go on"))
    original = InitialPrompt.hand_over

    async def hand_over(self: InitialPrompt, session: Session) -> bool:
        if is_newer:
            Renewals(shop.root).set(ALICE, Renewal(None, "go on"))
            shop.deck.flags.set(ALICE, Flag.REFRESH)
        return await original(self, session)

    monkeypatch.setattr(InitialPrompt, "hand_over", hand_over)
    session, _ = await shop.deck.waker.wake(ALICE)
    assert session.seed == "go on"
    assert (wish(shop) is None, shop.deck.flags.is_set(ALICE, Flag.REFRESH)) == (not is_newer, is_newer)
