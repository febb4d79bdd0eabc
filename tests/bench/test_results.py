"""How figures are shown, and kept in the results."""

from pathlib import Path

import pytest

from bench.__main__ import available, main, record
from bench.rows import Row, table
from bench.terms import at_most, number


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.00472, "0.00472"), (1.0, "1"), (2.345, "2.35"), (99.96, "100"), (123.4, "123"), (12345.6, "12,346")],
)
def test_numbers_have_three_digits_or_all_of_them(value: float, shown: str) -> None:
    assert number(value) == shown


def test_a_table_shows_what_there_is() -> None:
    rows = [Row("a thing", 2.5, "ms", at_most(3), 1.25, "the floor", "a note"), Row("another", 7, "")]
    assert table(rows).splitlines() == [
        "| what    | value  | bound | met | ratio  | of        | note   |",
        "|---------|--------|-------|-----|--------|-----------|--------|",
        "| a thing | 2.5 ms | ≤ 3   | yes | 1.25 × | the floor | a note |",
        "| another | 7      |       |     |        |           |        |",
    ]


def test_a_section_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    record(path, "wake", "first")
    record(path, "cli", "other\n\n| a |")
    record(path, "wake", "second")
    text = path.read_text()
    assert text.startswith("# Results\n")
    assert text.endswith("## cli\n\nother\n\n| a |\n\n## wake\n\nsecond\n")
    assert "first" not in text


def test_every_row_of_the_contract_has_its_benchmark() -> None:
    wanted = {"delivery", "wake", "clients", "cli", "idle", "registry", "mcp_calls", "bridge", "spool"}
    assert wanted <= set(available())


def test_an_unknown_benchmark_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["wake", "nothing"])
    assert ended.value.code == 2
    assert "no benchmark named nothing; there are: " in capsys.readouterr().err
