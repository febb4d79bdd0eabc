"""Files, database and clock of the server fail and jump while messages come."""

from random import Random

import pytest

from tests.faults.fault import Fault
from tests.faults.injections.arena import arena
from tests.faults.injections.jumps import JUMPS
from tests.faults.injections.sabotage import FAILURES, Slot, has_library, page_of

pytestmark = pytest.mark.live

ROUNDS = 4


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
        assert fault not in FAILURES or page[Slot.HITS] + page[Slot.SQL_HITS] > 0
