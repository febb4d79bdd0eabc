"""What a soak says of what it saw."""

from dataclasses import replace

import pytest

from bench.rows import Row
from bench.soak_floors import APPEND, PASTE, PYTHON, Floor, medians, under
from bench.soak_latency import floor_rows, latencies, percentile
from bench.soak_samples import Sample, rows
from bench.soak_traffic import RULES, SELDOM, Sent, ways

ONE = Sample(0, 80.0, 60.0, 70.0, 40, 8, 3, 5, 1.0, 0.5, 2.0, 0.0)


def row_of(found: list[Row], name: str) -> Row:
    (row,) = [row for row in found if row.name == name]
    return row


def leaking(per_second: float) -> list[Sample]:
    return [replace(ONE, at=float(at), resident=80 + per_second * at, processor=at / 50) for at in range(0, 601, 5)]


def test_a_leak_is_told_by_its_slope_and_its_end() -> None:
    row = row_of(rows(leaking(0.01), 120.0), "resident memory of the server")
    assert row.value == pytest.approx(80 + 0.01 * 570)
    assert row.ratio == pytest.approx((80 + 5.7) / (80 + 1.5))
    assert row.note.startswith("+36 MiB an hour, +36 in the second half; 81.2 … 86 in 97 looks")
    assert row.is_met is True
    assert row_of(rows(leaking(0.1), 120.0), "resident memory of the server").is_met is False
    assert row_of(rows(leaking(0.1), 120.0), "the spool's files").is_met is None


def test_what_stays_has_no_slope() -> None:
    found = rows(leaking(0.0), 120.0)
    assert row_of(found, "resident memory of the server").note.startswith("+0 MiB an hour, +0 in")
    assert row_of(found, "processor of the server").value == pytest.approx(2.0)


def test_what_filled_up_and_stays_is_told_from_a_leak() -> None:
    filling = [replace(ONE, at=float(at), resident=min(90.0, 80 + at / 20)) for at in range(0, 801, 5)]
    assert ", +0 in the second half" in row_of(rows(filling, 0.0), "resident memory of the server").note


def test_a_soak_that_ended_in_its_warm_up_still_says_something() -> None:
    assert row_of(rows([ONE], 120.0), "descriptors of the server").value == 40


def sent(at: float, seconds: float, status: str = "delivered") -> Sent:
    return Sent("mcp", at, seconds, status, f"m{at}")


def pastes(*windows: tuple[float, float]) -> list[Floor]:
    return [Floor(PASTE, start + at, seconds) for start, seconds in windows for at in range(50)]


EARLY = [sent(at, 9.0) for at in range(50)]
FIRST = [sent(100 + at, 0.010) for at in range(50)]
LAST = [sent(400 + at, 0.020) for at in range(50)]
ALL = [*EARLY, *FIRST, sent(450, 5.0, "queued"), *LAST]


def test_latency_is_of_delivered_messages_after_the_warm_up_beside_the_floor_of_its_window() -> None:
    row, aged = latencies(ALL, pastes((0, 1.0), (100, 0.002), (400, 0.004)), 100.0)
    assert row.name == "mcp: send → receipt, median of the last window"
    assert row.value == pytest.approx(20.0)
    assert row.ratio == pytest.approx(5.0)
    assert row.of == "paste + Enter → transcript, same window"
    assert row.note == ("first 10 ms = 5 × 2 ms, p95 10 ms; last 20 ms = 5 × 4 ms, p95 20 ms; slowest 20 ms of 100")
    assert aged.value == pytest.approx(1.0)


def test_a_server_that_ages_on_a_machine_that_does_not_is_told() -> None:
    _, aged = latencies(ALL, pastes((100, 0.002), (400, 0.002)), 100.0)
    assert aged.name == "mcp: the last window beside the first, each by its floor"
    assert aged.value == pytest.approx(2.0)
    assert aged.is_met is False


def test_windows_that_overlap_are_not_held_against_each_other() -> None:
    assert len(latencies(FIRST, pastes((100, 0.002)), 100.0)) == 1


def test_without_a_floor_no_ratio() -> None:
    (row,) = latencies(ALL, [Floor(APPEND, 110.0, 0.001)], 100.0)
    assert row.ratio is None
    assert "no floor" in row.note


def test_a_way_stands_on_all_of_its_floors() -> None:
    window = medians([Floor(PASTE, 1, 0.3), Floor(PASTE, 2, 0.1), Floor(PASTE, 3, 0.2), Floor(PASTE, 9, 5.0)], 0, 5)
    assert under("mcp", window) == pytest.approx(0.2)
    assert under("command", window) is None
    assert under("command", window | {PYTHON: 0.5}) == pytest.approx(0.7)


def test_the_floors_of_the_last_window_stand_beside_the_first() -> None:
    (row,) = floor_rows(pastes((0, 1.0), (100, 0.002), (400, 0.006)), 100.0)
    assert row.value == pytest.approx(6.0)
    assert row.ratio == pytest.approx(3.0)


def test_no_message_no_row() -> None:
    assert latencies([], [], 0.0) == []
    assert floor_rows([], 0.0) == []


def test_percentiles() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile(list(range(100)), 0.95) == 95
    assert percentile([1.0], 0.95) == 1.0


def test_the_rate_is_about_five_a_second_and_everybody_exists() -> None:
    found = ways(60.0)
    assert sum(1 / way.seconds for way in found) == pytest.approx(5.1, abs=0.2)
    assert {name for way in found for name in way.names} == set(RULES)
    assert set(SELDOM) < set(RULES)
