"""Interrupt and compact: pressed where they belong, and nowhere else."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from lifecycle import keys as module
from lifecycle.keys import HeldBack, Keys, KeysUnanswered, NoKeys, NotBusy
from lifecycle.session import Session
from tests.lifecycle.workshop import Workshop, until, workshop
from transport.identity import Identity
from transport.paths import Root
from transport.tmux.control import TmuxGone
from transport.tmux.pane import Pane
from transport.vocabulary import ScreenState

pytestmark = pytest.mark.live

ALICE = Identity("scripted", "alice")
SCRIPT = [
    {"match": "work", "sleep_forever": True},
    {"match": "ask", "ask": True},
    {"match": "print", "print": "\x1b[2Jnobody knows this screen", "freeze": 600},
]


@pytest.fixture
async def shop(root: Root) -> AsyncIterator[Workshop]:
    async with workshop(root) as built:
        built.peer(script=SCRIPT)
        yield built


def keys(shop: Workshop) -> Keys:
    return shop.parts.application.keys


async def at(shop: Workshop, body: str, state: ScreenState) -> Session:
    """Send a message and return the session once its screen is in a state."""
    await shop.send(body=body, wait=20 if body != "print" else 5)
    session = shop.record(ALICE)
    await until(lambda: _shows(shop, session, state))
    return session


async def _shows(shop: Workshop, session: Session, state: ScreenState) -> bool:
    return (await shop.deck.terminals.look(session))[0] is state


def records(shop: Workshop, kind: str) -> list[dict[str, Any]]:
    paths = Path(shop.root.peers / "alice" / ".peerwake/runtimes/scripted").glob("*.jsonl")
    lines = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    return [line for line in lines if line["type"] == kind]


async def test_a_turn_is_interrupted_and_the_next_message_is_taken(shop: Workshop) -> None:
    async with shop.supervised():
        session = await at(shop, "work", ScreenState.BUSY)
        pressed = await keys(shop).interrupt(session)
        assert (pressed.state, pressed.draft) == (ScreenState.READY, None)
        assert "Interrupted by user" in pressed.excerpt
        assert "ev=interrupt identity=scripted-alice screen=ready\n" in shop.log()
        await shop.send(body="next", wait=20)
    assert shop.prompts() == ["work", "next"]
    assert len(records(shop, "interrupted")) == 1


async def test_what_the_client_queued_is_neither_lost_nor_doubled(shop: Workshop) -> None:
    async with shop.supervised():
        session = await at(shop, "work", ScreenState.BUSY)
        await shop.send(body="queued", wait=0)
        await until(lambda: records(shop, "queued"))
        pressed = await keys(shop).interrupt(session)
        assert pressed.state is ScreenState.READY
        await until(lambda: shop.prompts() == ["work", "queued"])
        await shop.send(body="last", wait=20)
    assert shop.prompts() == ["work", "queued", "last"]


@pytest.mark.parametrize(
    ("body", "state", "says"),
    [
        ("hello", ScreenState.READY, "is not busy, its screen is ready; nothing was pressed$"),
        ("ask", ScreenState.ASKS, "its screen is asks; nothing was pressed; look at it: peerwake attach alice"),
        ("print", ScreenState.UNKNOWN, "its screen is unknown"),
    ],
)
async def test_nothing_is_pressed_on_another_screen(shop: Workshop, body: str, state: ScreenState, says: str) -> None:
    async with shop.supervised():
        session = await at(shop, body, state)
        before = await shop.deck.terminals.look(session)
        with pytest.raises(NotBusy, match=says):
            await keys(shop).interrupt(session)
        assert await shop.deck.terminals.look(session) == before
    assert records(shop, "interrupted") == []


async def test_nothing_is_pressed_beside_a_draft(shop: Workshop) -> None:
    async with shop.supervised():
        session = await at(shop, "work", ScreenState.BUSY)
        shop.tmux(ALICE, "send-keys", "-t", session.pane_id, "a draft")
        await until(lambda: _composer(shop, session, "a draft"))
        with pytest.raises(HeldBack, match="draft: somebody types"):
            await keys(shop).interrupt(session)
    assert records(shop, "interrupted") == []


async def _composer(shop: Workshop, session: Session, text: str) -> bool:
    return any(text in line for line in (await shop.deck.terminals.look(session))[1])


async def test_a_client_that_goes_on_is_said_to(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERRUPT_SECONDS", 1.0)
    shop.parts.table.runtimes["scripted"] = replace_keys(shop, "F5")  # type: ignore[index]
    async with shop.supervised():
        session = await at(shop, "work", ScreenState.BUSY)
        with pytest.raises(KeysUnanswered, match="F5 was pressed, and alice is busy 1 s later"):
            await keys(shop).interrupt(session)


def replace_keys(shop: Workshop, *names: str) -> Any:
    return shop.parts.table.runtimes["scripted"].model_copy(update={"interrupt_keys": names})


async def test_a_runtime_without_the_keys_is_named(shop: Workshop) -> None:
    known = shop.parts.table.runtimes["scripted"]
    changes = {"interrupt_keys": (), "compact_text": None}
    shop.parts.table.runtimes["scripted"] = known.model_copy(update=changes)  # type: ignore[index]
    session, _ = await shop.deck.waker.wake(ALICE)
    with pytest.raises(NoKeys, match=r"put interrupt_keys into runtimes/scripted\.toml"):
        await keys(shop).interrupt(session)
    with pytest.raises(NoKeys, match=r"put compact_text into runtimes/scripted\.toml"):
        await keys(shop).compact(session)


async def test_keys_wait_for_a_hand_over_but_not_for_ever(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_SECONDS", 0.2)
    session, _ = await shop.deck.waker.wake(ALICE)
    target = await shop.deck.terminals.target(session)
    async with target.pane.exclusive:
        with pytest.raises(HeldBack, match="a message is being handed over to alice"):
            await _in_a_task(keys(shop), session)
    assert (await keys(shop).compact(session)).state is ScreenState.READY


async def _in_a_task(keys: Keys, session: Session) -> None:
    """An anyio lock refuses its own holder at once, so somebody else has to ask."""
    failures: list[Exception] = []

    async def ask() -> None:
        try:
            await keys.compact(session)
        except HeldBack as error:
            failures.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
    raise failures[0]


async def test_an_idle_client_compacts(shop: Workshop) -> None:
    async with shop.supervised():
        session = await at(shop, "hello", ScreenState.READY)
        pressed = await keys(shop).compact(session)
        assert (pressed.state, pressed.draft) == (ScreenState.READY, None)
        assert len(records(shop, "compacted")) == 1
        await shop.send(body="next", wait=20)
    assert shop.prompts() == ["hello", "next"]


@pytest.mark.parametrize(
    ("body", "state", "hold"),
    [("work", ScreenState.BUSY, "busy"), ("ask", ScreenState.ASKS, "asks"), ("print", ScreenState.UNKNOWN, "unknown")],
)
async def test_compact_is_refused_by_name(shop: Workshop, body: str, state: ScreenState, hold: str) -> None:
    async with shop.supervised():
        session = await at(shop, body, state)
        before = await shop.deck.terminals.look(session)
        with pytest.raises(HeldBack, match=f"^{hold}: the screen of alice is {state}; nothing was typed"):
            await keys(shop).compact(session)
        assert (await shop.deck.terminals.look(session))[0] is before[0]
    assert records(shop, "compacted") == []


async def test_compact_never_joins_a_draft(shop: Workshop) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    shop.tmux(ALICE, "send-keys", "-t", session.pane_id, "mine")
    await until(lambda: _composer(shop, session, "mine"))
    with pytest.raises(HeldBack, match=r"^draft: "):
        await keys(shop).compact(session)
    state, lines = await shop.deck.terminals.look(session)
    assert state is ScreenState.DRAFT
    assert any(line.endswith("mine") for line in lines)


async def test_a_key_between_the_last_look_and_enter_keeps_the_command_from_being_submitted(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    original = Pane.press

    async def late(pane: Pane, *names: str, **options: Any) -> None:
        shop.tmux(ALICE, "send-keys", "-t", session.pane_id, "x")
        await until(lambda: _composer(shop, session, "/compactx"))
        await original(pane, *names, **options)

    monkeypatch.setattr(Pane, "press", late)
    with pytest.raises(HeldBack, match="Enter was not pressed"):
        await keys(shop).compact(session)
    assert await _composer(shop, session, "/compactx")
    assert records(shop, "compacted") == []


async def test_a_session_that_is_gone_is_no_answer(shop: Workshop) -> None:
    session, _ = await shop.deck.waker.wake(ALICE)
    shop.tmux(ALICE, "kill-server")
    with pytest.raises(TmuxGone, match="the session of alice ended in the meantime"):
        await keys(shop).interrupt(session)


async def test_a_command_that_was_typed_and_not_submitted_is_submitted_by_the_next_call(shop: Workshop) -> None:
    async with shop.supervised():
        session = await at(shop, "hello", ScreenState.READY)
        shop.tmux(ALICE, "send-keys", "-l", "/compact")
        await until(lambda: _shows(shop, session, ScreenState.DRAFT))
        await keys(shop).compact(session)
        assert len(records(shop, "compacted")) == 1
        shop.tmux(ALICE, "send-keys", "-l", "/compact it")
        await until(lambda: _shows(shop, session, ScreenState.DRAFT))
        with pytest.raises(HeldBack):
            await keys(shop).compact(session)
    assert len(records(shop, "compacted")) == 1
