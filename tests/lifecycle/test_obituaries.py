"""Lines about deaths: one each, one for many at once, and none lost at the end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from lifecycle.limits import Limits
from lifecycle.obituaries import NAMED, Obituaries
from tests.clock import FakeClock
from tests.lifecycle.workshop import until
from transport.identity import Identity
from transport.logs import Logs
from transport.paths import Root
from transport.process import ProcessId


@dataclass
class Desk:
    root: Root
    clock: FakeClock
    obituaries: Obituaries

    def die(self, *numbers: int) -> None:
        """Have sessions die whose causes stand in exits.log already."""
        for number in numbers:
            identity = Identity("scripted", f"p{number}")
            self.obituaries.logs.exits.write("session-exit", identity=identity, dead_status=1, server_pid=number)
            self.obituaries.add("session-gone", identity, ProcessId(number, "1"))

    def lines(self, event: str) -> list[str]:
        path = self.root.logs / "lifecycle.log"
        text = path.read_text() if path.exists() else ""
        return [line.partition(" ")[2] for line in text.splitlines() if f" ev={event} " in line]

    async def pass_on(self, seconds: float) -> None:
        """Let time pass, and see that what is due by then is written."""
        await self.clock.advance(seconds)
        await until(lambda: not self.obituaries._unwritten or self.clock.sleeping)


@asynccontextmanager
async def desk(root: Root, **limits: float) -> AsyncIterator[Desk]:
    clock = FakeClock()
    obituaries = Obituaries(Logs(root.logs, clock), clock, Limits(**limits))  # type: ignore[arg-type]
    async with anyio.create_task_group() as tasks:
        obituaries.tasks = tasks
        yield Desk(root, clock, obituaries)
        obituaries.tasks = None
        obituaries.flush()
        tasks.cancel_scope.cancel()


async def test_a_few_deaths_have_a_line_each(root: Root) -> None:
    async with desk(root) as made:
        made.die(1, 2, 3, 4)
        assert made.lines("session-gone") == []
        await made.pass_on(1)
        found = [line.partition(" reason=")[0] for line in made.lines("session-gone")]
        assert found == [f"ev=session-gone identity=scripted-p{n} tmux={n}" for n in (1, 2, 3, 4)]
        assert made.lines("mass-death") == []


async def test_many_at_once_have_one_line_together(root: Root) -> None:
    async with desk(root) as made:
        for number in range(12):
            made.die(number)
            await made.pass_on(0.05)
        await made.pass_on(1)
        (line,) = made.lines("mass-death")
        assert "count=12" in line and "scripted-p11" in line
        assert made.lines("session-gone") == []


async def test_a_list_of_thousands_is_bounded(root: Root) -> None:
    async with desk(root) as made:
        made.die(*range(2000))
        await made.pass_on(1)
        (line,) = made.lines("mass-death")
        assert "count=2000" in line and line.count("scripted-p") == NAMED and f"+{2000 - NAMED}" in line


async def test_deaths_one_by_one_within_the_time_belong_together(root: Root) -> None:
    async with desk(root) as made:
        for number in range(5):
            made.die(number)
            await made.pass_on(1)
        (line,) = made.lines("mass-death")
        assert "count=5" in line
        assert len(made.lines("session-gone")) == 4


async def test_deaths_far_apart_do_not_belong_together(root: Root) -> None:
    async with desk(root) as made:
        for number in range(20):
            made.die(number)
            await made.pass_on(2)
        assert made.lines("mass-death") == [] and len(made.lines("session-gone")) == 20


async def test_a_mass_that_goes_on_has_few_lines(root: Root) -> None:
    async with desk(root) as made:
        for number in range(200):
            made.die(number)
            await made.pass_on(0.1)
        await made.pass_on(10)
        assert len(made.lines("mass-death")) <= 6 and len(made.lines("session-gone")) <= 4
        assert sum(int(line.split("count=")[1].split()[0]) for line in made.lines("mass-death")) >= 195


async def test_nothing_is_lost_when_the_server_ends_and_nothing_waits_without_one(root: Root) -> None:
    async with desk(root) as made:
        made.die(1)
    assert len(made.lines("session-gone")) == 1
    made.die(2)
    assert len(made.lines("session-gone")) == 2


async def test_the_count_is_a_setting(root: Root) -> None:
    async with desk(root, mass_death_count=2) as made:
        made.die(1, 2)
        await made.pass_on(1)
        assert len(made.lines("mass-death")) == 1
