"""The record of a fuzzer's runs: what its log and exit status say, and the table of it."""

import fuzz
import pytest

LOG = "#2\tINITED cov: 1\nDone 24519 in 3 second(s)\nstat::number_of_executed_units: 24519\nstat::peak_rss_mb: 80\n"


@pytest.mark.parametrize(
    ("log", "status", "executions", "finding"),
    [
        (LOG, 0, 24_519, ""),
        (LOG, 77, 24_519, "exit status 77"),
        ("", 0, None, ""),
        ("ModuleNotFoundError: atheris", 1, None, "exit status 1"),
    ],
    ids=["nothing found", "found", "no word of how much", "not even begun"],
)
def test_a_run_is_what_its_log_and_status_say(log: str, status: int, executions: int | None, finding: str) -> None:
    assert fuzz.run_of("names", log, status, 3.2) == fuzz.Run("names", executions, 3.2, finding)


def test_a_table_shows_what_was_found_and_what_is_not_known() -> None:
    runs = [fuzz.Run("names", 24_519, 3.2, ""), fuzz.Run("toml", None, 0.6, "exit status 1")]
    assert fuzz.summary(runs).splitlines() == [
        "| target | executions | seconds | finding       |",
        "|--------|------------|---------|---------------|",
        "| names  | 24,519     | 3       | none          |",
        "| toml   | unknown    | 1       | exit status 1 |",
    ]
