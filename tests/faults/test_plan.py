"""The same seed gives the same plan and the same choices; another one gives others."""

import pytest

from tests.faults.__main__ import main
from tests.faults.bodies import compose
from tests.faults.fault import Fault
from tests.faults.plan import LONGEST_SECONDS, SHORTEST_SECONDS, actor, plan
from tests.faults.table import faults, weight

WEIGHTS = {"one": 1.0, "two": 3.0}


def test_a_plan_is_a_function_of_its_seed() -> None:
    assert plan(7, 60, 2, WEIGHTS) == plan(7, 60, 2, dict(reversed(WEIGHTS.items())))
    assert plan(7, 60, 2, WEIGHTS) != plan(8, 60, 2, WEIGHTS)


def test_a_plan_strikes_in_its_time_and_in_its_order() -> None:
    strikes = plan(1, 600, 2, WEIGHTS)
    times = [strike.at for strike in strikes]
    assert times == sorted(times) and times[0] > 1 and times[-1] < 599
    assert 240 < len(strikes) < 360
    assert all(SHORTEST_SECONDS <= strike.heal_after <= LONGEST_SECONDS for strike in strikes)
    count = sum(strike.fault == "two" for strike in strikes)
    assert 0.65 < count / len(strikes) < 0.85


def test_a_longer_run_begins_as_the_shorter_one() -> None:
    short = plan(3, 30, 1, WEIGHTS)
    assert plan(3, 60, 1, WEIGHTS)[: len(short)] == short


def test_each_actor_has_dice_of_its_own() -> None:
    assert actor(1, "sender a").random() == actor(1, "sender a").random()
    assert actor(1, "sender a").random() != actor(1, "sender b").random()
    assert [compose(actor(1, "s"), "m") for _ in range(3)] == [compose(actor(1, "s"), "m") for _ in range(3)]


def test_every_fault_has_a_name_and_a_weight() -> None:
    found = faults()
    assert all(name == fault.name and weight(fault) > 0 for name, fault in found.items())
    assert all(_is_fault(fault) for fault in found.values())


def _is_fault(fault: Fault) -> bool:
    return callable(fault.strike) and bool(fault.name)


def test_the_plan_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--seed", "5", "--minutes", "1", "--plan-only"]
    assert main(words) == 0
    first = capsys.readouterr().out
    assert main(words) == 0
    assert capsys.readouterr().out == first
    assert len(first.splitlines()) > 10


def test_a_fault_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "no such fault"])
    assert "server killed" in capsys.readouterr().err
