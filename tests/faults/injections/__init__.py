"""Faults of disk, clock, terminal and people, against the interface in `tests/faults/fault.py`."""

from tests.faults.fault import Fault
from tests.faults.injections.dialogs import DIALOGS
from tests.faults.injections.jumps import JUMPS
from tests.faults.injections.person import DRAFTS
from tests.faults.injections.rough import MANNERS
from tests.faults.injections.sabotage import FAILURES, sabotage_bridges, sabotaged
from tests.faults.injections.small_disk import DiskFull, room_for, with_a_small_disk
from tests.faults.injections.visitor import VISITS

__all__ = ["FAULTS", "room_for", "sabotage_bridges", "sabotaged", "with_a_small_disk"]

FAULTS: tuple[Fault, ...] = (*DRAFTS, *VISITS, *DIALOGS, *MANNERS, *FAILURES, *JUMPS, DiskFull())
