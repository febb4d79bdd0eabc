"""What files and kernel say of an identity, and what a look at everything costs."""

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import anyio
import pytest

from lifecycle import observe
from lifecycle.decide import Action, Activity, Presence, Seen, Wish, decide
from lifecycle.flags import Flag
from lifecycle.limits import Limits
from lifecycle.observe import AT_ONCE, read_records
from lifecycle.renewal import Renewal, Renewals
from lifecycle.session import Session, Sessions
from lifecycle.states import End, Mode
from tests.clock import FakeClock
from tests.lifecycle.workshop import Workshop, me, until, workshop
from transport.identity import Identity
from transport.message import Draft, accept
from transport.paths import Root
from transport.process import ProcessId
from transport.registry import Registry
from transport.snapshot import RegistryCorrupt

ALICE, BOB, CAROL, DAVE = (Identity("scripted", name) for name in ("alice", "bob", "carol", "dave"))
GONE = ProcessId(1, "never")


def session(identity: Identity = ALICE, **changes: Any) -> Session:
    known = Session(identity, "h", "t", "/tmp", f"f-{identity}", 1.0, Mode.FRESH, "s1", tmux=me(), pane=me())
    return replace(known, **changes)


@pytest.fixture
async def shop(root: Root) -> AsyncIterator[Workshop]:
    async with workshop(root, clock=FakeClock()) as built:
        for name in ("alice", "bob", "carol", "dave"):
            built.peer(name)
        yield built


async def seen(shop: Workshop, identity: Identity = ALICE) -> Seen:
    (found,) = [each for each in await shop.supervisor.observer.survey() if each.identity == identity]
    return found.seen


async def test_the_logs_of_live_sessions_are_measured_with_the_records(shop: Workshop) -> None:
    for identity, changes in ((ALICE, {}), (BOB, {"tmux": GONE}), (CAROL, {})):
        shop.deck.sessions.save(session(identity, **changes))
    log = shop.root.pane_log(ALICE)
    log.write_text("output")
    assert read_records(shop.root, shop.deck.sessions).panes == {ALICE: (log.stat().st_ino, 6), CAROL: (0, 0)}


@pytest.mark.parametrize(
    ("changes", "presence"),
    [
        ({}, Presence.ALIVE),
        ({"tmux": None, "pane": None}, Presence.STARTING),
        ({"tmux": GONE}, Presence.SERVER_DEAD),
        ({"pane": GONE}, Presence.SESSION_GONE),
        ({"tmux": GONE, "pane": GONE}, Presence.SERVER_DEAD),
        ({"is_closing": True}, Presence.CLOSING),
        ({"is_closing": True, "end": End.NEW, "tmux": GONE}, Presence.CLOSING),
    ],
)
def test_the_record_and_the_kernel_tell_what_there_is(root: Root, changes: dict[str, Any], presence: Presence) -> None:
    sessions = Sessions(root)
    sessions.save(session(**changes))
    assert read_records(root, sessions).sessions == {ALICE: (presence, session(**changes))}


async def test_what_is_found_of_whom(shop: Workshop) -> None:
    deck = shop.deck
    deck.sessions.save(session(ALICE, tmux=GONE, task="m_1"))
    deck.sessions.path(BOB).write_text("{")
    Renewals(shop.root).set(CAROL, Renewal(None, "seed"))
    for identity in (ALICE, DAVE):
        deck.flags.set(identity, Flag.STOPPED)
    message = accept(Draft("hello"), ALICE, DAVE, hops=0, now=deck.clock.wall())
    await deck.spool.enqueue(message, cap=10, hop_limit=5)
    await deck.spool.lease(DAVE, "f", deck.clock.wall())
    shop.root.flag(Identity("scripted", "sleeper"), "last").touch()
    (shop.root.state / "not an identity.session").touch()
    found = {each.identity: each.seen for each in await shop.supervisor.observer.survey()}
    assert found == {
        ALICE: Seen(Presence.SERVER_DEAD, is_stopped=True, is_task=True, is_ready=False),
        BOB: Seen(Presence.UNKNOWN, is_ready=False),
        CAROL: Seen(Presence.NONE, wish=Wish.NEXT, is_ready=False),
        DAVE: Seen(Presence.NONE, is_stopped=True, waiting=1, has_lease=True, is_ready=False),
    }
    assert await shop.supervisor.observer.survey({CAROL}) != []
    assert [each.identity for each in await shop.supervisor.observer.survey({CAROL})] == [CAROL]


@pytest.mark.parametrize(
    ("renewal", "wish"),
    [
        (Renewal("f-scripted-alice"), Wish.THIS),
        (Renewal("f-scripted-alice", at_turn_end=True), Wish.AFTER_TURN),
        (Renewal("another"), Wish.NEXT),
        (Renewal(None, "by hand"), Wish.NEXT),
    ],
)
async def test_whom_a_renewal_is_for(shop: Workshop, renewal: Renewal, wish: Wish) -> None:
    shop.deck.sessions.save(session())
    Renewals(shop.root).set(ALICE, renewal)
    assert (await seen(shop)).wish is wish


async def test_a_renewal_of_nobody_is_no_wish(shop: Workshop) -> None:
    Renewals(shop.root).set(Identity("scripted", "nobody"), Renewal(None, "begin"))
    seen = {found.identity.personality: found.seen for found in await shop.supervisor.observer.survey()}
    assert seen["nobody"].wish is Wish.NONE
    assert decide(seen["nobody"], 0.0, Limits()) is Action.NOTHING


async def test_what_cannot_be_read_is_said_once_and_decides_nothing(shop: Workshop) -> None:
    os.mkfifo(shop.root.flag(ALICE, Flag.NEW))
    shop.deck.sessions.path(BOB).write_text("{")
    for _ in range(3):
        found = await shop.supervisor.observer.survey()
        assert [(each.identity, each.seen.presence) for each in found] == [(BOB, Presence.UNKNOWN)]
    assert shop.log().count("ev=observe-failed identity=scripted-alice") == 1
    assert shop.log().count("ev=observe-failed identity=scripted-bob code=session-unreadable") == 1


async def test_a_session_whose_runtime_is_unknown_is_unknown_not_idle(shop: Workshop) -> None:
    vanished = Identity("vanished", "alice")
    shop.deck.sessions.save(session(vanished, is_ready=True))
    shop.supervisor.vigil.watched[vanished] = me()
    found = await seen(shop, vanished)
    assert (found.activity, found.is_watched) == (Activity.UNKNOWN, True)


async def test_sleepers_are_neither_read_nor_parsed(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1000):
        for suffix in ("last", "deaths", "stopped", "wake.lock"):
            shop.root.flag(Identity("scripted", f"p{number}"), suffix).touch()
    parsed: list[str] = []
    monkeypatch.setattr("lifecycle.observe.parse_identity", lambda text: parsed.append(text))
    records = read_records(shop.root, shop.deck.sessions)
    assert parsed == [] and records.sessions == {} and records.stopped == set()


async def test_what_fails_for_one_keeps_no_other_from_being_seen(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry that cannot be read while sessions live: they are left alone, the sleepers' messages are seen."""
    original = type(shop.deck.resolver.registry).get

    def broken(self: Registry, name: str) -> object:
        if name == "alice":
            raise RegistryCorrupt("damaged")
        return original(self, name)

    monkeypatch.setattr(Registry, "get", broken)
    shop.deck.sessions.save(session())
    shop.deck.sessions.save(session(BOB))
    assert [each.identity for each in await shop.supervisor.observer.survey()] == [BOB]
    assert "ev=observe-failed identity=scripted-alice" in shop.log()


async def test_any_fault_of_one_keeps_no_other_from_being_seen(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a look at one raises, the tick goes on, and the log has the fault with its kind, until it has gone."""
    for identity in (ALICE, BOB):
        shop.deck.sessions.save(session(identity, is_ready=True))
    observer, watched = shop.supervisor.observer, shop.supervisor.vigil.watched

    async def broken(at: Session, locate: bool) -> tuple[int, ...]:
        raise RuntimeError("Symlink loop")

    monkeypatch.setattr(observer.idleness, "sizes", broken)
    for times in (1, 2):
        watched[ALICE] = me()
        for _ in range(3):
            assert [each.identity for each in await observer.survey()] == [BOB]
        told = 'ev=observe-failed identity=scripted-alice reason="RuntimeError: Symlink loop"'
        assert shop.log().count(told) == times
        del watched[ALICE]
        assert len(await observer.survey()) == 2


async def test_those_whose_files_hang_keep_the_others_waiting_for_a_moment_only(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observe, "PLACE_SECONDS", 0.05)
    hanging = [Identity("scripted", f"a-{number}") for number in range(3 * AT_ONCE)]
    asked: list[Identity] = []
    for identity in [*hanging, DAVE]:
        shop.deck.sessions.save(session(identity, is_ready=True))
        shop.supervisor.vigil.watched[identity] = me()

    async def sizes(at: Session, locate: bool) -> tuple[int, ...]:
        asked.append(at.identity)
        await anyio.sleep_forever()
        return ()

    monkeypatch.setattr(shop.supervisor.observer.idleness, "sizes", sizes)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shop.supervisor.observer.survey)
            await until(lambda: DAVE in asked)
            tasks.cancel_scope.cancel()
    assert asked == [*sorted(hanging), DAVE]
