"""What a finding says, by how it stands: why it matters is told of what is not well, and of nothing else."""

import pytest

from mcp_server.cli.doctor.finding import MATTERS, Finding, Level, error, ok, some, warning


def test_each_kind_of_finding_has_its_level() -> None:
    assert ok("disk", "4 GB") == Finding(Level.OK, "disk", "4 GB", None)
    assert warning("disk", "full") == Finding(Level.WARNING, "disk", "full", None)
    assert warning("disk", "full", "df -h") == Finding(Level.WARNING, "disk", "full", "df -h")
    assert error("disk", "full") == Finding(Level.ERROR, "disk", "full", None)
    assert error("disk", "full", "df -h") == Finding(Level.ERROR, "disk", "full", "df -h")


@pytest.mark.parametrize("subject", MATTERS)
def test_what_is_not_well_says_why_that_matters(subject: str) -> None:
    assert warning(subject, "look").matters == error(subject, "broken").matters == MATTERS[subject] != ""
    assert ok(subject, "well").matters is None


def test_a_subject_that_nobody_has_explained_matters_for_no_reason() -> None:
    assert error("weather", "rain").matters is None


@pytest.mark.parametrize(
    ("names", "said"),
    [(["a"], "a"), (["a", "b", "c"], "a, b, c"), (["a", "b", "c", "d"], "a, b, c and 1 more")],
)
def test_of_many_names_three_are_said(names: list[str], said: str) -> None:
    assert some(names) == said
