"""Exponents of growth."""

import pytest

from bench.fit import SLACK, Figure, Growth, exponent, judged, per_one

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


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(size, 10 + 0.1 * size) for size in SIZES], 0.74),
        ([(10, 225), (1_000, 232), (100_000, 341), (500_000, 806)], 0.53),
        ([(1, 10), (10, 10), (20, 14)], 0.08),
        ([(1, 1), (10, 10)], 1.0),
        ([(1, 1), (10, 10), (100, 10)], 0.5),
    ],
)
def test_the_last_step_counts_where_it_is_wide_and_steeper(points: list[tuple[float, float]], expected: float) -> None:
    assert judged(points) == pytest.approx(expected, abs=0.01)


def test_an_offset_does_not_hide_that_a_figure_grows() -> None:
    growth = Growth("settled messages", {"doctor": Figure("peerwake doctor", "ms", 0)})
    for size, value in ((10, 225), (1_000, 232), (100_000, 341), (500_000, 806)):
        growth.add(size, {"doctor": value})
    (row,) = growth.rows()
    assert row.is_met is False


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
    assert row.note == "10: 2, 1,000: 4 ms; all of it 0.15, last step 0.15; 0.002 ms for each more"


def test_an_unknown_figure_is_refused() -> None:
    with pytest.raises(KeyError, match="no figure of peers"):
        Growth("peers", {}).add(1, {"list": 1.0})
