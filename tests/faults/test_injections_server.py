"""Files, database and clock of the server fail and jump while messages come."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from tests.faults.fault import Fault, Field
from tests.faults.injections.arena import arena
from tests.faults.injections.jumps import JUMPS, Jump
from tests.faults.injections.sabotage import FAILURES, VARIABLE, Fails, Slot, Slow, has_library, page_of, sabotaged
from tests.faults.processes import supervisor
from tests.live.world import World, until
from transport.paths import Root

pytestmark = pytest.mark.live

ROUNDS = 4


@contextmanager
def lone(home: Path) -> Iterator[Field]:
    """Make a world with a page and without a server."""
    world = World(Root(home))
    with sabotaged(world):
        yield Field(world, [], lambda text: None)


@pytest.mark.parametrize("fault", [*FAILURES, *JUMPS], ids=lambda fault: fault.name)
def test_deliveries_go_on(fault: Fault) -> None:
    if getattr(fault, "slot", Slot.FSYNC) >= Slot.SQL_FSYNC and not has_library():
        pytest.skip("THE DATABASE CANNOT BE MADE TO FAIL HERE: there is no C compiler, or this is not Linux")
    with arena(is_sabotaged=True) as here:
        page = page_of(here.world)
        assert page is not None and page[Slot.LOADED] == 1
        struck = [here.strike(fault, Random(f"{fault.name} {number}")) for number in range(ROUNDS)]
        assert all(struck), here.told()
        here.settle()
        assert fault not in FAILURES or page[Slot.HITS] + page[Slot.SQL_HITS] + page[Slot.SQL_DELAYED] > 0


@pytest.mark.parametrize("jumps", [JUMPS[:2], JUMPS[1::-1]], ids=["forth and back", "back and forth"])
def test_a_clock_is_right_again_after_jumps_that_overlap(jumps: tuple[Jump, ...], tmp_path: Path) -> None:
    with lone(tmp_path) as field:
        page = page_of(field.world)
        heals = [jump.strike(field, Random(number)) for number, jump in enumerate(jumps)]
        assert page is not None and page[Slot.WALL] != 0
        assert [heal() for heal in heals if heal is not None] == [0, 0], "no server has read the clock"
        assert page[Slot.WALL] == 0


def test_failures_that_overlap_leave_one_another_what_is_theirs(tmp_path: Path) -> None:
    with lone(tmp_path) as field:
        page = page_of(field.world)
        first, second = (
            Fails("fails", Slot.FSYNC, Slot.ERRNO, most=1).strike(field, Random(number)) for number in (1, 2)
        )
        assert page is not None and first is not None and second is not None
        assert page[Slot.FSYNC] == 2
        assert first() == 0
        assert page[Slot.FSYNC] == 1
        page[Slot.FSYNC] = 0
        assert second() == 1
        assert page[Slot.FSYNC] == 0


def bridged(world: World) -> int | None:
    """Return the server that supervises, if it is none of ours."""
    found = supervisor(world)
    return None if found is None or found.pid in [each.pid for each in world.servers] else found.pid


def test_a_server_that_a_bridge_starts_obeys_the_page() -> None:
    with arena(is_sabotaged=True, is_bridged=True) as here:
        page = page_of(here.world)
        assert page is not None
        (server,) = here.world.servers
        server.kill()
        server.wait()
        pid = until(lambda: bridged(here.world), 20, "a server that a bridge started")
        assert f"{VARIABLE}={here.world.extra[VARIABLE]}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
        assert here.send("again", 30)["status"] == "delivered"
        before = page[Slot.SQL_DELAYED]
        if has_library():
            heal = Slow().strike(here.field, Random(1))
            here.send("slowly", 30)
            assert heal is not None and heal() and page[Slot.SQL_DELAYED] > before
        here.settle()
