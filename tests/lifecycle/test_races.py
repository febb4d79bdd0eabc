"""Every verb at every moment: whatever crosses, each message is taken once, in order, and one session is left."""

import random
from collections.abc import Awaitable, Callable

import anyio
import pytest

from lifecycle.attribution import listening
from lifecycle.requests import PeerStopped
from lifecycle.states import SendStatus
from mcp_server.application import Application
from tests.lifecycle.workshop import Workshop, until, workshop
from transport.errors import PeerwakeError
from transport.identity import Identity
from transport.paths import Root

pytestmark = pytest.mark.live

ALICE = Identity("scripted", "alice")
RULES = [{"match": "slow", "busy_seconds": 0.7}]
CALLS = 40
REFUSALS = {
    *("stopped", "asleep", "already-live", "not-busy", "held", "not-allowed", "not-ready"),
    *("already-waking", "tmux-gone", "cannot-resume", "keys-unanswered"),
}
"""What a verb may say when another one got there first; a fault is none of these."""


async def stop_and_start(app: Application, pause: float) -> None:
    await app.stop("alice")
    await anyio.sleep(pause)
    await app.start("alice")


def verb(app: Application, dice: random.Random, number: int) -> Callable[[], Awaitable[object]]:
    """Return one of the verbs; a message is as likely as three others."""
    verbs: list[Callable[[], Awaitable[object]]] = [
        lambda: app.new("alice", None, f"seed {number}"),
        lambda: stop_and_start(app, dice.random() * 0.3),
        lambda: app.attach("alice", None),
        lambda: app.run("alice", None, number % 2 == 0),
        lambda: app.self_new(ALICE, f"seed {number}"),
        lambda: app.self_done(ALICE),
        lambda: app.interrupt("alice", None),
        lambda: app.compact("alice", None),
        lambda: app.refresh("alice", None),
    ]
    return dice.choice(verbs)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_verbs_and_messages_that_cross(root: Root, seed: int) -> None:
    dice = random.Random(seed)
    async with workshop(root) as shop:
        shop.peer(script=RULES)
        app, accepted, refusals = shop.parts.application, list[tuple[str, str]](), list[PeerwakeError]()

        async def send(number: int) -> None:
            body = f"{dice.choice(['slow', 'quick'])} {number}"
            try:
                accepted.append(((await shop.send(body=body, wait=0)).message_id, body))
            except PeerStopped:
                return

        async def do(work: Callable[[], Awaitable[object]]) -> None:
            try:
                await work()
            except PeerwakeError as error:
                refusals.append(error)

        async with shop.supervised():
            async with anyio.create_task_group() as tasks:
                for number in range(CALLS):
                    if dice.random() < 0.25:
                        tasks.start_soon(send, number)
                    else:
                        tasks.start_soon(do, verb(app, dice, number))
                    await anyio.sleep(dice.random() * 0.3)
            await app.start("alice")
            assert (await shop.send(body="last", wait=60)).status is SendStatus.DELIVERED
            await until(lambda: not shop.root.flag(ALICE, "new").exists())
            await check(shop, [body for _, body in sorted(accepted)])
        assert {error.code for error in refusals} <= REFUSALS, refusals


async def check(shop: Workshop, bodies: list[str]) -> None:
    """Each message once, in the order of acceptance; no death; an empty queue; at most one session."""
    assert [prompt for prompt in shop.prompts() if not prompt.startswith("seed")] == [*bodies, "last"]
    assert await shop.deck.spool.depth(ALICE) == 0
    assert len(listening(shop.root)) <= 1
    assert not shop.root.flag(ALICE, "deaths").exists()
    assert shop.log("exits") == ""
