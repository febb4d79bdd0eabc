"""Runs of deaths: when an identity dies again and again, waking it must stop."""

from transport.clock import Clock
from transport.files import write_atomic
from transport.identity import Identity
from transport.paths import Root


class Crashes:
    """Times of death for each identity, kept in `state/<identity>.deaths` (wall seconds, one a line)."""

    def __init__(self, root: Root, clock: Clock, count: int, window_seconds: float) -> None:
        self._root = root
        self._clock = clock
        self._count = count
        self._window = window_seconds

    def _recent(self, identity: Identity) -> list[float]:
        try:
            lines = self._root.flag(identity, "deaths").read_text("utf-8", "replace").split()
        except OSError:
            return []
        now = self._clock.wall()
        times = [float(line) for line in lines[-20:] if line.replace(".", "", 1).isdigit()]
        return [at for at in times if now - self._window <= at <= now]

    def record(self, identity: Identity) -> bool:
        """Record a death now; tells whether this is a crash loop."""
        times = [*self._recent(identity), self._clock.wall()]
        write_atomic(self._root.flag(identity, "deaths"), "".join(f"{at:.3f}\n" for at in times))
        return len(times) >= self._count

    def forget(self, identity: Identity) -> None:
        """Forget the deaths of an identity: an operator started it, or it came up well."""
        self._root.flag(identity, "deaths").unlink(missing_ok=True)
