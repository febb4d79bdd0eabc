"""Facts as YAML: whatever a value holds, it stays a value."""

import codecs
import json
import os
import re
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.prompt.facts import document, facts_of, os_version, quote
from tests.lifecycle.prompt.kitchen import NOON, profile
from transport.vocabulary import WakePolicy

LONG = re.compile(r"\\U([0-9a-f]{8})")


def unquote(scalar: str) -> str:
    """Read a double-quoted scalar: YAML knows the escapes of JSON, and \\U besides."""
    assert scalar.isprintable() and "\n" not in scalar
    halves = LONG.sub(lambda found: json.dumps(chr(int(found[1], 16)))[1:-1], scalar)
    return str(json.loads(halves))


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back_from_one_printable_line(text: str) -> None:
    assert unquote(quote(text)) == text


@given(st.text())
def test_what_is_no_character_is_shown_as_such(text: str) -> None:
    assert unquote(quote(text)) == re.sub("[\ud800-\udfff]", "\ufffd", text)


@given(st.dictionaries(st.sampled_from(["name", "description", "host"]), st.text(min_size=1)))
def test_a_document_has_one_line_for_each_value(facts: dict[str, str]) -> None:
    first, *lines, last = document(facts).split("\n")
    assert (first, last) == ("---", "---")
    assert [line.partition(": ")[0] for line in lines] == list(facts)
    for line, value in zip(lines, facts.values(), strict=True):
        assert unquote(line.partition(": ")[2]) == re.sub("[\ud800-\udfff]", "\ufffd", value)


def test_values_that_look_like_yaml_are_texts() -> None:
    for text in ("no", "---", "{a: 1}", "# x", "2026-11-20", "a: b", "\u2028- x", "\x1b[31m", "'\"\\"):
        assert unquote(quote(text)) == text
    assert quote("é 日") == '"é 日"'
    assert codecs.encode(quote("\U000e0001")) == b'"\\U000e0001"'


def test_empty_values_are_left_out() -> None:
    assert document({"name": "alice", "description": ""}) == '---\nname: "alice"\n---'


def test_what_a_peer_is_told_of_itself() -> None:
    facts = facts_of(profile("alice", description="Keeps the log"), "claude", NOON)
    assert list(facts) == [
        *("name", "description", "directory", "runtime", "wake_policy"),
        *("platform", "os_version", "user", "host", "date"),
    ]
    assert facts["wake_policy"] == ""
    assert facts["date"] == "2026-11-20"
    assert (facts["runtime"], facts["user"], facts["host"]) == ("claude", "me", "here")
    assert facts["os_version"] == os_version() != ""
    assert datetime.fromisoformat(facts["date"])


def test_a_worker_is_told_that_it_is_one() -> None:
    worker = profile("worker", wake_policy=WakePolicy.EPHEMERAL)
    assert facts_of(worker, "claude", NOON)["wake_policy"] == "ephemeral"


@pytest.mark.parametrize(("version", "named"), [("15.1", "macOS 15.1 ("), ("", "(")])
def test_where_no_release_file_tells_the_system_it_is_macos_or_has_no_name(
    monkeypatch: pytest.MonkeyPatch, version: str, named: str
) -> None:
    def nothing() -> dict[str, str]:
        raise FileNotFoundError

    monkeypatch.setattr("platform.freedesktop_os_release", nothing)
    monkeypatch.setattr("platform.mac_ver", lambda: (version, ("", "", ""), ""))
    assert os_version().startswith(named)
    assert os_version().endswith(f"({os.uname().release})")


def test_a_release_without_a_name_is_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: {"ID": "odd"})
    assert os_version() == f"({os.uname().release})"


def test_a_release_is_called_by_its_pretty_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: {"PRETTY_NAME": "Odd 3"})
    assert os_version() == f"Odd 3 ({os.uname().release})"
