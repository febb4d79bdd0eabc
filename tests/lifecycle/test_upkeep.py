"""What a tick tidies up: old messages and the files of their bodies, and nothing that is not ours."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from lifecycle.upkeep import Upkeep, remove_bodies
from tests.bulkheads import pipes
from tests.clock import FakeClock
from tests.held_paths import held
from tests.lifecycle.workshop import workshop
from transport.bulkhead import AT_ONCE, Area, NoAnswer
from transport.identity import Identity
from transport.message import Draft, Message, accept
from transport.paths import Root
from transport.spool.spool import Spool
from transport.vocabulary import MessageState

DAY, HOUR = 86_400.0, 3_600.0
ALICE, BOB, CAROL = (Identity("scripted", name) for name in ("alice", "bob", "carol"))


@dataclass
class Stage:
    """A spool with peers alice and bob, and the upkeep of a supervisor that does not run."""

    root: Root
    clock: FakeClock
    spool: Spool
    upkeep: Upkeep

    async def send(self, to: Identity = ALICE) -> Message:
        message = accept(Draft("hello"), BOB, to, hops=0, now=self.clock.wall())
        return (await self.spool.enqueue(message, cap=10_000, hop_limit=20)).message

    def log(self, name: str) -> str:
        path = self.root.logs / f"{name}.log"
        return path.read_text() if path.exists() else ""


@pytest.fixture
async def stage(root: Root) -> AsyncIterator[Stage]:
    clock = FakeClock()
    async with workshop(root, clock=clock) as shop:
        shop.peer("alice")
        shop.peer("bob")
        yield Stage(root, clock, shop.deck.spool, shop.supervisor.upkeep)


@pytest.fixture
def upkeep(stage: Stage) -> Upkeep:
    return stage.upkeep


def body_of(stage: Stage, message: Message) -> Path:
    path = stage.root.peers / "alice" / ".peerwake" / "inbox" / f"{message.id}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a long body")
    return path


async def dead_pid() -> int:
    return int((await anyio.run_process(["sh", "-c", "echo $$"])).stdout)


def half_written(directory: Path, pid: int) -> Path:
    """Leave what a process that was killed while it wrote leaves in a directory of ours."""
    path = directory / ".peerwake" / f".it.{pid}.0123abcd.tmp"
    path.touch()
    return path


async def settled(stage: Stage, **changes: object) -> Message:
    message = await stage.send(**changes)  # type: ignore[arg-type]
    await stage.spool.consume(message.id, "played", stage.clock.wall())
    return message


async def test_messages_settled_long_ago_go_with_their_files(stage: Stage, upkeep: Upkeep) -> None:
    old = await settled(stage)
    gone = body_of(stage, old)
    stage.clock.now += 6 * DAY
    young = await settled(stage)
    stays = body_of(stage, young)
    waiting = await stage.send()
    kept = body_of(stage, waiting)
    notes = gone.with_name("notes.txt")
    notes.write_text("mine")
    stage.clock.now += 1.5 * DAY - 86_400 * 0.4
    upkeep.wall.look()
    await upkeep.run()
    assert await stage.spool.message(old.id) is None and not gone.exists()
    assert await stage.spool.message(young.id) is not None and stays.exists()
    assert kept.exists() and notes.read_text() == "mine"
    assert "ev=purged count=1" in stage.log("delivery")


async def test_thousands_go_in_one_upkeep_and_it_is_seldom(stage: Stage, upkeep: Upkeep) -> None:
    for _ in range(700):
        await settled(stage)
    await upkeep.run()
    stage.clock.now += 8 * DAY
    await upkeep.run()
    assert "ev=purged count=700" in stage.log("delivery")
    calls: list[float] = []

    async def purgeable(older_than: float, now: float) -> list[tuple[str, Identity]]:
        calls.append(now)
        return []

    stage.spool.purgeable = purgeable  # type: ignore[method-assign,assignment]
    for _ in range(59):
        stage.clock.now += 60
        await upkeep.run()
    assert calls == []
    stage.clock.now += 60
    await upkeep.run()
    assert len(calls) == 1


async def test_messages_of_a_peer_that_is_gone_go_without_its_files(stage: Stage, upkeep: Upkeep) -> None:
    message = await settled(stage, to=CAROL)
    stage.clock.now += 8 * DAY
    await upkeep.run()
    assert await stage.spool.message(message.id) is None


async def test_a_clock_that_jumps_expires_and_purges_nothing(stage: Stage, upkeep: Upkeep) -> None:
    settled_now, waiting = await settled(stage), await stage.send()
    stage.clock.now += 60
    stage.clock.epoch += 400 * DAY
    await upkeep.run()
    stage.clock.now += 3600
    await upkeep.run()
    assert await stage.spool.depth(ALICE) == 1
    assert await stage.spool.message(settled_now.id) is not None
    stage.clock.now += 1.1 * DAY
    await upkeep.run()
    assert await stage.spool.depth(ALICE) == 0
    assert await stage.spool.depth(BOB) == 1, "its sender has the notice"
    record = await stage.spool.message(waiting.id)
    assert record is not None and record.reason is not None and "waited longer" in record.reason


def test_only_regular_files_of_ours_are_removed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    link, directory, plain = (tmp_path / name for name in ("link", "directory", "plain"))
    link.symlink_to(target)
    directory.mkdir()
    plain.write_text("")
    assert remove_bodies([link, directory, plain, tmp_path / "missing", target / "below"]) == 1
    assert target.exists() and link.is_symlink() and directory.is_dir() and not plain.exists()


async def test_what_killed_processes_left_half_written_goes(stage: Stage, upkeep: Upkeep) -> None:
    pid = await dead_pid()
    inbox = stage.root.peers / "alice" / ".peerwake" / "inbox"
    inbox.mkdir(parents=True)
    places = (stage.root.home, stage.root.state, stage.root.run, inbox, inbox.parent)
    left = [place / f".it.{pid}.0123abcd.tmp" for place in places]
    for path in left:
        path.touch()
    await upkeep.run()
    assert [path for path in left if path.exists()] == []
    assert "leftovers removed=5" in stage.log("lifecycle")
    for path in left:
        path.touch()
    theirs = {path for path in left if path.is_relative_to(stage.root.peers)}
    stage.clock.now += 2 * HOUR
    await upkeep.run()
    assert {path for path in left if path.exists()} == theirs, "nobody's directory is looked into every hour"
    stage.clock.now += DAY
    await upkeep.run()
    assert [path for path in left if path.exists()] == []


async def test_a_directory_that_gives_no_answer_is_left_out_and_told_once(stage: Stage, upkeep: Upkeep) -> None:
    left = f".it.{await dead_pid()}.0123abcd.tmp"
    hers, his = (stage.root.peers / name / ".peerwake" for name in ("alice", "bob"))
    bulkhead = stage.upkeep.deck.terminals.bulkhead
    with held(hers) as paths:
        for seconds in (1.0, 60.0):
            waiting = await stage.send(to=BOB)
            (his / left).touch()
            bulkhead.seconds = seconds
            await upkeep.run()
            assert paths.waiting == 1
            assert not (his / left).exists(), "the others' directories are tidied up"
            stage.clock.now += 1.1 * DAY
        await upkeep.run()
        record = await stage.spool.message(waiting.id)
        assert record is not None and record.state is MessageState.DEAD
        assert stage.log("lifecycle").count("ev=no-answer") == 1
        assert f"area=directory path={hers.parent}" in stage.log("lifecycle")


async def test_what_there_was_no_time_for_goes_in_the_next_round(
    stage: Stage, upkeep: Upkeep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await settled(stage)
    gone = body_of(stage, old)
    stage.clock.now += 8 * DAY
    upkeep.wall.look()
    hers = stage.upkeep.deck.terminals.bulkhead.of(Area.DIRECTORY, ALICE)
    with monkeypatch.context() as hurry, pipes(tmp_path, AT_ONCE) as all_of_them:
        for pipe in all_of_them:
            hers.begin(pipe.path, pipe.open, 60.0)
        hurry.setattr("lifecycle.upkeep.TIDY_SECONDS", 0.3)
        left = half_written(stage.root.peers / "alice", await dead_pid())
        await upkeep.run()
        assert await stage.spool.message(old.id) is not None
        assert left.exists()
    stage.clock.now += 1.1 * HOUR
    await upkeep.run()
    assert await stage.spool.message(old.id) is None
    assert not gone.exists()
    assert not left.exists()


async def test_old_bodies_go_though_another_peers_directory_gives_no_answer(
    stage: Stage, upkeep: Upkeep, tmp_path: Path
) -> None:
    old = await settled(stage)
    gone = body_of(stage, old)
    await settled(stage, to=BOB)
    bob = stage.root.peers / "bob"
    bulkhead = stage.upkeep.deck.terminals.bulkhead
    with pipes(tmp_path, 1) as (pipe,):
        with pytest.raises(NoAnswer):
            await bulkhead.of(Area.DIRECTORY, BOB).run(bob, pipe.open, 0.05)
        stage.clock.now += 8 * DAY
        await upkeep.run()
        assert not gone.exists()
        assert await stage.spool.message(old.id) is None
        assert "ev=purged count=2" in stage.log("delivery")
