"""How fast messages were at the end of a soak and at its start, each beside the floor of its own minute."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.rows import Row
from bench.soak_floors import SHOWN, UNDER, Floor, medians, under
from bench.soak_traffic import Sent
from bench.terms import at_most, number

WINDOW_SECONDS: Final = 60.0
YOUNG: Final = at_most(1.5)


@dataclass(frozen=True, slots=True)
class Window:
    """One way of sending in one minute: seconds of its messages, and of the floor under them."""

    seconds: Sequence[float]
    floor: float | None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def ratio(self) -> float | None:
        """Return how many times its floor a message took."""
        return self.median / self.floor if self.floor else None

    def __str__(self) -> str:
        floor = "no floor" if self.floor is None else f"{number(self.ratio or 0)} × {number(self.floor * 1e3)} ms"
        late = number(percentile(self.seconds, 0.95) * 1e3)
        return f"{number(self.median * 1e3)} ms = {floor}, p95 {late} ms"


def latencies(sent: Sequence[Sent], floors: Sequence[Floor], warm_up: float) -> list[Row]:
    """Return two rows for each way: the last window beside its floor, and that ratio beside the first window's."""
    found = []
    for way in UNDER:
        mine = [each for each in sent if each.way == way and each.status == "delivered" and each.at >= warm_up]
        if mine:
            found += _rows(way, mine, floors)
    return found


def _rows(way: str, mine: Sequence[Sent], floors: Sequence[Floor]) -> list[Row]:
    start, end = mine[0].at, mine[-1].at
    first = _window(way, mine, floors, start, start + WINDOW_SECONDS)
    last = _window(way, mine, floors, end - WINDOW_SECONDS, end)
    worst = max(each.seconds for each in mine) * 1e3
    note = f"first {first}; last {last}; slowest {number(worst)} ms of {len(mine)}"
    of, name = f"{' and '.join(UNDER[way])}, same window", f"{way}: send → receipt, median of the last window"
    found = [Row(name, last.median * 1e3, "ms", None, last.ratio, of, note)]
    if first.ratio and last.ratio and end - start >= 2 * WINDOW_SECONDS:
        aged = last.ratio / first.ratio
        found.append(Row(f"{way}: the last window beside the first, each by its floor", aged, "×", YOUNG))
    return found


def _window(way: str, mine: Sequence[Sent], floors: Sequence[Floor], since: float, until: float) -> Window:
    seconds = [each.seconds for each in mine if since <= each.at <= until]
    return Window(seconds, under(way, medians(floors, since, until)))


def floor_rows(floors: Sequence[Floor], warm_up: float) -> list[Row]:
    """Return what the machine itself did in the last window, beside the first: what has nothing to do with us."""
    after = [floor for floor in floors if floor.at >= warm_up]
    if not after:
        return []
    start, end = after[0].at, after[-1].at
    first, last = medians(after, start, start + WINDOW_SECONDS), medians(after, end - WINDOW_SECONDS, end)
    return [
        Row(
            f"floor: {kind}, median of the last window",
            last[kind] * 1e3,
            "ms",
            None,
            last[kind] / first[kind],
            f"{number(first[kind] * 1e3)} ms in the first",
            f"{sum(floor.kind == kind for floor in after)} times",
        )
        for kind in SHOWN
        if kind in first and kind in last
    ]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of the values lies; raises IndexError without values."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
