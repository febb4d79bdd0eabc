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


def test_a_jump_forward_that_is_put_right_is_over() -> None:
    clock = FakeClock()
    steady = SteadyWall(clock)
    before = clock.wall()
    for jump in (365 * DAY, -365 * DAY):
        clock.now += 60
        clock.epoch += jump
        steady.look()
    after = clock.wall()
    clock.now += DAY - 60
    assert steady.is_older(before, DAY)
    assert not steady.is_older(after, DAY)
    clock.now += 61
    assert steady.is_older(after, DAY)


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
    """What was written down is not older than `age` before `age` has passed, and what came after all jumps is then."""
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
    last, slack = clock.wall(), 11 * len(steps)
    clock.now += age + slack + 1
    assert steady.is_older(last, age)
