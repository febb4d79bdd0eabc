"""What was seen of sessions from outside, and what the product wrote down of their ends. Imports nothing of ours."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

FULL_SECONDS: Final = 10.0


@dataclass(slots=True)
class Life:
    """One session as its record named it; `gone_at` is when its client was seen to run no more, in wall seconds."""

    identity: str
    tmux: int
    agent: int
    gone_at: float | None = None


@dataclass(slots=True)
class Span:
    """A time in which something was seen to hold without a break, in wall seconds."""

    identity: str
    began: float
    ended: float

    def holds(self, began: float, ended: float) -> bool:
        """Tell whether all of another time lies within it."""
        return self.began < began and ended < self.ended


@dataclass(frozen=True, slots=True)
class Line:
    """One line about an end: `kind` is its event, `tmux` the server's pid, `why` the cause of it or the reason.

    `started` tells it from a server that had the same pid before; the line of a close does not say.
    """

    kind: str
    identity: str
    tmux: int
    why: str
    started: str = ""


@dataclass(slots=True)
class Sightings:
    """Everything that was seen.

    `flagged` are the times with a stop flag, `stops` those parts of them in which no client ran any more, `failed` the
    times with the flag of a crash loop. `blows` are the pids that were killed on purpose, `flags` all flags that were
    set on purpose. `untold` counts the sessions of which was written down that they did not take what they were told
    first. `full_at` is when no room was left on the disk: then nothing can be written down.
    """

    lives: list[Life] = field(default_factory=list)
    flagged: list[Span] = field(default_factory=list)
    stops: list[Span] = field(default_factory=list)
    failed: list[Span] = field(default_factory=list)
    lines: Sequence[Line] = ()
    blows: Mapping[int, str] = field(default_factory=dict)
    flags: Mapping[str, frozenset[str]] = field(default_factory=dict)
    full_at: list[float] = field(default_factory=list)
    untold: Counter[str] = field(default_factory=Counter)

    def was_full(self, at: float) -> bool:
        """Tell whether a line of that moment may be missing for want of room."""
        return any(abs(at - full) < FULL_SECONDS for full in self.full_at)
