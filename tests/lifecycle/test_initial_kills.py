"""A server that is gone at a chosen moment of what a fresh session is told first: the next one tells it once."""

import anyio
import pytest

from lifecycle.initial import InitialPrompt
from lifecycle.renewal import Renewal, Renewals
from tests.lifecycle.standstill import stand_still
from tests.lifecycle.workshop import until, workshop
from transport.identity import Identity
from transport.paths import Root
from transport.tmux.pane import Pane

pytestmark = pytest.mark.live

ALICE = Identity("scripted", "alice")
WORKS = {"queue_while_busy": False, "rules": [{"match": "You are", "busy_seconds": 3}]}
POINTS: dict[str, tuple[type, str, bool]] = {
    "before the paste": (Pane, "paste", False),
    "after the paste": (Pane, "press", False),
    "after Enter": (Pane, "press", True),
    "after the turn": (InitialPrompt, "hand_over", True),
}


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("width", ["200", "20"])
async def test_a_kill_at_this_moment_repeats_and_loses_nothing(
    root: Root, monkeypatch: pytest.MonkeyPatch, point: str, width: str
) -> None:
    async with workshop(root) as first:
        first.peer(initial_prompt="You are Alice.", script=WORKS)
        Renewals(root).set(ALICE, Renewal(None, "start here"))
        reached = stand_still(monkeypatch, *POINTS[point])
        sent = await first.send(body="one", wait=0)
        async with first.supervised():
            with anyio.fail_after(30):
                await reached.wait()
        # The kernel does this for a process that is killed.
        await first.deck.terminals.aclose()
        first.tmux(ALICE, "resize-window", "-t", f"={ALICE}:", "-x", width)
        fence = first.record(ALICE).fence
        async with workshop(root) as second, second.supervised():
            await until(lambda: second.prompts() == ["You are Alice.", "start here", "one"], 40)

            async def is_consumed() -> bool:
                record = await second.deck.spool.message(sent.message_id)
                return record is not None and record.state == "consumed"

            await until(is_consumed)
            assert second.record(ALICE).fence == fence
            assert second.log().count("end=blocked") == 0


async def test_a_client_that_works_on_it_for_longer_than_a_boot_may_take_is_not_blocked(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with workshop(root) as first:
        first.peer(initial_prompt="You are Alice.", script=WORKS)
        reached = stand_still(monkeypatch, *POINTS["after Enter"])
        async with first.supervised():
            await first.send(body="one", wait=0)
            with anyio.fail_after(30):
                await reached.wait()
        await first.deck.terminals.aclose()
        async with workshop(root, boot_seconds=1.0) as second:
            session, is_new = await second.deck.waker.wake(ALICE)
            assert (session.is_ready, is_new) == (True, False)
