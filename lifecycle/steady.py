"""Wall time for ages: a clock that jumps forward makes nothing old that was there before."""

from dataclasses import dataclass, field
from typing import Final

from transport.clock import Clock

JUMP_SECONDS: Final = 10.0


@dataclass(slots=True)
class SteadyWall:
    """Compares the wall clock with the monotonic one each time `look` is called."""

    clock: Clock
    jumped_at: float = 0.0
    jumped_by: float = 0.0
    _offset: float = field(init=False)

    def __post_init__(self) -> None:
        self._offset = self._now_offset()

    def _now_offset(self) -> float:
        return self.clock.wall() - self.clock.monotonic()

    def look(self) -> None:
        """Notice a jump since the last look: those forward are added up, and one back takes from them."""
        offset = self._now_offset()
        forward, self._offset = offset - self._offset, offset
        if forward > JUMP_SECONDS:
            self.jumped_at = self.clock.wall()
            self.jumped_by += forward
        elif forward < -JUMP_SECONDS:
            self.jumped_at = min(self.jumped_at, self.clock.wall())
            self.jumped_by = max(0.0, self.jumped_by + forward)

    def is_older(self, at: float, age: float) -> bool:
        """Tell whether what began at wall time `at` lasts longer than `age` seconds, jumps forward until now aside."""
        self.look()
        return self.now(age) - at > age

    def now(self, age: float) -> float:
        """Return the wall time to measure with whether something is older than `age` seconds.

        What was there before a jump is measured without it, what came later is younger than the jump.
        """
        wall = self.clock.wall()
        if self.jumped_by and wall - age >= self.jumped_at:
            return wall
        return wall - self.jumped_by
