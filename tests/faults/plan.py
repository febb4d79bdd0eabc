"""What strikes when and for how long: a pure function of the seed.

What the operating system makes of it is not: which process runs when, and so where exactly a fault strikes,
differs from run to run. A seed repeats the plan, the bodies and every sender's choices, not the interleaving.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

SHORTEST_SECONDS: Final = 0.2
LONGEST_SECONDS: Final = 5.0
QUIET_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Strike:
    """One blow: seconds after the start, the fault's name, a seed for its choices, seconds until it is healed."""

    at: float
    fault: str
    seed: int
    heal_after: float

    def __str__(self) -> str:
        return f"{self.at:8.2f} s  {self.fault}, healed after {self.heal_after:.2f} s (seed {self.seed})"


def actor(seed: int, name: str) -> Random:
    """Return the dice of one actor of a run."""
    return Random(f"{seed}/{name}")


def plan(seed: int, seconds: float, every_seconds: float, weights: Mapping[str, float]) -> list[Strike]:
    """Return the blows of a run, one in `every_seconds` on average; the first and the last second are quiet."""
    random, names = actor(seed, "plan"), sorted(weights)
    at, strikes = QUIET_SECONDS, []
    while names:
        at += random.expovariate(1 / every_seconds)
        if at > seconds - QUIET_SECONDS:
            break
        (name,) = random.choices(names, [weights[each] for each in names])
        heal_after = SHORTEST_SECONDS + (LONGEST_SECONDS - SHORTEST_SECONDS) * random.random() ** 2
        strikes.append(Strike(round(at, 3), name, random.randrange(1 << 32), round(heal_after, 3)))
    return strikes
