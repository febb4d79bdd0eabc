"""Ages by a wall clock that jumps: nothing becomes old by a jump."""

from hypothesis import given
from hypothesis import strategies as st

from lifecycle.steady import SteadyWall
from tests.clock import FakeClock

DAY = 86_400.0


def test_without_a_jump_it_is_the_wall_clock() -> None:
    clock = FakeClock()
    steady = SteadyWall(clock)
    for _ in range(100):
        clock.now += 60
        clock.epoch += 0.01
        steady.look()
    assert steady.now(DAY) == clock.wall()


def test_a_jump_forward_ages_nothing_that_was_there_before() -> None:
    clock = FakeClock()
    steady = SteadyWall(clock)
    queued_at = clock.wall()
    clock.now += 60
    clock.epoch += 365 * DAY
    steady.look()
    assert steady.now(DAY) - DAY < queued_at
    after = clock.wall()
    for _ in range(60 * 24 - 1):
        clock.now += 60
        steady.look()
    assert steady.now(DAY) - DAY < after
    clock.now += 120
    steady.look()
    assert steady.now(DAY) - DAY > queued_at
    assert steady.now(DAY) - DAY > after


def test_a_jump_back_makes_nothing_older() -> None:
    clock = FakeClock()
    steady = SteadyWall(clock)
    clock.now += 60
    clock.epoch -= 10 * DAY
    steady.look()
    assert steady.now(DAY) == clock.wall()


def test_what_is_older_is_so_by_its_own_age_and_by_no_jump() -> None:
    clock = FakeClock()
    steady = SteadyWall(clock)
    began = clock.wall()
    clock.epoch += 10 * DAY
    assert not steady.is_older(began, 60)
    clock.now += 61
    assert steady.is_older(began, 60)


@given(st.lists(st.tuples(st.floats(1, 600), st.floats(-40 * DAY, 40 * DAY)), max_size=12), st.floats(60, 3 * DAY))
def test_nothing_is_older_than_it_has_been_there(steps: list[tuple[float, float]], age: float) -> None:
    """Whenever something was written down, it is not older than `age` before `age` has passed."""
    clock = FakeClock()
    steady = SteadyWall(clock)
    written: list[tuple[float, float]] = []
    for seconds, jump in steps:
        written.append((clock.wall(), clock.monotonic()))
        clock.now += seconds
        clock.epoch += jump
        steady.look()
        for wall, monotonic in written:
            if wall < steady.now(age) - age - 1:
                assert clock.monotonic() - monotonic >= age - 11 * len(steps)
