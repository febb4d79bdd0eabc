"""The values of settings: of the right kind, in range, and not in contradiction to each other."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lifecycle.setting import Setting, Unit, number

Value = bool | int | float | str
WORDS: Final = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
LONGEST_DIGITS: Final = 40
NOT_ABOVE: Final = (
    ("wait_seconds", "wait_max_seconds"),
    ("backoff_seconds", "backoff_max_seconds"),
    ("ephemeral_quiet_seconds", "ephemeral_silence_seconds"),
    ("pane_log_bytes", "pane_log_budget_bytes"),
)


@dataclass(frozen=True, slots=True)
class Found:
    """A value as it stands in its source: a variable's text, or what TOML made of it in a file."""

    value: Any
    source: str
    is_text: bool = False


def convert(wanted: Setting, given: Found) -> tuple[Value | None, str | None]:
    """Return the value of a setting, or None and what to use instead."""
    if isinstance(wanted.default, bool):
        return _switch(given)
    if isinstance(wanted.default, int | float):
        return _number(wanted, given)
    if not isinstance(given.value, str) or not given.value.strip() or not given.value.isprintable():
        return None, "use a text that is not empty"
    return given.value, None


def _switch(given: Found) -> tuple[Value | None, str | None]:
    found = WORDS.get(given.value.strip().lower()) if given.is_text else given.value
    return (found, None) if isinstance(found, bool) else (None, "use true or false")


def _number(wanted: Setting, given: Found) -> tuple[Value | None, str | None]:
    is_whole = isinstance(wanted.default, int)
    of_unit = f" of {wanted.unit}" if wanted.unit in (Unit.SECONDS, Unit.BYTES) else ""
    use = f"use a {'whole ' if is_whole else ''}number{of_unit} {wanted.range}"
    found = _parsed(given.value, is_whole=is_whole) if given.is_text else given.value
    if isinstance(found, bool) or not isinstance(found, int if is_whole else int | float):
        return None, use
    low, high = wanted.low or 0, math.inf if wanted.high is None else wanted.high
    if not (low <= found <= high or (wanted.zero and found == 0)):
        return None, use
    return (found if is_whole else float(found)), None


def _parsed(text: str, *, is_whole: bool) -> int | float | None:
    """Return the number that a variable's text is; None for what is none, or far too long to be one."""
    if len(text) > LONGEST_DIGITS:
        return None
    try:
        return int(text) if is_whole else float(text)
    except ValueError:
        return None


def contradictions(values: Mapping[str, Value], sources: Mapping[str, str]) -> list[str]:
    """Return what is wrong with values that are well each for itself; both names, both values, where from."""
    return [
        f"{_said(small, values, sources)} is above {_said(large, values, sources)}; lower {small} or raise {large}"
        for small, large in NOT_ABOVE
        if float(values[small]) > float(values[large])
    ]


def _said(name: str, values: Mapping[str, Value], sources: Mapping[str, str]) -> str:
    return f"{name} = {number(float(values[name]))} ({sources.get(name, 'default')})"


def suggestion(name: str, names: Collection[str], shown: Callable[[str], str] = str) -> str:
    """Return ` (did you mean …?)` for a mistyped name, or nothing."""
    from difflib import get_close_matches

    near = get_close_matches(name.lower()[:60], names, 1)
    return f" (did you mean {shown(near[0])!r}?)" if near else ""
