"""Exponents of growth."""

import pytest

from bench.fit import SLACK, Figure, Growth, exponent, per_one

SIZES = [1, 10, 100, 1_000]


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_a_power_law_gives_its_exponent(power: float) -> None:
    assert exponent([(size, 3.0 * size**power) for size in SIZES]) == pytest.approx(power)


def test_a_constant_beside_growth_lowers_the_exponent_but_not_of_the_last_step() -> None:
    points = [(size, 10 + 0.1 * size) for size in SIZES]
    assert exponent(points) < 0.6
    assert exponent(points[-2:]) == pytest.approx(0.74, abs=0.01)


@pytest.mark.parametrize("points", [[], [(1, 2)], [(1, 2), (1, 3)], [(1, 0), (10, 0)], [(0, 1), (5, 7)]])
def test_nothing_to_fit_is_no_growth(points: list[tuple[float, float]]) -> None:
    assert exponent(points) == 0.0


def test_the_slope_is_for_each_one_more() -> None:
    assert per_one([(size, 5 + 0.25 * size) for size in SIZES]) == pytest.approx(0.25)
    assert per_one([(3, 1)]) == 0.0


def grown(expected: float, power: float) -> bool | None:
    growth = Growth("peers", {"list": Figure("peerwake list", "ms", expected)})
    for size in SIZES:
        growth.add(size, {"list": 2.0 * size**power})
    (row,) = growth.rows()
    return row.is_met


@pytest.mark.parametrize(
    ("expected", "power", "is_met"),
    [(0, 0, True), (0, SLACK - 0.05, True), (0, SLACK + 0.05, False), (1, 1, True), (1, 1.5, False), (1, 0, True)],
)
def test_growing_faster_than_right_is_not_met(expected: float, power: float, is_met: bool) -> None:
    assert grown(expected, power) is is_met


def test_a_row_tells_the_points_and_the_factor() -> None:
    growth = Growth("peers", {"list": Figure("peerwake list", "ms", 0)})
    growth.add(10, {"list": 2.0})
    growth.add(1_000, {"list": 4.0})
    (row,) = growth.rows()
    assert row.name == "peers: peerwake list"
    assert row.value == pytest.approx(0.15)
    assert (row.ratio, row.of) == (2.0, "the smallest size")
    assert row.note == "10: 2, 1,000: 4 ms; last step 0.15; 0.002 ms for each more"


def test_an_unknown_figure_is_refused() -> None:
    with pytest.raises(KeyError, match="no figure of peers"):
        Growth("peers", {}).add(1, {"list": 1.0})
