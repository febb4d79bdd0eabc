"""The system's clocks, and times as records show them."""

import time
from datetime import datetime

import pytest

from transport.clock import SystemClock, iso


def test_the_clocks_are_the_machine_s() -> None:
    clock = SystemClock()
    before, wall = time.monotonic(), time.time()
    assert before <= clock.monotonic() <= time.monotonic()
    assert wall <= clock.wall() <= time.time()


async def test_sleeping_takes_monotonic_time() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.009


@pytest.mark.parametrize(
    ("wall", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000+00:00"),
        (1_794_960_286.25, "2026-11-18T00:04:46.250+00:00"),
        (1_794_960_286.9996, "2026-11-18T00:04:46.999+00:00"),
    ],
)
def test_times_are_utc_with_milliseconds(wall: float, text: str) -> None:
    assert iso(wall) == text
    assert abs(datetime.fromisoformat(text).timestamp() - wall) < 0.001
