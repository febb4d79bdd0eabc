"""Values of settings as files and variables give them."""

from typing import Any

import pytest

from lifecycle.setting import Setting, Unit
from mcp_server.setting_values import Found, contradictions, convert, suggestion

SWITCH = Setting("switch", True, Unit.SWITCH, "")
TEXT = Setting("text", "a", Unit.ADDRESS, "")
WHOLE = Setting("whole", 5, Unit.COUNT, "", 2, 9)
PAUSE = Setting("pause", 0.5, Unit.SECONDS, "", 0.1, 9.0, "never")


@pytest.mark.parametrize(
    ("wanted", "value", "is_text", "taken"),
    [
        (SWITCH, " Yes ", True, True),
        (SWITCH, False, False, False),
        (TEXT, "::1", False, "::1"),
        (WHOLE, "2", True, 2),
        (WHOLE, 9, False, 9),
        (PAUSE, "0", True, 0.0),
        (PAUSE, 9, False, 9.0),
    ],
)
def test_a_value_of_the_right_kind_is_taken(wanted: Setting, value: Any, is_text: bool, taken: object) -> None:
    found, use = convert(wanted, Found(value, "file", is_text))
    assert (found, type(found), use) == (taken, type(taken), None)


@pytest.mark.parametrize(
    ("wanted", "value", "is_text", "use"),
    [
        (SWITCH, "maybe", True, "use true or false"),
        (SWITCH, "true", False, "use true or false"),
        (TEXT, 7, False, "use a text that is not empty"),
        (TEXT, " ", False, "use a text that is not empty"),
        (TEXT, "a\x1b", True, "use a text that is not empty"),
        (WHOLE, "2.5", True, "use a whole number between 2 and 9"),
        (WHOLE, True, False, "use a whole number between 2 and 9"),
        (WHOLE, "0", True, "use a whole number between 2 and 9"),
        (WHOLE, "1" * 41, True, "use a whole number between 2 and 9"),
        (PAUSE, "nan", True, "use a number of seconds between 0.1 and 9, or 0 (never)"),
        (PAUSE, 9.1, False, "use a number of seconds between 0.1 and 9, or 0 (never)"),
    ],
)
def test_any_other_is_refused_with_what_to_use(wanted: Setting, value: Any, is_text: bool, use: str) -> None:
    assert convert(wanted, Found(value, "file", is_text)) == (None, use)


def test_two_that_contradict_each_other_are_both_named() -> None:
    values = {
        "wait_seconds": 130.0,
        "wait_max_seconds": 120,
        "backoff_seconds": 1.0,
        "backoff_max_seconds": 60.0,
        "ephemeral_quiet_seconds": 20.0,
        "ephemeral_silence_seconds": 20.0,
        "pane_log_bytes": 1,
        "pane_log_budget_bytes": 2,
    }
    (said,) = contradictions(values, {"wait_seconds": "config.toml"})
    assert said == (
        "wait_seconds = 130 (config.toml) is above wait_max_seconds = 120 (default);"
        " lower wait_seconds or raise wait_max_seconds"
    )


def test_a_mistyped_name_is_told_the_nearest() -> None:
    assert suggestion("Wait_Second", ["wait_seconds", "port"]) == " (did you mean 'wait_seconds'?)"
    assert suggestion("port", ["PORT".lower()], str.upper) == " (did you mean 'PORT'?)"
    assert suggestion("nothing like it", ["port"]) == ""
