"""What those who ask are told of peers."""

from collections.abc import AsyncIterator

import pytest

from lifecycle.flags import Flag
from lifecycle.fleet import Fleet
from lifecycle.requests import UnknownPeer
from lifecycle.states import PeerState
from tests.lifecycle.stage import ALICE, BOB, Scene, scene
from transport.paths import Root
from transport.vocabulary import Hold, ScreenState


@pytest.fixture
async def stage(root: Root) -> AsyncIterator[Scene]:
    async with scene(root) as built:
        built.peer("carol", runtimes=("claude", "codex"), default_runtime="codex", description="reviews")

        async def glance(session: object) -> ScreenState:
            return built.actor.state

        built.actor.glance = glance  # type: ignore[attr-defined]
        yield built


def fleet(stage: Scene, *, is_supervised: bool = True) -> Fleet:
    deck = stage.deck
    return Fleet(
        stage.registry,
        deck.resolver,
        deck.flags,
        deck.sessions,
        deck.terminals,
        deck.spool,
        deck.board,
        is_supervised=lambda: is_supervised,
    )


async def state(stage: Scene) -> tuple[PeerState, str | None]:
    return await fleet(stage).presence(ALICE)


async def test_a_sleeper_is_asleep_or_on_its_way(stage: Scene) -> None:
    assert await state(stage) == (PeerState.ASLEEP, None)
    stage.deck.board.update(ALICE, is_booting=True)
    assert await state(stage) == (PeerState.BOOTING, None)


async def test_a_sleeper_that_nothing_is_known_of_comes_with_the_reason(stage: Scene) -> None:
    stage.deck.board.update(ALICE, hold=Hold.UNKNOWN, detail="/mnt/dead gave no answer")
    assert await state(stage) == (PeerState.ASLEEP, "/mnt/dead gave no answer")
    stage.deck.board.update(ALICE, hold=Hold.BACKOFF, detail="the next attempt is later")
    assert await state(stage) == (PeerState.ASLEEP, None)


@pytest.mark.parametrize(
    ("screen", "expected"),
    [
        (ScreenState.READY, PeerState.LIVE),
        (ScreenState.DRAFT, PeerState.LIVE),
        (ScreenState.UNKNOWN, PeerState.LIVE),
        (ScreenState.BUSY, PeerState.BUSY),
        (ScreenState.ASKS, PeerState.BLOCKED),
    ],
)
async def test_a_live_session_is_what_its_screen_shows(stage: Scene, screen: ScreenState, expected: PeerState) -> None:
    stage.session()
    stage.actor.state = screen
    assert (await state(stage))[0] is expected


async def test_who_does_not_supervise_looks_at_no_screen(stage: Scene) -> None:
    stage.session()
    stage.actor.state = ScreenState.BUSY
    assert await fleet(stage, is_supervised=False).presence(ALICE) == (PeerState.LIVE, None)
    (row,) = (await fleet(stage, is_supervised=False).peer("alice")).runtimes
    assert row.state is PeerState.LIVE


async def test_blocked_comes_with_what_is_known(stage: Scene) -> None:
    stage.session()
    stage.deck.board.update(ALICE, hold=Hold.BLOCKED, detail="an unknown dialog")
    assert await state(stage) == (PeerState.BLOCKED, "an unknown dialog")
    stage.deck.board.clear(ALICE)
    stage.deck.sessions.path(ALICE).write_text("{")
    found, detail = await state(stage)
    assert found is PeerState.BLOCKED and detail is not None and "peerwake stop alice" in detail


async def test_flags_go_before_everything(stage: Scene) -> None:
    stage.deck.sessions.path(ALICE).write_text("{")
    stage.deck.flags.set(ALICE, Flag.FAILED, "3 deaths in 300 s")
    assert await state(stage) == (PeerState.FAILED, "3 deaths in 300 s")
    stage.deck.flags.set(ALICE, Flag.STOPPED)
    assert await state(stage) == (PeerState.STOPPED, None)


async def test_pages_rows_and_the_live_ones(stage: Scene) -> None:
    stage.session(BOB)
    await stage.send()
    page = await fleet(stage).peers(None, False, 1, 1)
    assert ([row.name for row in page.rows], page.total, page.offset) == (["bob"], 3, 1)
    page = await fleet(stage).peers("review", False, 0, 10)
    assert [(row.name, [each.runtime for each in row.runtimes]) for row in page.rows] == [
        ("carol", ["claude", "codex"])
    ]
    page = await fleet(stage).peers(None, True, 0, 10)
    assert [row.name for row in page.rows] == ["bob"]
    assert (await fleet(stage).peers("review", True, 0, 10)).total == 0
    (row,) = (await fleet(stage).peer("alice")).runtimes
    assert row.queue_depth == 1
    with pytest.raises(UnknownPeer):
        await fleet(stage).peer("alicia")
