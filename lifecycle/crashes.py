"""Runs of deaths: when an identity dies again and again, waking it must stop."""

import math
from typing import Final

from transport.clock import Clock
from transport.files import read_regular, write_atomic
from transport.identity import Identity
from transport.paths import Root

FILE_BYTES: Final = 1 << 16


class Crashes:
    """Times of death for each identity, kept in `state/<identity>.deaths` (wall seconds, one a line)."""

    def __init__(self, root: Root, clock: Clock, count: int, window_seconds: float) -> None:
        self._root = root
        self._clock = clock
        self._count = count
        self._window = window_seconds

    def _recent(self, identity: Identity) -> list[float]:
        try:
            data, _ = read_regular(self._root.flag(identity, "deaths"), limit=FILE_BYTES)
        except OSError:
            return []
        now = self._clock.wall()
        times = map(_seconds, data.decode("utf-8", "replace").split())
        return [at for at in times if now - self._window <= at <= now][-self._count :]

    def record(self, identity: Identity) -> bool:
        """Record a death now; tells whether this is a crash loop."""
        times = [*self._recent(identity), self._clock.wall()]
        write_atomic(self._root.flag(identity, "deaths"), "".join(f"{at:.3f}\n" for at in times))
        return len(times) >= self._count

    def forget(self, identity: Identity) -> None:
        """Forget the deaths of an identity: an operator started it, or it came up well."""
        self._root.flag(identity, "deaths").unlink(missing_ok=True)


def _seconds(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan
