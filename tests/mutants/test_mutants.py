"""Each mutant fits the product as it is, its killers exist, and docs/testing.md lists them all."""

import pytest

from tests.mutants.__main__ import Fate, judge
from tests.mutants.ground import FAILED, Outcome
from tests.mutants.mutant import TOP, DoesNotApply, Mutant, load, names_of_tests, table

MUTANTS = load()
PAGE = (TOP / "docs" / "testing.md").read_text("utf-8")
ONE = Mutant("one", "book", "a.py", "x = 1", "x = 2", "", ("tests/t.py::test_a", "tests/t.py::test_b"))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_product_and_its_killers_are_there(mutant: Mutant) -> None:
    source = (TOP / mutant.file).read_text("utf-8")
    changed = mutant.applied(source)
    assert changed != source
    compile(changed, mutant.file, "exec")
    assert mutant.why
    assert mutant.killers
    for killer in mutant.killers:
        path, _, name = killer.partition("::")
        assert name in names_of_tests((TOP / path).read_text("utf-8")), f"{path} has no test {name}"


def test_names_are_said_once_and_the_ten_that_matter_most_are_there() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names)
    assert {
        *("spool-without-fsync", "answer-before-the-commit", "no-lock-on-the-pane", "no-wake-lock"),
        *("no-supervisor-lock", "no-answer-is-death", "unknown-screen-is-ready", "submit-without-looking"),
        *("no-second-look", "repeated-without-looking", "stopped-is-ignored", "claim-wins-over-ancestry"),
    } <= set(names)


def test_the_page_lists_them_all() -> None:
    assert table(MUTANTS) in PAGE, "docs/testing.md differs: put the output of scripts/mutants --table there"


def outcome(status: int | None, *failed: str, passed: str = "", is_skipped: bool = False) -> Outcome:
    return Outcome(status, frozenset(failed), frozenset(passed.split()), is_skipped, "")


@pytest.mark.parametrize(
    ("seen", "fate"),
    [
        (outcome(1, "tests/t.py::test_a", "tests/t.py::test_b[x]"), Fate.KILLED),
        (outcome(1, "tests/t.py::test_a", "tests/t.py::test_bb"), Fate.UNSEEN),
        (outcome(1, "tests/t.py::test_other"), Fate.SURVIVED),
        (outcome(0), Fate.SURVIVED),
        (outcome(0, is_skipped=True), Fate.NOT_RUN),
        (outcome(1, "tests/t.py::test_a", is_skipped=True), Fate.KILLED),
        (outcome(1, "tests/t.py::test_a", passed="tests/t.py::test_b[x]", is_skipped=True), Fate.UNSEEN),
        (outcome(0, passed="tests/t.py::test_a tests/t.py::test_b", is_skipped=True), Fate.SURVIVED),
        (outcome(2, "tests/t.py"), Fate.NOT_RUN),
        (outcome(4), Fate.NOT_RUN),
        (outcome(None, "tests/t.py::test_a"), Fate.HUNG),
    ],
)
def test_only_its_own_tests_that_fail_kill_a_mutant(seen: Outcome, fate: Fate) -> None:
    assert judge(ONE, seen)[0] is fate


def test_a_test_that_could_not_begin_kills_nothing() -> None:
    printed = "FAILED tests/t.py::test_a - AssertionError\nERROR tests/t.py::test_b - OSError\nERROR tests/t.py\n"
    assert FAILED.findall(printed) == ["tests/t.py::test_a"]


def test_a_mutant_applies_once_or_not_at_all() -> None:
    assert ONE.applied("x = 1\ny = 1\n") == "x = 2\ny = 1\n"
    for source in ("y = 1\n", "x = 1\nx = 1\n"):
        with pytest.raises(DoesNotApply, match=r"a\.py"):
            ONE.applied(source)


def test_names_of_tests_are_found() -> None:
    source = "def test_a() -> None: ...\nasync def test_b(x: int) -> None: ...\n    def test_c(): ...\n# test_d(\n"
    assert names_of_tests(source) == {"test_a", "test_b"}
