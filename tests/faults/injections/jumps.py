"""A wall clock that jumps in the servers, and a machine that slept."""

from dataclasses import dataclass
from random import Random

from tests.faults.fault import Field, Heal
from tests.faults.injections.sabotage import Slot, page_of

MINUTE = 60_000
HOUR = 60 * MINUTE


@dataclass(frozen=True, slots=True)
class Jump:
    """The clocks of the servers jump by up to `most` milliseconds of wall and monotonic time; they stay there.

    A monotonic clock never goes back, so only the wall clock's part is undone, by a jump back.
    """

    name: str
    wall: int
    monotonic: int = 0
    weight: float = 0.7

    def strike(self, field: Field, random: Random) -> Heal | None:
        page, part = page_of(field.world), random.random()
        if page is None:
            return None
        page[Slot.WALL] += int(self.wall * part)
        page[Slot.MONOTONIC] += int(self.monotonic * part)
        before = page[Slot.CLOCKS]
        field.trace(f"{self.name}: {self.wall * part / 1000:.0f} s")

        def heal() -> int:
            page[Slot.WALL] -= int(self.wall * part)
            return int(page[Slot.CLOCKS] > before)

        return heal


JUMPS = (
    Jump("clock set forth", 6 * HOUR),
    Jump("clock set back", -6 * HOUR),
    Jump("clock set a little", -3_000),
    Jump("machine slept", 3 * HOUR, 10 * MINUTE, 0.3),
)
