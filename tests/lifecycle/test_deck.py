"""The text a message becomes, and the stages that are written before the steps they name."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lifecycle.deck import Progress
from tests.lifecycle.stage import ALICE, BOB, Scene, scene
from transport.envelope import parse
from transport.identity import GONE, OPERATOR, SYSTEM, Identity
from transport.paths import Root
from transport.spool.records import LeaseLost
from transport.vocabulary import Intelligence, Stage


@pytest.fixture
async def stage(root: Root) -> AsyncIterator[Scene]:
    async with scene(root) as built:
        built.peer("olga", intelligence=Intelligence.NATURAL)
        yield built


@pytest.mark.parametrize(
    ("sender", "intelligence"),
    [
        (BOB, "artificial"),
        (Identity("scripted", "olga"), "natural"),
        (OPERATOR, "natural"),
        (SYSTEM, "absent"),
        (Identity("scripted", f"alice{GONE}"), "absent"),
    ],
)
async def test_a_short_body_stands_in_the_envelope(stage: Scene, sender: Identity, intelligence: str) -> None:
    text = await stage.deck.text(stage.session(), await stage.send("hello", sender=sender))
    envelope = parse(text)
    assert (envelope.body, envelope.attributes["intelligence"]) == ("hello", intelligence)


async def test_a_long_body_goes_to_a_file_that_only_we_can_read(stage: Scene) -> None:
    message = await stage.send("line\n" * 4000)
    text = await stage.deck.text(stage.session(), message)
    path = stage.root.peers / "alice/.peerwake/inbox" / f"{message.id}.txt"
    assert str(path) in text and len(text) < 8192
    assert path.read_text() == message.body
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_body_that_a_composer_would_rewrite_goes_to_a_file(stage: Scene) -> None:
    peer = stage.peer("clara", runtimes=("claude",), default_runtime="claude")
    recipient = Identity("claude", peer.personality)
    for body, is_filed in (("look:\n  '/tmp/a.png'", True), ("see /tmp/a.png", False)):
        text = await stage.deck.text(stage.session(recipient), await stage.send(body, to=recipient))
        assert (parse(text).body_file is not None) is is_filed
        assert ("\n|   '/tmp/a.png'\n" in text) is is_filed


async def test_a_directory_that_is_gone_is_an_error_of_the_system(stage: Scene) -> None:
    message = await stage.send("line\n" * 4000)
    with pytest.raises(OSError, match="null"):
        await stage.deck.text(stage.session(cwd=str(Path("/dev/null/x"))), message)


async def test_a_stage_is_on_disk_when_it_is_reached(stage: Scene) -> None:
    await stage.send()
    lease = await stage.spool.lease(ALICE, "f", stage.clock.wall())
    assert lease is not None
    progress = Progress(stage.deck, lease)
    await progress.reach(Stage.PASTING)
    again = await stage.spool.leased(ALICE)
    assert again is not None and again.stage is progress.stage is Stage.PASTING


async def test_a_hand_over_knows_of_earlier_leases_and_since_when_this_one_is_held(stage: Scene) -> None:
    message, session = await stage.send(), stage.session()
    for number in range(2):
        await stage.clock.advance(10)
        lease = await stage.spool.lease(ALICE, session.fence, stage.clock.wall())
        assert lease is not None
        progress = Progress(stage.deck, lease)
        await progress.deliver(session, "text")
        await progress.deliver(session, "text")
        assert stage.actor.since[-2:] == [stage.clock.wall()] * 2
        assert stage.actor.repeated[-2:] == [number > 0, True]
        assert stage.actor.stages[-2:] == [Stage.HELD, Stage.PASTING]
        await stage.spool.release(message.id, "x", stage.clock.wall(), attempted=True)


@pytest.mark.parametrize("reached", [None, Stage.PASTING])
@pytest.mark.parametrize("how", ["counted", "put back", "queued again"])
async def test_a_hand_over_looks_for_what_any_earlier_lease_has_typed(
    stage: Scene, how: str, reached: Stage | None
) -> None:
    message, session = await stage.send(), stage.session()
    lease = await stage.spool.lease(ALICE, session.fence, stage.clock.wall())
    assert lease is not None
    if reached is not None:
        await Progress(stage.deck, lease).reach(reached)
    if how == "queued again":
        await stage.spool.bury(message.id, "no receipt", stage.clock.wall())
        await stage.spool.retry(message.id, stage.clock.wall())
    else:
        await stage.spool.release(message.id, "x", stage.clock.wall(), attempted=how == "counted")
    lease = await stage.spool.lease(ALICE, session.fence, stage.clock.wall())
    assert lease is not None
    await Progress(stage.deck, lease).deliver(session, "text")
    assert stage.actor.repeated == [reached is not None]


async def test_a_hand_over_looks_for_what_it_has_typed_itself(stage: Scene) -> None:
    """A look back found no trace of it, and then something held the next paste."""
    await stage.send()
    lease, session = await stage.spool.lease(ALICE, "f", stage.clock.wall()), stage.session()
    assert lease is not None
    progress = Progress(stage.deck, lease)
    await progress.deliver(session, "text")
    await progress.reach(Stage.HELD)
    await progress.deliver(session, "text")
    assert stage.actor.repeated == [False, True]


async def test_what_an_earlier_session_left_of_a_task_says_nothing_of_the_next(stage: Scene) -> None:
    """A program has one file for what it acknowledges, also as a worker that is started anew for each task."""
    message = await stage.send()
    session = stage.session(task=message.id)
    for _ in range(2):
        lease = await stage.spool.lease(ALICE, "task", stage.clock.wall())
        assert lease is not None
        await Progress(stage.deck, lease).deliver(session, "text")
        await stage.spool.release(message.id, "silent", stage.clock.wall(), attempted=True)
    assert stage.actor.repeated == [False, False]


async def test_a_lease_that_is_another_s_is_left_alone(stage: Scene) -> None:
    message = await stage.send()
    lease = await stage.spool.lease(ALICE, "f", stage.clock.wall())
    assert lease is not None
    await stage.spool.release(message.id, "x", stage.clock.wall(), attempted=False)
    await stage.spool.lease(ALICE, "g", stage.clock.wall())
    progress = Progress(stage.deck, lease)
    with pytest.raises(LeaseLost):
        await progress.reach(Stage.PASTING)
    assert progress.stage is Stage.HELD
