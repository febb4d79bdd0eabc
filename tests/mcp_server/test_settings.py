"""Settings: every source, every bad value named with its source, and the values that come through."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle.limits import Limits
from mcp_server.settings import CEILING, LIMITS, MAY_BE_ZERO, OWN, Settings, SettingsInvalid, load
from transport.paths import Root

QUIET = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
NAMES = st.sampled_from(sorted({*OWN, *LIMITS}))


def test_without_any_source_everything_is_the_default(root: Root) -> None:
    assert load(root, {}) == Settings()
    assert load(root, {"PEERWAKE_HOME": "/x", "PEERWAKE_CREDENTIAL": "y", "PEERWAKE_UNKNOWN": "1"}) == Settings()


def test_the_environment_wins_over_the_file_and_both_are_named(root: Root) -> None:
    root.config.write_text("port = 1\nattempts = 7\ntcp = false\n")
    found = load(root, {"PEERWAKE_PORT": "2", "PEERWAKE_WAIT_SECONDS": "0"})
    assert (found.port, found.tcp, found.limits.attempts, found.limits.wait_seconds) == (2, False, 7, 0.0)
    assert found.sources == {
        "port": "PEERWAKE_PORT",
        "attempts": str(root.config),
        "tcp": str(root.config),
        "wait_seconds": "PEERWAKE_WAIT_SECONDS",
    }


@given(NAMES, st.text(st.characters(exclude_characters="\0"), max_size=12))
@QUIET
def test_any_text_is_a_value_of_the_right_kind_or_refused_by_name(root: Root, name: str, text: str) -> None:
    variable = f"PEERWAKE_{name.upper()}"
    try:
        found = load(root, {variable: text})
    except SettingsInvalid as error:
        assert str(error).startswith(f"{variable}: {name} = ")
        return
    value = getattr(found if name in OWN else found.limits, name)
    default = (OWN.get(name) or LIMITS[name]).default
    assert type(value) is type(default)
    if not isinstance(value, bool | str):
        assert (0 if name in MAY_BE_ZERO else 1e-3) <= value <= CEILING.get(name, 1e9)


@given(st.sampled_from(sorted(LIMITS)), st.data())
@QUIET
def test_every_number_in_range_comes_through(root: Root, name: str, data: st.DataObject) -> None:
    high = min(CEILING.get(name, 1e9), 1e9)
    if isinstance(LIMITS[name].default, int):
        value: float = data.draw(st.integers(0 if name in MAY_BE_ZERO else 1, int(high)))
    else:
        value = data.draw(st.floats(0 if name in MAY_BE_ZERO else 1e-3, high))
    found = load(root, {f"PEERWAKE_{name.upper()}": repr(value)})
    assert getattr(found.limits, name) == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("port = 'x'", "port = 'x' cannot be used; use a whole number"),
        ("port = 65536", "use a whole number between 0 and 65535"),
        ("port = true", "port = True cannot be used; use a whole number"),
        ("attempts = 0", "use a whole number between 0.001 and 100"),
        ("attempts = 2.5", "use a whole number"),
        ("tick_seconds = nan", "use a number between"),
        ("tick_seconds = inf", "use a number between"),
        ("tcp = 2", "use true or false"),
        ("host = ''", "use a text that is not empty"),
        ("host = 5", "use a text that is not empty"),
        ("host = ['a']", "use a text that is not empty"),
        ("prot = 1", "there is no setting 'prot'; remove it"),
        ("[limits]\nattempts = 1", "there is no setting 'limits'"),
        ("port = ", "config.toml"),
    ],
)
def test_a_bad_file_is_named_with_what_to_do(root: Root, text: str, problem: str) -> None:
    root.config.write_text(text)
    with pytest.raises(SettingsInvalid) as refused:
        load(root, {})
    assert str(root.config) in str(refused.value) and problem in str(refused.value)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\0"])
def test_a_file_that_is_no_text(root: Root, content: bytes) -> None:
    root.config.write_bytes(content)
    with pytest.raises(SettingsInvalid, match=r"config\.toml"):
        load(root, {})


def test_a_file_that_cannot_be_read(root: Root) -> None:
    root.config.mkdir()
    with pytest.raises(SettingsInvalid, match=r"config\.toml"):
        load(root, {})


def test_every_limit_can_be_set_and_none_has_the_name_of_a_setting() -> None:
    assert not set(OWN) & set(LIMITS)
    every: dict[str, Any] = {name: entry.default for name, entry in LIMITS.items()}
    assert Limits(**every) == Limits()
