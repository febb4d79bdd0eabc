"""Each fault at the terminal strikes again and again while messages come; nothing is lost, merged or misplaced."""

from random import Random

import pytest

from tests.faults.fault import Fault
from tests.faults.injections.arena import arena
from tests.faults.injections.dialogs import DIALOGS
from tests.faults.injections.person import DRAFTS
from tests.faults.injections.rough import MANNERS
from tests.faults.injections.visitor import VISITS

pytestmark = pytest.mark.live

ROUNDS = 4
EVERY: tuple[Fault, ...] = (*DRAFTS, *VISITS, *DIALOGS, *MANNERS)


@pytest.mark.parametrize("fault", EVERY, ids=lambda fault: fault.name)
def test_deliveries_go_on(fault: Fault) -> None:
    with arena() as here:
        struck = [here.strike(fault, Random(f"{fault.name} {number}")) for number in range(ROUNDS)]
        assert any(struck), here.told()
        here.settle()
