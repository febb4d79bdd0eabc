"""What a setting is: its unit, its range and its meaning, said once beside the field."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

T = TypeVar("T", bool, int, float, str)
KEY: Final = "setting"
LEAST_SECONDS: Final = 0.001
DAY: Final = 86_400.0
YEAR: Final = 365 * DAY


class Unit(StrEnum):
    """What a value counts, as people read it."""

    SECONDS = "seconds"
    BYTES = "bytes"
    COUNT = "count"
    PER_MINUTE = "per minute"
    PORT = "port"
    ADDRESS = "address"
    SWITCH = "true or false"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: `low` and `high` are its range in its unit, None where it is no number."""

    name: str
    default: bool | int | float | str
    unit: Unit
    meaning: str
    low: float | None = None
    high: float | None = None
    zero: str | None = None

    @property
    def range(self) -> str:
        """Return the values it takes, in words; `zero` says what a 0 below the range means."""
        if self.low is None or self.high is None:
            return str(self.unit) if self.unit is Unit.SWITCH else "a text that is not empty"
        words = f"between {number(self.low)} and {number(self.high)}"
        return f"{words}, or 0 ({self.zero})" if self.zero else words


def number(value: float) -> str:
    """Return a number as people write it: no exponent, no `.0`."""
    return str(int(value)) if value == int(value) else f"{value:.6f}".rstrip("0")


def setting(
    default: T, unit: Unit, meaning: str, low: float | None = None, high: float | None = None, zero: str | None = None
) -> T:
    """Declare a field of a dataclass as a setting; `zero` allows a 0 below `low` and says what it means."""
    told = {"default": default, "unit": unit, "meaning": meaning, "low": low, "high": high, "zero": zero}
    declared: Any = dataclasses.field(default=default, metadata={KEY: told})
    return declared  # type: ignore[no-any-return]


def seconds(default: float, meaning: str, low: float, high: float, zero: str | None = None) -> float:
    """Declare a duration."""
    return setting(default, Unit.SECONDS, meaning, low, high, zero)


def count(default: int, meaning: str, low: int, high: int) -> int:
    """Declare a whole number of things."""
    return setting(default, Unit.COUNT, meaning, low, high)


def size(default: int, meaning: str, low: int, high: int) -> int:
    """Declare a number of bytes."""
    return setting(default, Unit.BYTES, meaning, low, high)


def settings_of(declaring: type, *, leaving: tuple[str, ...] = ()) -> Mapping[str, Setting]:
    """Return the settings that a dataclass declares, in its order; raises TypeError for a field that says nothing."""
    fields = [entry for entry in dataclasses.fields(declaring) if entry.name not in leaving]
    bare = [entry.name for entry in fields if KEY not in entry.metadata]
    if bare:
        raise TypeError(f"{declaring.__name__}.{bare[0]}: declare it with setting(), seconds(), count() or size()")
    return {entry.name: Setting(name=entry.name, **entry.metadata[KEY]) for entry in fields}
