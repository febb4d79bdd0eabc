"""How figures are shown."""

import pytest

from bench.rows import Row, number, table


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (3.0, "3"), (0.01234, "0.0123"), (17.52, "17.5"), (123.4, "123"), (24249.7, "24,250")],
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_table_is_aligned_markdown() -> None:
    text = table(
        [Row("sends", 24249.7, "/s", "≥ 10,000", 2.891, "fsync"), Row("floor", 8386.0, "/s", note="of this disk")]
    )
    assert text.splitlines() == [
        "| what  | value     | bound    | ratio  | of    | note         |",
        "|-------|-----------|----------|--------|-------|--------------|",
        "| sends | 24,250 /s | ≥ 10,000 | 2.89 × | fsync |              |",
        "| floor | 8,386 /s  |          |        |       | of this disk |",
    ]
