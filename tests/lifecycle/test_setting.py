"""A setting says what it is beside its field; a field that says nothing is refused."""

from dataclasses import dataclass

import pytest

from lifecycle.setting import Setting, Unit, number, seconds, setting, settings_of


@dataclass(frozen=True, slots=True)
class Some:
    patience_seconds: float = seconds(2.0, "how long", 0.5, 60)
    bound_seconds: float = seconds(0.0, "how long at most", 1, 60, "no bound")
    is_on: bool = setting(True, Unit.SWITCH, "whether")


@dataclass(frozen=True, slots=True)
class Bare:
    port: int = 5


def test_a_declared_field_keeps_its_default_and_its_name() -> None:
    found = settings_of(Some)
    assert list(found) == ["patience_seconds", "bound_seconds", "is_on"]
    assert Some().patience_seconds == 2.0
    assert found["patience_seconds"] == Setting("patience_seconds", 2.0, Unit.SECONDS, "how long", 0.5, 60)


def test_a_field_that_says_nothing_is_named() -> None:
    with pytest.raises(TypeError, match=r"Bare\.port: declare it with setting\(\)"):
        settings_of(Bare)
    assert settings_of(Bare, leaving=("port",)) == {}


def test_ranges_in_words() -> None:
    found = settings_of(Some)
    assert found["patience_seconds"].range == "between 0.5 and 60"
    assert found["bound_seconds"].range == "between 1 and 60, or 0 (no bound)"
    assert found["is_on"].range == "true or false"


@pytest.mark.parametrize(("value", "text"), [(5.0, "5"), (0.001, "0.001"), (0.25, "0.25"), (1e9, "1000000000")])
def test_numbers_as_people_write_them(value: float, text: str) -> None:
    assert number(value) == text
