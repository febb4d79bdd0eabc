"""The contract's table: every number of it, in its order, met or not."""

import pytest

from bench.contract import MODULES, QUICK, answers, compose, section, summary, unmet
from bench.rows import Row, answer, not_run
from bench.terms import NUMBERS, OWN, PROCESSES, TERMS

ROWS = [
    answer("wake", 81.6, ratio=2.8, of="bare"),
    Row("of that, start", 67.0, "ms"),
    answer("send.idle", 24.0),
    not_run("cli.ps", "there is no such command"),
    answer("started.cli", 1.0),
]


def test_every_term_has_a_row_in_the_order_of_the_contract_and_ours_come_last() -> None:
    keys = [row.key for row in compose(ROWS)]
    groups = [TERMS[key].group for key in keys]
    assert sorted(keys) == sorted(TERMS)
    assert list(dict.fromkeys(groups)) == [NUMBERS, PROCESSES, OWN]
    for group in (NUMBERS, PROCESSES, OWN):
        ours = [key for key, term in TERMS.items() if term.group == group]
        assert [key for key in keys if TERMS[key].group == group] == ours


def test_what_nobody_measured_is_not_left_out() -> None:
    (row,) = [row for row in compose(ROWS) if row.key == "tick"]
    assert row.value is None
    assert "no benchmark of this run" in row.note


def test_two_answers_to_one_term_are_refused() -> None:
    with pytest.raises(ValueError, match="two rows answer wake"):
        answers([*ROWS, answer("wake", 1.0)])


def test_what_is_not_met_is_what_was_measured_and_lies_beyond() -> None:
    assert [row.key for row in unmet(ROWS)] == ["send.idle"]


def test_the_summary_counts_every_row_once() -> None:
    found = compose(ROWS)
    assert summary(found) == f"1 met, 1 NOT met, {len(found) - 3} not run, 1 without a bound."


def test_the_section_shows_floors_failures_and_that_it_was_quick() -> None:
    floors = [Row("/bin/true", 0.9, "ms", note="20 times")]
    text = section(ROWS, floors, quick=True, failed={"idle": "AssertionError: no"})
    assert text.startswith(QUICK)
    assert "Benchmark `idle` FAILED: AssertionError: no" in text
    assert "| /bin/true         | 0.9 ms   | 20 times |" in text
    assert QUICK not in section(ROWS, floors, quick=False, failed={})


def test_the_modules_exist() -> None:
    from bench.__main__ import available

    assert set(MODULES) <= set(available())
