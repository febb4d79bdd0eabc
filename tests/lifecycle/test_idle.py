"""Idle is proven: what counts as a sign of work, what does not, and when the terminal is looked at."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from lifecycle.board import Board
from lifecycle.decide import Activity
from lifecycle.idle import Idleness, Standing, size_of
from lifecycle.limits import Limits
from lifecycle.session import Session
from lifecycle.sight import Sight
from lifecycle.states import Mode
from tests.clock import FakeClock
from transport.errors import PeerwakeError
from transport.identity import Identity

ALICE = Identity("scripted", "alice")
SESSION = Session(ALICE, "h", "t", "/tmp", "f1", 1.0, Mode.FRESH, "s1")
TICK = 60.0
QUIET = Sight(Activity.QUIET, "", ("» ",), 0.0)


@dataclass
class Desk:
    """A session as it is: its screen, its files; and how often it was looked at."""

    directory: Path
    clock: FakeClock = field(default_factory=FakeClock)
    board: Board = field(default_factory=Board)
    sight: Sight = QUIET
    looks: int = 0
    failure: PeerwakeError | None = None

    def __post_init__(self) -> None:
        self.idleness = Idleness(
            self._see, self._sizes, lambda identity: self.pane, self.board, Limits(idle_seconds=600.0), self.clock
        )
        self.pane.write_text("boot\n")
        self.transcript.write_text("{}\n")

    @property
    def pane(self) -> Path:
        return self.directory / "pane.log"

    @property
    def transcript(self) -> Path:
        return self.directory / "transcript.jsonl"

    async def _see(self, session: Session) -> Sight:
        self.looks += 1
        return self.sight

    async def _sizes(self, session: Session, locate: bool) -> tuple[int, ...]:
        if self.failure is not None:
            raise self.failure
        return tuple(path.stat().st_size for path in sorted(self.directory.glob("*.jsonl")))

    def print(self, text: str = "output\n", *, shown: bool = True, logged: bool = True) -> None:
        """The client writes to its terminal; `shown` says whether that changes the screen."""
        if logged:
            with self.pane.open("a") as file:
                file.write(text)
        lines = (*(self.sight.lines or ()), text) if shown else self.sight.lines
        self.sight = replace(self.sight, lines=lines, output_at=self.clock.wall())

    async def tick(self, count: int = 1) -> Standing:
        for _ in range(count):
            self.clock.now += TICK
            self.idleness.begin([SESSION], {ALICE: size_of(self.pane)})
            standing = await self.idleness.assess(SESSION)
        return standing


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    built = Desk(tmp_path)
    await built.idleness.assess(SESSION)
    return built


async def test_a_quiet_session_is_looked_at_once_and_proven_idle_after_its_time(desk: Desk) -> None:
    assert (await desk.tick(9)).activity is Activity.QUIET
    assert desk.looks == 1
    standing = await desk.tick()
    assert (standing.activity, standing.quiet_since, desk.looks) == (Activity.IDLE, 0.0, 2)
    assert desk.idleness.is_idle(standing)


@pytest.mark.parametrize(
    "activity",
    [Activity.BUSY, Activity.BLOCKED, Activity.DRAFT, Activity.ATTACHED, Activity.UNKNOWN, Activity.ACTIVE],
)
async def test_silence_alone_proves_nothing(desk: Desk, activity: Activity) -> None:
    """A long silent generation: no byte of output, no line in the transcript, and a screen that says busy."""
    desk.sight = replace(QUIET, activity=activity)
    assert (await desk.tick(9)).activity is Activity.QUIET
    standing = await desk.tick(100)
    assert (standing.activity, standing.quiet_since) == (activity, desk.clock.now)
    desk.sight = QUIET
    assert (await desk.tick()).activity is Activity.QUIET
    assert (await desk.tick(9)).activity is Activity.QUIET
    assert (await desk.tick()).activity is Activity.IDLE


async def test_a_file_that_is_only_touched_keeps_nothing_alive(desk: Desk) -> None:
    for _ in range(9):
        for path in (desk.pane, desk.transcript):
            os.utime(path, (desk.clock.wall(), desk.clock.wall()))
        assert (await desk.tick()).activity is Activity.QUIET
    assert (await desk.tick()).activity is Activity.IDLE


async def test_a_client_that_redraws_itself_is_idle_all_the_same(desk: Desk) -> None:
    for _ in range(9):
        desk.print(shown=False)
        assert (await desk.tick()).activity is Activity.QUIET
    desk.print(shown=False)
    assert (await desk.tick()).activity is Activity.IDLE


async def test_output_that_was_seen_at_the_look_is_none_at_the_next_tick(desk: Desk) -> None:
    await desk.tick(2)
    desk.idleness.begin([SESSION], {ALICE: size_of(desk.pane)})
    desk.print(shown=False)
    await desk.idleness.look(SESSION)
    looks = desk.looks
    await desk.tick()
    assert desk.looks == looks, "a look reads the log itself, whatever was read before"


async def test_a_screen_that_changes_starts_the_time_anew(desk: Desk) -> None:
    await desk.tick(8)
    desk.print("a line")
    standing = await desk.tick()
    assert (standing.activity, standing.quiet_since) == (Activity.QUIET, desk.clock.now)
    assert (await desk.tick(9)).activity is Activity.QUIET
    assert (await desk.tick()).activity is Activity.IDLE


async def test_words_in_the_transcript_or_to_a_peer_are_work_though_the_screen_stays(desk: Desk) -> None:
    await desk.tick(9)
    with desk.transcript.open("a") as file:
        file.write("{}\n")
    assert (await desk.tick()).quiet_since == desk.clock.now
    await desk.tick(9)
    desk.board.sent(ALICE)
    assert (await desk.tick()).quiet_since == desk.clock.now


async def test_a_conversation_that_moved_to_another_file_is_work(desk: Desk) -> None:
    await desk.tick(9)
    (desk.directory / "next.jsonl").write_text("{}\n")
    assert (await desk.tick()).activity is Activity.QUIET
    assert (await desk.tick(10)).activity is Activity.IDLE


async def test_a_log_that_silently_stopped_proves_nothing(desk: Desk) -> None:
    """Output that the pane's log does not have: from then on the screen itself is compared, tick for tick."""
    await desk.tick(9)
    desk.print(shown=False, logged=False)
    standing = await desk.tick()
    assert (standing.activity, standing.quiet_since) == (Activity.QUIET, desk.clock.now)
    looks = desk.looks
    desk.print(shown=False, logged=False)
    assert (await desk.tick(5)).activity is Activity.QUIET
    assert desk.looks == looks + 5
    desk.print("a line", logged=False)
    assert (await desk.tick()).quiet_since == desk.clock.now
    assert (await desk.tick(9)).activity is Activity.QUIET
    assert (await desk.tick()).activity is Activity.IDLE


async def test_a_log_that_is_rotated_is_no_output(desk: Desk) -> None:
    await desk.tick(5)
    desk.pane.write_text("")
    await desk.tick(4)
    assert (await desk.tick()).activity is Activity.IDLE


async def test_what_a_drain_does_is_work_and_its_word_counts(desk: Desk) -> None:
    await desk.tick(9)
    assert desk.idleness.told(SESSION, Activity.BUSY).quiet_since == desk.clock.now
    assert (await desk.tick(9)).activity is Activity.QUIET
    assert (await desk.tick()).activity is Activity.IDLE


async def test_a_wall_clock_that_jumps_makes_nobody_idle(desk: Desk) -> None:
    await desk.tick(2)
    desk.clock.epoch += 86_400 * 365
    assert (await desk.tick()).activity is Activity.QUIET
    desk.clock.epoch -= 86_400 * 700
    assert (await desk.tick(6)).activity is Activity.QUIET


async def test_unknown_is_counted_from_its_first_moment_and_forgotten_with_the_next_answer(desk: Desk) -> None:
    desk.sight = Sight(Activity.UNKNOWN, "no answer")
    desk.print()
    first = await desk.tick()
    assert (first.activity, first.unknown_since, first.detail) == (Activity.UNKNOWN, desk.clock.now, "no answer")
    assert (await desk.tick(3)).unknown_since == first.unknown_since
    desk.sight = QUIET
    assert (await desk.tick()).unknown_since is None


async def test_evidence_that_cannot_be_read_is_unknown(desk: Desk) -> None:
    desk.failure = PeerwakeError("there is no runtime")
    standing = await desk.tick(20)
    assert (standing.activity, standing.detail) == (Activity.UNKNOWN, "there is no runtime")
    assert standing.unknown_since == TICK
    desk.failure = None
    assert (await desk.tick()).activity is Activity.QUIET


async def test_what_was_done_with_it_starts_its_time_anew(desk: Desk) -> None:
    await desk.tick(9)
    desk.idleness.touch(ALICE)
    assert (await desk.tick()).quiet_since == desk.clock.now - TICK
    assert (await desk.tick(8)).activity is Activity.QUIET
    assert (await desk.tick()).activity is Activity.IDLE


async def test_of_many_sessions_a_few_are_looked_at_each_time_and_none_is_forgotten(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    sessions = [replace(SESSION, identity=Identity("scripted", f"p{n:02}"), fence=f"f{n}") for n in range(20)]
    looked: list[int] = []
    for _ in range(4):
        desk.clock.now += TICK
        before = desk.looks
        standings = [await desk.idleness.assess(session) for session in desk.idleness.begin(sessions)]
        looked.append(desk.looks - before)
        assert all(standing.activity in (Activity.QUIET, Activity.ACTIVE) for standing in standings)
    assert looked == [8, 8, 4, 0]
    desk.clock.now += 600
    assert Activity.IDLE in {(await desk.idleness.assess(each)).activity for each in desk.idleness.begin(sessions)}


async def test_another_session_of_the_same_peer_has_a_time_of_its_own(desk: Desk) -> None:
    await desk.tick(9)
    desk.idleness.begin([])
    assert (await desk.tick()).quiet_since == desk.clock.now
