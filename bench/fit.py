"""How a figure grows with a size: the exponent of a power of it, fitted through what was measured."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bench.rows import Row
from bench.terms import Bound, Side, number

SLACK: Final = 0.25
"""A figure that does not grow is measured with an exponent somewhat beside 0."""
STEP: Final = 4.0
"""A last step to fewer times the size than this tells more of the noise than of the growth."""
Point = tuple[float, float]


def exponent(points: Sequence[Point]) -> float:
    """Return the slope of a straight line through the logarithms: 0 for constant, 1 for proportional.

    Points with a size or a value of 0 or less are left out; with fewer than two left it is 0.
    """
    logs = [(math.log(size), math.log(value)) for size, value in points if size > 0 and value > 0]
    if len({x for x, _ in logs}) < 2:
        return 0.0
    middle_x, middle_y = (sum(each) / len(logs) for each in zip(*logs, strict=True))
    above = sum((x - middle_x) * (y - middle_y) for x, y in logs)
    return float(above / sum((x - middle_x) ** 2 for x, _ in logs))


def per_one(points: Sequence[Point]) -> float:
    """Return the slope of a straight line through the points themselves, by least squares; 0 for fewer than two."""
    if len({x for x, _ in points}) < 2:
        return 0.0
    middle_x, middle_y = (sum(each) / len(points) for each in zip(*points, strict=True))
    above = sum((x - middle_x) * (y - middle_y) for x, y in points)
    return float(above / sum((x - middle_x) ** 2 for x, _ in points))


def judged(points: Sequence[Point]) -> float:
    """Return the greater of the exponents of all points and of the last step: an offset hides growth at small sizes."""
    whole = exponent(points)
    if len(points) < 3 or points[-1][0] < STEP * points[-2][0]:
        return whole
    return max(whole, exponent(points[-2:]))


@dataclass(frozen=True, slots=True)
class Figure:
    """What is measured at each size, and the greatest exponent that is right for it; `why` where that is not plain."""

    name: str
    unit: str
    expected: float
    why: str = ""


@dataclass(slots=True)
class Growth:
    """The figures of one kind of size, as they come."""

    of: str
    figures: Mapping[str, Figure]
    points: dict[str, list[Point]] = field(default_factory=dict)

    def add(self, size: float, values: Mapping[str, float]) -> None:
        """Take the values that were measured at one size, by the figures' keys."""
        for key, value in values.items():
            if key not in self.figures:
                raise KeyError(f"{key} is no figure of {self.of}")
            self.points.setdefault(key, []).append((size, value))

    def rows(self) -> list[Row]:
        """Return a row for each figure: its exponent as judged, what is right and some slack, and the points."""
        return [self._row(self.figures[key], points) for key, points in self.points.items()]

    def _row(self, figure: Figure, points: Sequence[Point]) -> Row:
        shown = ", ".join(f"{number(size)}: {number(value)}" for size, value in points)
        told = [
            f"{shown} {figure.unit}".strip(),
            f"all of it {exponent(points):.2f}, last step {exponent(points[-2:]):.2f}",
            f"{per_one(points):.2g} {figure.unit} for each more",
            *([figure.why] if figure.why else []),
        ]
        least, most = points[0][1], points[-1][1]
        return Row(
            f"{self.of}: {figure.name}",
            round(judged(points), 2),
            "",
            Bound(Side.AT_MOST, figure.expected + SLACK),
            most / least if least > 0 else None,
            "the smallest size",
            "; ".join(told),
        )
