"""The tests that docs/testing.md names for what the machine found are there."""

import re

from tests.live.world import TOP
from tests.mutants.mutant import names_of_tests

HEADING, NEXT = "### What the machine found", "\n## "


def test_each_finding_has_a_test_that_stands_for_it() -> None:
    page = (TOP / "docs" / "testing.md").read_text("utf-8")
    rows = [line for line in page.partition(HEADING)[2].partition(NEXT)[0].splitlines() if line.startswith("| ")][2:]
    named = [re.findall(r"`(test_\w+)`", row) for row in rows]
    there = {name for path in (TOP / "tests").rglob("test_*.py") for name in names_of_tests(path.read_text("utf-8"))}
    assert len(rows) > 10 and all(named)
    assert [name for names in named for name in names if name not in there] == []
