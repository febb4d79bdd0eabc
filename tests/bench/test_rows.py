"""How figures are shown, and whether their bounds hold."""

import pytest

from bench.rows import Row, answer, not_run, table
from bench.terms import TERMS, ZERO, at_least, at_most, number


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (3.0, "3"), (0.01234, "0.0123"), (17.52, "17.5"), (123.4, "123"), (24249.7, "24,250")],
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_table_is_aligned_markdown() -> None:
    sends = Row("sends", 24249.7, "/s", at_least(10_000), 2.891, "fsync")
    text = table([sends, Row("floor", 8386.0, "/s", note="of this disk")])
    assert text.splitlines() == [
        "| what  | value     | bound    | met | ratio  | of    | note         |",
        "|-------|-----------|----------|-----|--------|-------|--------------|",
        "| sends | 24,250 /s | ≥ 10,000 | yes | 2.89 × | fsync |              |",
        "| floor | 8,386 /s  |          |     |        |       | of this disk |",
    ]


@pytest.mark.parametrize(
    ("bound", "value", "ratio", "is_met"),
    [
        (at_most(20), 20.0, None, True),
        (at_most(20), 20.001, None, False),
        (at_least(15), 15.0, None, True),
        (at_least(15), 14.9, None, False),
        (ZERO, 0, None, True),
        (ZERO, 1, None, False),
        (at_least(0.8, is_ratio=True), 1.0, 0.79, False),
        (at_least(0.8, is_ratio=True), 0.1, 0.81, True),
        (None, 5, None, None),
        (at_most(20), None, None, None),
    ],
)
def test_whether_a_bound_holds_is_computed(
    bound: object, value: float | None, ratio: float | None, is_met: bool | None
) -> None:
    assert Row("x", value, "ms", bound, ratio).is_met is is_met  # type: ignore[arg-type]


def test_a_bound_of_a_ratio_needs_one() -> None:
    with pytest.raises(ValueError, match="about a ratio"):
        _ = Row("x", 1, "", at_most(1, is_ratio=True)).is_met


def test_bounds_are_shown_as_the_contract_writes_them() -> None:
    bounds = at_most(20), at_least(2_410), at_least(0.8, is_ratio=True), ZERO
    assert [str(bound) for bound in bounds] == ["≤ 20", "≥ 2,410", "≥ 0.8 ×", "0"]


def test_an_answer_has_the_unit_and_the_bound_of_its_term() -> None:
    row = answer("wake", 300.0, ratio=2.0, of="bare", note="4 times")
    term = TERMS["wake"]
    assert (row.name, row.unit, row.bound, row.key, row.is_met) == (term.what, "ms", term.bound, "wake", False)
    assert row.cells()[1:4] == ("300 ms", "≤ 250", "NO")


def test_what_was_not_run_says_so_and_why() -> None:
    row = not_run("cli.ps", "there is no such command")
    assert row.cells() == ("peerwake ps --json", "not run", "≤ 60", "", "", "", "there is no such command")
