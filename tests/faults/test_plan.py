"""The same seed gives the same plan and the same choices; another one gives others."""

from collections import Counter
from pathlib import Path

import pytest

from tests.faults.__main__ import main
from tests.faults.bodies import compose
from tests.faults.fault import Fault, Peer
from tests.faults.operator import Operator
from tests.faults.plan import LONGEST_SECONDS, SHORTEST_SECONDS, Plan, Strike, Whom, actor, plan, targets
from tests.faults.plan_file import PlanUnreadable, parse, render
from tests.faults.scores import Scores
from tests.faults.senders import Wish, wish
from tests.faults.table import faults, weight
from tests.faults.test_seeds import MUST_STRIKE, ORDINARY, PLANS, SMALL_DISK
from tests.live.world import World
from transport.paths import Root

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


def test_a_share_of_the_strikes_is_for_posts_and_for_workers() -> None:
    counts = Counter(strike.whom for strike in plan(1, 6000, 2, WEIGHTS))
    shares = [counts[whom] / sum(counts.values()) for whom in (Whom.POSTS, Whom.WORKERS)]
    assert 0.13 < shares[0] < 0.17 and 0.08 < shares[1] < 0.12


def test_a_session_of_a_worker_is_waited_for_before_another_is_struck() -> None:
    strike = Strike(10.0, "one", 7, 0.5, Whom.WORKERS)
    assert targets(strike, 13.9, 4.0) == (Whom.WORKERS,)
    assert targets(strike, 14.0, 4.0) == (Whom.WORKERS, Whom.RECIPIENTS)
    assert targets(Strike(10.0, "one", 7, 0.5, Whom.POSTS), 10.0, 4.0) == (Whom.POSTS, Whom.RECIPIENTS)
    assert targets(Strike(10.0, "one", 7, 0.5), 10.0, 4.0) == (Whom.RECIPIENTS,)


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


def _wish(number: int) -> Wish:
    peers = [Peer(f"peer{each}", f"scripted-peer{each}", "warm", Path("/")) for each in range(4)]
    post = Peer("via-http", "scripted-via-http", "warm", Path("/"))
    return wish(actor(1, f"http0/{number}"), peers, [post], f"http0-{number}")


def test_a_message_is_the_same_whatever_befell_those_before_it() -> None:
    assert [_wish(number) for number in (1, 2, 3)] == [_wish(number) for number in (3, 2, 1)][::-1]
    assert _wish(1) != _wish(2)


def test_what_is_relayed_goes_to_another_one_and_to_posts_too() -> None:
    relays = [each for each in map(_wish, range(2000)) if each.deed == "relay"]
    told = {(peer.name, each.body(peer, "m").split()[2]) for each in relays for peer in each.order}
    assert "via-http" in {name for _, name in told}
    assert all(peer != name for peer, name in told)


def test_a_plan_comes_back_from_its_file() -> None:
    strikes = (Strike(1.25, "two words", 7, 0.5), Strike(2.0, "one", 1 << 31, 4.875, Whom.POSTS))
    there = Plan(9, 19.98, strikes)
    assert parse(render(there)) == there
    assert parse(f"# why\n\n{render(there)}") == there


@pytest.mark.parametrize("line", ["1.0 2.0 x recipients one", "1.0 2.0 3 nobody one", "1.0 2.0 3", "seed", "seed x"])
def test_a_line_that_is_none_is_named(line: str) -> None:
    with pytest.raises(PlanUnreadable, match="line"):
        parse(f"seconds 1\n{line}\n")


def test_a_plan_is_saved_and_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "plan.txt"
    assert main(["--seed", "5", "--plan-only", "--save-plan", str(saved)]) == 0
    first = capsys.readouterr().out
    assert main(["--plan", str(saved), "--every", "9", "--plan-only"]) == 0
    assert capsys.readouterr().out == first
    assert parse(saved.read_text()).seed == 5


def test_a_plan_with_a_fault_that_is_gone_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "plan.txt"
    saved.write_text(render(Plan(1, 20, (Strike(1, "gone since", 1, 1),))))
    with pytest.raises(SystemExit):
        main(["--plan", str(saved)])
    assert "gone since" in capsys.readouterr().err


def test_what_missed_is_told() -> None:
    scores = Scores()
    scores.planned.update(["a", "a", "b", "c", "d"])
    scores.struck.update(["a", "b", "c"])
    for name, hits in (("a", None), ("b", 3), ("c", 0)):
        scores.healed(name, hits)
    assert scores.missed() == ["c", "d"]
    told = "\n".join(scores.lines())
    assert "a (1 more found nothing to strike)" in told and "b (3 hits)" in told
    assert "c (0 hits, 1 hit nothing)" in told and "missed each time: c, d" in told


def test_what_ci_runs_has_every_kind_of_fault() -> None:
    """As root and, but for the full disk, as anybody else; a new fault needs a place in one of those plans."""
    there = {path.stem: parse(path.read_text("utf-8")) for path in PLANS.glob("*.txt")}
    assert sorted(there) == sorted((*ORDINARY, *SMALL_DISK))
    kinds = {name: {strike.fault for strike in each.strikes} for name, each in there.items()}
    assert set().union(*(kinds[name] for name in ORDINARY)) == set(faults()) - {"disk full"}
    for name, wanted in MUST_STRIKE.items():
        strikes = Counter(strike.fault for strike in there[name].strikes)
        assert all(strikes[fault] >= count for fault, count in wanted.items())
    assert all(each.seconds <= 20 for each in there.values())


@pytest.mark.parametrize("name", ["every-kind-1", "every-kind-2"])
def test_faults_of_a_standby_are_planned_where_there_is_one(name: str) -> None:
    found = parse((PLANS / f"{name}.txt").read_text("utf-8"))
    assert any(strike.fault.startswith("standby") for strike in found.strikes)
    assert Operator(World(Root(Path("/nowhere"))), found.seed).wanted == 2
