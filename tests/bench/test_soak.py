"""What a soak says of what it saw."""

from dataclasses import replace

import pytest

from bench.rows import Row
from bench.soak import latencies, percentile
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


def test_latency_is_of_delivered_messages_after_the_warm_up() -> None:
    early = [sent(at, 9.0) for at in range(50)]
    first = [sent(100 + at, 0.010) for at in range(50)]
    last = [sent(400 + at, 0.020) for at in range(50)]
    (row,) = latencies([*early, *first, sent(450, 5.0, "queued"), *last], 100.0)
    assert (row.name, row.value) == ("mcp: send → receipt, median of the last window", pytest.approx(20.0))
    assert row.ratio == pytest.approx(2.0)
    assert row.note == "p95 10, then 20 ms; slowest 20 ms of 100"


def test_no_message_no_row() -> None:
    assert latencies([], 0.0) == []


def test_percentiles() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile(list(range(100)), 0.95) == 95
    assert percentile([1.0], 0.95) == 1.0


def test_the_rate_is_about_five_a_second_and_everybody_exists() -> None:
    found = ways(60.0)
    assert sum(1 / way.seconds for way in found) == pytest.approx(5.1, abs=0.2)
    assert {name for way in found for name in way.names} == set(RULES)
    assert set(SELDOM) < set(RULES)
