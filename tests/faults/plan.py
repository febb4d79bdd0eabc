"""What strikes when and for how long: a pure function of the seed, the faults there are, their weights and the pace.

A fault that is added, renamed or weighted anew changes the plan of every seed, and so does another pace; a plan that
is to stay is kept as a file (`plan_file`). What a run makes of a plan is never quite the same: which process runs
when, and so where exactly a fault strikes, differs. Each message has dice of its own (`actor`), so that its body and
its wishes do not depend on what befell those before it; whom it goes to depends also on who has room then, and how
many there are on how fast they are taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final

SHORTEST_SECONDS: Final = 0.2
LONGEST_SECONDS: Final = 5.0
QUIET_SECONDS: Final = 1.0
POSTS_SHARE: Final = 0.15
WORKERS_SHARE: Final = 0.1


class Whom(StrEnum):
    """Whose session is struck, if the fault is one of sessions: who gets messages, or who sends and gets notices.

    Workers are recipients too; where they alone are meant, a session of theirs is waited for.
    """

    RECIPIENTS = "recipients"
    POSTS = "posts"
    WORKERS = "workers"


@dataclass(frozen=True, slots=True)
class Strike:
    """One blow: seconds after the start, the fault's name, a seed for its choices, seconds until it is healed."""

    at: float
    fault: str
    seed: int
    heal_after: float
    whom: Whom = Whom.RECIPIENTS

    def __str__(self) -> str:
        whom = "" if self.whom is Whom.RECIPIENTS else f", at the {self.whom}"
        return f"{self.at:8.2f} s  {self.fault}{whom}, healed after {self.heal_after:.2f} s (seed {self.seed})"


@dataclass(frozen=True, slots=True)
class Plan:
    """The blows of a run of so many seconds; `seed` is that of everything else in it."""

    seed: int
    seconds: float
    strikes: tuple[Strike, ...] = ()


def actor(seed: int, name: str) -> Random:
    """Return the dice of one actor of a run."""
    return Random(f"{seed}/{name}")


def plan(seed: int, seconds: float, every_seconds: float, weights: Mapping[str, float]) -> list[Strike]:
    """Return the blows of a run, one in `every_seconds` on average; the first and the last second are quiet."""
    random, names, posts = actor(seed, "plan"), sorted(weights), actor(seed, "posts")
    at, strikes = QUIET_SECONDS, []
    while names:
        at += random.expovariate(1 / every_seconds)
        if at > seconds - QUIET_SECONDS:
            break
        (name,) = random.choices(names, [weights[each] for each in names])
        heal_after = SHORTEST_SECONDS + (LONGEST_SECONDS - SHORTEST_SECONDS) * random.random() ** 2
        whom = _whom(posts.random())
        strikes.append(Strike(round(at, 3), name, random.randrange(1 << 32), round(heal_after, 3), whom))
    return strikes


def _whom(share: float) -> Whom:
    if share < POSTS_SHARE:
        return Whom.POSTS
    return Whom.WORKERS if share < POSTS_SHARE + WORKERS_SHARE else Whom.RECIPIENTS


def targets(strike: Strike, now: float, patience: float) -> tuple[Whom, ...]:
    """Return whose sessions are looked at in turn: recipients last, and in place of workers only after a while."""
    if strike.whom is Whom.WORKERS and now < strike.at + patience:
        return (Whom.WORKERS,)
    return tuple(dict.fromkeys((strike.whom, Whom.RECIPIENTS)))
