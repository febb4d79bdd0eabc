"""Runs of deaths, over restarts and whatever the file holds."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle.crashes import Crashes
from tests.clock import FakeClock
from transport.identity import Identity
from transport.paths import Root

ALICE = Identity("scripted", "alice")


def crashes(root: Root, clock: FakeClock, count: int = 3) -> Crashes:
    return Crashes(root, clock, count, 300)


def test_the_third_death_in_the_window_is_a_loop_also_over_restarts(root: Root) -> None:
    clock = FakeClock()
    assert not crashes(root, clock).record(ALICE)
    clock.now += 140
    assert not crashes(root, clock).record(ALICE)
    clock.now += 140
    assert crashes(root, clock).record(ALICE)


def test_deaths_out_of_the_window_do_not_count(root: Root) -> None:
    clock, found = FakeClock(), []
    for _ in range(6):
        found.append(crashes(root, clock).record(ALICE))
        clock.now += 200
    assert not any(found)


def test_a_bound_of_many_deaths_can_be_reached(root: Root) -> None:
    clock, kept = FakeClock(), crashes(root, FakeClock(), 40)
    del clock
    assert [kept.record(ALICE) for _ in range(41)] == [False] * 39 + [True, True]


def test_forgetting(root: Root) -> None:
    kept = crashes(root, FakeClock())
    for _ in range(2):
        kept.record(ALICE)
    kept.forget(ALICE)
    kept.forget(ALICE)
    assert not kept.record(ALICE)


def test_a_clock_set_back_does_not_count_the_future(root: Root) -> None:
    clock = FakeClock()
    kept = crashes(root, clock)
    kept.record(ALICE)
    kept.record(ALICE)
    clock.now -= 3600
    assert not kept.record(ALICE)


@given(st.binary(max_size=60))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_content_is_survived(root: Root, content: bytes) -> None:
    root.flag(ALICE, "deaths").write_bytes(content)
    assert isinstance(crashes(root, FakeClock()).record(ALICE), bool)


@pytest.mark.parametrize("content", ["²\n", "nan\ninf\n-inf\n", "1e400\n", "1_8\n", "x" * 100_000])
def test_odd_numbers_are_no_deaths(root: Root, content: str) -> None:
    root.flag(ALICE, "deaths").write_text(content)
    assert not crashes(root, FakeClock()).record(ALICE)


def test_a_fifo_blocks_nobody(root: Root) -> None:
    os.mkfifo(root.flag(ALICE, "deaths"))
    assert not crashes(root, FakeClock()).record(ALICE)
