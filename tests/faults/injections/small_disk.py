"""A root on a small disk of its own that is full for a while."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.contract.private_mount import fill, on_a_small_disk
from tests.faults.fault import Field, Heal

MEBIBYTES = 512
MEBIBYTES_A_MINUTE = 50
SMALL_BYTES = 2 << 30
FILLER = "filler"


def room_for(seconds: float) -> int:
    """Return how many MiB a run of so many seconds may come to keep."""
    return min(SMALL_BYTES >> 20, max(MEBIBYTES, int(MEBIBYTES_A_MINUTE * seconds / 60)))


def with_a_small_disk(home: Path, work: Callable[[], None], mebibytes: int = MEBIBYTES) -> None:
    """Run `work`, with its threads and processes, where `home` is a disk of this size; skips without the right to.

    Call it before any other thread is started: only what is started within sees the disk.
    """
    on_a_small_disk(home, mebibytes, work)


@dataclass(frozen=True, slots=True)
class DiskFull:
    """The root's disk is full until it is healed; nothing to strike where that disk is not a small one of its own."""

    name: str = "disk full"
    weight: float = 0.7

    def strike(self, field: Field, random: Random) -> Heal | None:
        home = field.world.root.home
        disk = os.statvfs(home)
        if not os.path.ismount(home) or disk.f_frsize * disk.f_blocks > SMALL_BYTES:
            return None
        filler = home / FILLER
        fill(filler)
        field.trace(f"{self.name}: {filler.stat().st_size >> 20} MiB of filler")

        def heal() -> None:
            filler.unlink(missing_ok=True)

        return heal
