"""All faults with their weights: how often each strikes, in relation to the others."""

from typing import Final

from tests.faults.blows import BLOWS
from tests.faults.fault import Fault
from tests.faults.injections import FAULTS
from tests.faults.odd_files import ODD_FILES

# Each of these costs a second or two in which nothing is delivered.
WEIGHTS: Final = {
    "server killed": 1.5,
    "server terminated": 1.0,
    "server stopped": 1.0,
    "all servers killed, two started at once": 0.5,
    "server.sock removed": 0.5,
    "standby killed": 0.5,
    "standby stopped": 0.5,
    "agent killed": 4.0,
    "tmux server killed": 2.0,
    "bridge killed": 2.0,
}
ORDINARY: Final = 1.0


def faults(*, with_injections: bool = True) -> dict[str, Fault]:
    """Return every fault by its name."""
    every: tuple[Fault, ...] = (*BLOWS, *ODD_FILES, *(FAULTS if with_injections else ()))
    return {fault.name: fault for fault in every}


def weight(fault: Fault) -> float:
    """Return how often a fault strikes, 1 is ordinary; one may bring its own `weight`."""
    return WEIGHTS.get(fault.name, float(getattr(fault, "weight", ORDINARY)))
