"""Arguments of a tool call, checked by hand so that each error names its field, its limit and what to do."""

from collections.abc import Mapping
from typing import Any, Final

from transport.errors import InvalidInput

MAX_QUERY: Final = 200


class Arguments:
    """The arguments of one call; unknown ones are refused when it is made."""

    def __init__(self, tool: str, given: Mapping[str, Any] | None, allowed: frozenset[str]) -> None:
        self._given = given or {}
        unknown = self._given.keys() - allowed
        if unknown:
            named = ", ".join(sorted(f"{name!r:.40}" for name in unknown)[:5])
            raise InvalidInput("arguments", f"{tool} does not take {named}; it takes {', '.join(sorted(allowed))}")

    def raw(self, name: str) -> object:
        """Return the value as given, None when it was not."""
        return self._given.get(name)

    def required(self, name: str) -> object:
        """Return the value; raises InvalidInput when it is missing."""
        if self._given.get(name) is None:
            raise InvalidInput(name, "it is missing; give it")
        return self._given[name]

    def text(self, name: str, limit: int) -> str | None:
        """Return a string of at most `limit` characters, None when absent or empty."""
        value = self._given.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise InvalidInput(name, f"{_shown(value)} is not text; give a string")
        if len(value) > limit:
            raise InvalidInput(name, f"{len(value)} characters are over the limit of {limit}; shorten it")
        return value

    def flag(self, name: str) -> bool:
        """Return true or false, false when absent."""
        value = self._given.get(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise InvalidInput(name, f"{_shown(value)} is not true or false; give one of them")
        return value

    def whole(self, name: str, default: int, lowest: int, highest: int) -> int:
        """Return a whole number within the limits."""
        value = self._given.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise InvalidInput(name, f"{_shown(value)} is not a whole number from {lowest} to {highest}")
        return value

    def number(self, name: str, lowest: float, highest: float) -> float | None:
        """Return a number within the limits, None when absent."""
        value = self._given.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not lowest <= value <= highest:
            raise InvalidInput(name, f"{_shown(value)} is not a number from {lowest:,.10g} to {highest:,.10g}")
        return float(value)

    def seconds(self, name: str) -> float | None:
        """Return a number, None when absent; its limits are the service's."""
        value = self._given.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidInput(name, f"{_shown(value)} is not a number of seconds; give one from 0 to 120")
        return float(value)


def _shown(value: object) -> str:
    return f"{value!r:.40}"
