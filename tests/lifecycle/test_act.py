"""What is done about an identity: renewed, brought up, closed to the end, reaped; with real sessions."""

import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import anyio
import pytest

from lifecycle.decide import Action, Activity, Presence, Seen
from lifecycle.flags import Flag
from lifecycle.observe import Observation
from lifecycle.renewal import Renewal, Renewals
from lifecycle.session import Session
from lifecycle.states import End, Mode, SendStatus
from tests.lifecycle.workshop import Workshop, until, workshop
from transport.identity import Identity
from transport.paths import Root
from transport.process import terminate

pytestmark = pytest.mark.live

ALICE = Identity("scripted", "alice")


@pytest.fixture
async def shop(root: Root) -> AsyncIterator[Workshop]:
    async with workshop(root, tick_seconds=0.2, backoff_seconds=0.02) as built:
        built.peer()
        yield built


def deaths(shop: Workshop) -> int:
    path = shop.root.flag(ALICE, "deaths")
    return len(path.read_text().split()) if path.exists() else 0


async def wake_with(shop: Workshop, renewal: Renewal | None = None, **changes: Any) -> Session:
    """Wake alice as an earlier server did, which was killed with these things undone."""
    session, _ = await shop.deck.waker.wake(ALICE)
    if changes:
        session = shop.deck.sessions.update(session, **changes)
    if renewal is not None:
        Renewals(shop.root).set(ALICE, replace(renewal, replaces=renewal.replaces and session.fence))
    return session


async def renewed(shop: Workshop, before: Session | None = None) -> Session:
    """Wait for a ready session other than the one before."""

    def look() -> Session | None:
        found = shop.deck.sessions.live(ALICE)
        is_new = found is not None and found.is_ready and (before is None or found.fence != before.fence)
        return found if is_new else None

    found: Session = await until(look)
    return found


async def test_a_dead_session_that_is_to_be_renewed_is_started_at_once_with_its_seed(shop: Workshop) -> None:
    async with shop.supervised():
        before = await wake_with(shop, Renewal(None, "go on with the release"))
        assert before.tmux is not None
        terminate(before.tmux, signal.SIGKILL)
        found = await renewed(shop, before)
        assert (found.mode, found.seed) == (Mode.FRESH, "go on with the release")
        await until(lambda: any("go on with the release" in text for text in shop.prompts()))
        assert not shop.deck.flags.is_set(ALICE, Flag.NEW)
        assert await shop.deck.spool.waiting() == {}


async def test_a_renewal_without_a_session_is_started_by_the_tick(shop: Workshop) -> None:
    async with shop.supervised():
        shop.deck.flags.set(ALICE, Flag.NEW, "written by hand")
        assert (await renewed(shop)).seed == "written by hand"
    assert shop.log().count("ev=renew identity=scripted-alice was=none") == 1


async def test_a_hard_restart_that_a_killed_server_did_not_finish_is_finished(shop: Workshop) -> None:
    before = await wake_with(shop, Renewal("this", "again"))
    async with shop.supervised():
        found = await renewed(shop, before)
        assert found.seed == "again" and not before.is_alive()
    assert "ev=close identity=scripted-alice why=new" in shop.log()
    assert shop.log("exits") == "" and deaths(shop) == 0


@pytest.mark.parametrize("flag", [Flag.STOPPED, Flag.FAILED])
async def test_nobody_that_may_not_be_woken_is_renewed(shop: Workshop, flag: Flag) -> None:
    await wake_with(shop, Renewal("this", "again"))
    shop.deck.flags.set(ALICE, flag)
    async with shop.supervised():
        for _ in range(3):
            await shop.supervisor.tick()
    assert shop.log().count("ev=wake ") == 1
    assert (shop.deck.sessions.live(ALICE) is None) is (flag is Flag.STOPPED)


async def test_a_session_that_was_not_ready_when_its_server_was_killed_comes_up(shop: Workshop) -> None:
    before = await wake_with(shop, is_ready=False)
    async with shop.supervised():
        found: Session = await until(lambda: shop.record(ALICE) if shop.record(ALICE).is_ready else None)
    assert found.fence == before.fence


async def test_a_close_that_a_killed_server_did_not_finish_is_finished(shop: Workshop) -> None:
    before = await wake_with(shop, is_closing=True, end=End.IDLE)
    async with shop.supervised():
        assert not before.is_alive() and shop.deck.sessions.identities() == []
    last = shop.deck.sessions.last(ALICE)
    assert last is not None and last.end is End.IDLE
    assert shop.log("exits") == "" and deaths(shop) == 0


async def test_a_message_that_comes_while_an_idle_session_is_closed_is_neither_lost_nor_a_failed_attempt(
    root: Root,
) -> None:
    """The reaper holds the pane: whatever is leased meanwhile waits, goes back to the head, and wakes the peer."""
    async with workshop(root, tick_seconds=0.05, idle_seconds=0.15, backoff_seconds=0.02) as shop:
        shop.peer()
        async with shop.supervised():
            for number in range(12):
                result = await shop.send(body=f"message {number}", wait=20)
                assert result.status is SendStatus.DELIVERED
                await anyio.sleep(0.13 + 0.02 * (number % 6))
            record = await shop.deck.spool.message(result.message_id)
            assert record is not None and record.attempts == 0
        assert shop.prompts() == [f"message {number}" for number in range(12)]
        assert "why=idle" in shop.log() and deaths(shop) == 0 and shop.log("exits") == ""


async def test_what_has_begun_since_it_was_found_idle_is_not_cut_off(root: Root) -> None:
    async with workshop(root, idle_seconds=0.01) as shop:
        shop.peer(script=[{"match": "work", "busy_seconds": 60}])
        async with shop.supervised():
            assert (await shop.send(body="work", wait=20)).status is SendStatus.DELIVERED
            session = shop.record(ALICE)
            await until(lambda: not shop.supervisor.acts.draining)
            found_idle = Observation(ALICE, Seen(Presence.ALIVE, activity=Activity.IDLE, quiet_since=0.0), session)
            await shop.supervisor.acts.act(Action.REAP, found_idle)
            assert session.is_alive()
            assert "ev=close" not in shop.log()


async def test_a_session_that_this_server_is_starting_is_not_taken_over_from_itself(root: Root) -> None:
    """A tick in the middle of a wake waits for its end, or leaves it alone."""
    async with workshop(root, tick_seconds=0.01) as shop:
        for number in range(5):
            shop.peer(f"p{number}", script={"boot": {"seconds": 0.2}})
        async with shop.supervised():
            async with anyio.create_task_group() as tasks:
                for number in range(5):
                    tasks.start_soon(shop.deck.waker.wake, Identity("scripted", f"p{number}"))
            assert shop.log().count("ev=wake ") == 5
            assert "ev=adopt " not in shop.log() and "-failed" not in shop.log()


async def test_a_restart_that_a_session_wished_for_itself_waits_for_the_end_of_its_turn(root: Root) -> None:
    """Its server was killed in between: the next one neither cuts the turn off nor forgets the wish."""
    async with workshop(root, tick_seconds=0.1, backoff_seconds=0.02) as shop:
        shop.peer(script=[{"match": "work", "busy_seconds": 1.5, "say": "worked"}])
        async with shop.supervised():
            assert (await shop.send(body="work", wait=20)).status is SendStatus.DELIVERED
            before = shop.record(ALICE)
            wish = Renewal(before.fence, "what comes next", at_turn_end=True)
            Renewals(shop.root).set(ALICE, wish)
            found = await renewed(shop, before)
        assert found.seed == "what comes next"
        directory = shop.root.peers / "alice/.peerwake/runtimes/scripted"
        assert any('"worked"' in path.read_text() for path in directory.glob("*.jsonl"))
