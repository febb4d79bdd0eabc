"""Settings: every source, every bad value named with its source, and the values that come through."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle.limits import Limits
from lifecycle.setting import Setting, Unit
from mcp_server.settings import ALL, LIMITS, OWN, Settings, SettingsInvalid, load, read
from transport.paths import Root

QUIET = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
NAMES = st.sampled_from(sorted(ALL))
NUMBERS = sorted(name for name, each in ALL.items() if each.low is not None)
PAIRED = {"wait_seconds", "wait_max_seconds", "backoff_seconds", "backoff_max_seconds"} | {
    *("ephemeral_quiet_seconds", "ephemeral_silence_seconds", "pane_log_bytes", "pane_log_budget_bytes")
}


def in_range(each: Setting, value: float) -> bool:
    assert each.low is not None and each.high is not None
    return each.low <= value <= each.high or (each.zero is not None and value == 0)


def test_without_any_source_everything_is_the_default(root: Root) -> None:
    assert load(root, {}) == Settings()
    assert load(root, {"PEERWAKE_HOME": "/x", "PEERWAKE_CREDENTIAL": "y", "PEERWAKE_TRACEBACK": "1"}) == Settings()


def test_the_environment_wins_over_the_file_and_both_are_named(root: Root) -> None:
    root.config.write_text("port = 1\n\nattempts = 7\n  'tcp'= false\n")
    found = load(root, {"PEERWAKE_PORT": "2", "PEERWAKE_WAIT_SECONDS": "0"})
    assert (found.port, found.tcp, found.limits.attempts, found.limits.wait_seconds) == (2, False, 7, 0.0)
    assert found.sources == {
        "port": "PEERWAKE_PORT",
        "attempts": f"{root.config}:3",
        "tcp": f"{root.config}:4",
        "wait_seconds": "PEERWAKE_WAIT_SECONDS",
    }


@given(NAMES, st.text(st.characters(exclude_characters="\0"), max_size=12))
@QUIET
def test_any_text_is_a_value_of_the_right_kind_or_refused_by_name(root: Root, name: str, text: str) -> None:
    variable = f"PEERWAKE_{name.upper()}"
    try:
        found = load(root, {variable: text})
    except SettingsInvalid as error:
        assert str(error).startswith(f"{variable}: {name} = ") or f"({variable})" in str(error)
        return
    value = found.value(name)
    assert type(value) is type(ALL[name].default)
    if not isinstance(value, bool | str):
        assert in_range(ALL[name], value)


@given(st.sampled_from(NUMBERS), st.data())
@QUIET
def test_every_number_in_range_comes_through_from_both_sources(root: Root, name: str, data: st.DataObject) -> None:
    each = ALL[name]
    assert each.low is not None and each.high is not None
    if isinstance(each.default, int):
        value: float = data.draw(st.integers(int(each.low), int(each.high)))
    else:
        value = data.draw(st.floats(each.low, each.high))
    root.config.write_text(f"{name} = {value!r}\n")
    for found in (read(root, {}), read(Root(root.home / "none"), {f"PEERWAKE_{name.upper()}": repr(value)})):
        assert found.settings.value(name) == value
        assert name in PAIRED or not found.problems


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_just_outside_its_range_is_refused_with_range_and_unit(root: Root, name: str) -> None:
    each = ALL[name]
    assert each.low is not None and each.high is not None
    for value in (each.low - 1, each.high + 1, -1e30, 1e300):
        text = repr(int(value) if isinstance(each.default, int) else value)
        (problem,) = read(root, {f"PEERWAKE_{name.upper()}": text}).problems
        assert each.range in problem
        assert each.unit not in (Unit.SECONDS, Unit.BYTES) or f"number of {each.unit}" in problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("port = 'x'", "port = 'x' cannot be used; use a whole number between 0 and 65535"),
        ("port = '80'", "port = '80' cannot be used; use a whole number"),
        ("port = 65536", "use a whole number between 0 and 65535"),
        ("port = true", "port = True cannot be used; use a whole number"),
        ("port = 1.0", "port = 1.0 cannot be used; use a whole number"),
        ("attempts = 0", "use a whole number between 1 and 100"),
        ("attempts = 2.5", "use a whole number"),
        ("attempts = [1]", "attempts = [1] cannot be used"),
        ("attempts = {a = 1}", "attempts = {'a': 1} cannot be used"),
        ("attempts = 2026-11-20", "cannot be used; use a whole number"),
        ("tick_seconds = nan", "use a number of seconds between"),
        ("tick_seconds = inf", "use a number of seconds between"),
        ("tick_seconds = -inf", "use a number of seconds between"),
        ("tick_seconds = -1", "use a number of seconds between"),
        ("inline_bytes = 70000", "use a whole number of bytes between 1 and 65536"),
        ("ephemeral_max_seconds = 0.0001", "between 0.001 and 604800, or 0 (no bound)"),
        (f"queue_cap = {'9' * 4000}", "use a whole number between"),
        (f"queue_cap = {'9' * 5000}", "it is not TOML"),
        ("tcp = 2", "use true or false"),
        ("tcp = 1", "use true or false"),
        ("tcp = 'true'", "use true or false"),
        ("host = ''", "use a text that is not empty"),
        ("host = ' '", "use a text that is not empty"),
        ('host = "a\\u0000b"', "use a text"),
        ("host = 5", "use a text that is not empty"),
        ("host = ['a']", "use a text that is not empty"),
        ("prot = 1", "there is no setting 'prot' (did you mean 'port'?); remove it"),
        ("zzzzzz = 1", "there is no setting 'zzzzzz'; remove it"),
        ("[limits]\nattempts = 1", "write the settings in [limits] without a table"),
        ("port = ", "it is not TOML"),
        ("port = 1\nport = 2", "it is not TOML"),
        ("port = 1\rhost = 'x'", "it is not TOML"),
        (f"a = {'[' * 3000}", "it is not TOML"),
        ("wait_seconds = 90\nwait_max_seconds = 60", "wait_seconds = 90"),
        ("backoff_seconds = 400", "is above backoff_max_seconds = 300 (default); lower backoff_seconds or raise"),
        ("ephemeral_silence_seconds = 10", "ephemeral_quiet_seconds = 20 (default) is above"),
        ("pane_log_budget_bytes = 100000", "pane_log_bytes = 4194304 (default) is above"),
    ],
)
def test_a_bad_file_is_named_with_what_to_do(root: Root, text: str, problem: str) -> None:
    root.config.write_text(text, newline="")
    with pytest.raises(SettingsInvalid) as refused:
        load(root, {})
    assert str(root.config) in str(refused.value) and problem in str(refused.value)


def test_all_problems_are_told_at_once_each_with_its_source(root: Root) -> None:
    root.config.write_text("port = 'x'\nattemps = 3\nattempts = 0\n")
    with pytest.raises(SettingsInvalid) as refused:
        load(root, {"PEERWAKE_TICK_SECONDS": "soon", "PEERWAKE_BACKOFF_SECONDS": "301"})
    problems = refused.value.problems
    assert [problem.split(" ")[0] for problem in problems] == [
        *(f"{root.config}:{line}:" for line in (1, 2, 3)),
        "PEERWAKE_TICK_SECONDS:",
        "backoff_seconds",
    ]
    assert str(refused.value).startswith("5 settings cannot be used: (1) ")
    assert all(problem in str(refused.value) for problem in problems)


def test_a_problem_leaves_the_other_values_as_they_are_set(root: Root) -> None:
    root.config.write_text("port = 'x'\nattempts = 3\n")
    found = read(root, {})
    assert (found.settings.port, found.settings.limits.attempts, len(found.problems)) == (8765, 3, 1)


def test_an_unknown_variable_is_a_warning_with_the_nearest_name(root: Root) -> None:
    found = load(root, {"PEERWAKE_PROT": "1", "PEERWAKE_port": "2", "PEERWAKE_QUITE_ELSE": "3", "PEER_NAME": "x"})
    assert found.port == 8765
    assert [text.partition(":")[0] for text in found.warnings] == [
        *("PEERWAKE_PROT", "PEERWAKE_QUITE_ELSE", "PEERWAKE_port"),
    ]
    assert "did you mean 'PEERWAKE_PORT'?" in found.warnings[0] and "no effect" in found.warnings[0]
    assert "did you mean" not in found.warnings[1]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\0", b"host = '\xff'"])
def test_a_file_that_is_no_text(root: Root, content: bytes) -> None:
    root.config.write_bytes(content)
    with pytest.raises(SettingsInvalid, match=r"config\.toml"):
        load(root, {})


def test_a_byte_order_mark_and_line_ends_of_elsewhere_do_no_harm(root: Root) -> None:
    root.config.write_bytes(b"\xef\xbb\xbf# mine\r\nport = 1\r\nattempts = 2\r\n")
    found = load(root, {})
    assert (found.port, found.limits.attempts) == (1, 2)
    assert found.sources["attempts"] == f"{root.config}:3"


@pytest.mark.parametrize("text", ['"po\\u0072t" = 1', "# port = 2\nport = 1", "x = '''\nport = 3'''\nport = 1"])
def test_a_line_that_is_named_holds_the_key_or_no_line_is_named(root: Root, text: str) -> None:
    root.config.write_text(text)
    source = read(root, {}).settings.sources["port"]
    line = source.removeprefix(str(root.config)).removeprefix(":")
    assert line == "" or "port" in text.splitlines()[int(line) - 1].split("#")[0]


def test_a_file_that_cannot_be_read(root: Root) -> None:
    root.config.mkdir()
    with pytest.raises(SettingsInvalid, match=r"config\.toml: .*; make it a file"):
        load(root, {})


def test_a_pipe_is_not_waited_for(root: Root) -> None:
    os.mkfifo(root.config)
    with pytest.raises(SettingsInvalid, match="not a regular file"):
        load(root, {})


def test_a_file_that_is_far_too_long_is_not_read(root: Root) -> None:
    with root.config.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(SettingsInvalid, match="over the limit"):
        load(root, {})


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
@pytest.mark.parametrize("is_linked", [False, True])
def test_a_file_that_others_can_write_is_refused_and_the_mend_is_named(
    root: Root, tmp_path: Path, mode: int, is_linked: bool
) -> None:
    file = tmp_path / "mine.toml" if is_linked else root.config
    file.write_text("allow_remote = true\n")
    file.chmod(mode)
    if is_linked:
        root.config.symlink_to(file)
    with pytest.raises(SettingsInvalid, match=f"chmod 600 {root.config}"):
        load(root, {})
    root.config.chmod(0o600)
    assert load(root, {}).allow_remote


def test_a_link_to_a_file_of_ours_is_followed_and_a_dangling_one_is_no_file(root: Root, tmp_path: Path) -> None:
    root.config.symlink_to(tmp_path / "dotfiles.toml")
    assert load(root, {}) == Settings()
    (tmp_path / "dotfiles.toml").write_text("port = 5\n")
    assert load(root, {}).port == 5


def test_every_limit_can_be_set_and_none_has_the_name_of_a_setting() -> None:
    assert not set(OWN) & set(LIMITS)
    every: dict[str, Any] = {name: each.default for name, each in LIMITS.items()}
    assert Limits(**every) == Limits()


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_setting_says_its_unit_its_range_and_its_meaning_and_its_default_is_in_range(name: str) -> None:
    each = ALL[name]
    assert each.meaning and not each.meaning.endswith(".") and len(each.meaning) <= 90
    assert name.endswith("_seconds") == (each.unit is Unit.SECONDS)
    assert name.endswith("_bytes") == (each.unit is Unit.BYTES)
    if isinstance(each.default, bool | str):
        assert each.low is None
    else:
        assert in_range(each, each.default)
