"""What a profile is made of: steps that are timed without those inside them, and shares of processor time."""

import importlib
import time
from functools import reduce

import anyio.to_thread
import pytest

from bench.__main__ import main
from bench.profile import Found, shares
from bench.steps import COMMIT, HAND_OVER, WAKE, Step, breakdown
from bench.stopwatch import Sampler, Stopwatch


@pytest.mark.parametrize("place", sorted({step.place for step in (*HAND_OVER, *WAKE)}))
def test_each_step_is_something_that_is_called(place: str) -> None:
    module, _, path = place.partition(":")
    assert callable(reduce(getattr, path.split("."), importlib.import_module(module)))


async def test_a_step_is_timed_without_the_steps_inside_it() -> None:
    watch = Stopwatch()
    inner = watch.wrap("inner", lambda: time.sleep(0.05))

    async def work() -> None:
        await anyio.to_thread.run_sync(inner)

    await watch.wrap("outer", work)()
    took = {name: seconds for name, _, seconds in watch.laps}
    assert [name for name, _, _ in watch.laps] == ["inner", "outer"]
    assert took["inner"] >= 0.05
    (inner_began,) = [began for name, began, _ in watch.laps if name == "inner"]
    (outer_began,) = [began for name, began, _ in watch.laps if name == "outer"]
    whole = time.monotonic() - outer_began
    assert outer_began <= inner_began
    assert took["outer"] + took["inner"] <= whole


def test_what_fails_is_timed_and_fails() -> None:
    watch = Stopwatch()
    with pytest.raises(ZeroDivisionError):
        watch.wrap("fails", lambda: 1 // 0)()
    assert [name for name, _, _ in watch.laps] == ["fails"]


def test_samples_are_of_the_code_that_runs() -> None:
    sampler, until = Sampler(), time.monotonic() + 30

    def busy_here() -> bool:
        return any("busy_here" in stack[0] for stack in tuple(sampler.stacks))

    with sampler.running():
        while not busy_here() and time.monotonic() < until:
            pass
    assert busy_here()


def test_a_breakdown_tells_each_step_beside_its_floor_and_what_is_left() -> None:
    steps = (Step("a", "commits", COMMIT), Step("b", "looks"))
    laps = [("a", 1.0, 0.002), ("a", 1.1, 0.002), ("b", 1.2, 0.001), ("a", 9.0, 5.0)]
    lines = breakdown(steps, laps, [(0.995, 1.305)], {COMMIT: 0.0015}).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[2] == ["commits", "2", "4", "3", "1", COMMIT]
    assert cells[3] == ["looks", "1", "1", "", "1", ""]
    assert cells[4][2] == "305"
    assert cells[5][:3] == ["all of it", "", "310"]


def test_shares_are_of_what_ran_in_the_windows_and_waits_are_told_apart() -> None:
    stacks = [["json/encoder.py:iterencode", "transport/a.py:f", "mcp_server/app.py:serve"], ["selectors.py:select"]]
    text = shares(Found([], [(1.0, 0.3, 0), (1.1, 0.1, 1), (7.0, 9.0, 0)], stacks), [(0.0, 2.0)])
    assert "300 ms of processor at work, 100 ms around waits" in text
    assert "| 100 % | transport/a.py:f" in text
    assert "| 100 % | json/encoder.py:iterencode |" in text
    assert "serve" not in text


def test_nothing_sampled_is_no_share() -> None:
    assert "0 ms of processor" in shares(Found([], [], []), [(0.0, 1.0)])


def test_an_unknown_path_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["profile", "nothing"])
    assert end.value.code == 2
    assert "no path named nothing; there are: send, hand-over, wake" in capsys.readouterr().err
