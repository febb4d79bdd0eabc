"""Ages as people write and read them."""

import pytest

from mcp_server.cli.ages import age, seconds_of
from mcp_server.cli.failures import BadUsage


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, ""),
        (0.0, "0s"),
        (59.9, "59s"),
        (60, "1m00s"),
        (3_661, "1h01m"),
        (90_000, "1d01h"),
    ],
)
def test_the_two_largest_units_are_shown(seconds: float | None, shown: str) -> None:
    assert age(seconds) == shown


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("10m", 600), ("1h", 3_600), ("2d", 172_800), ("999999999d", 10**9)],
)
def test_an_age_is_read(text: str, seconds: float) -> None:
    assert seconds_of(text, "--older-than") == seconds


@pytest.mark.parametrize("text", ["", "m", "1.5h", "-1", "1w", "1 h", "1234567890"])
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadUsage, match="--older-than"):
        seconds_of(text, "--older-than")
