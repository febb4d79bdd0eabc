"""Names: what is one, what is none, and what a directory's name becomes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.errors import InvalidInput
from transport.identity import (
    GONE,
    OPERATOR,
    PERSONALITY,
    RESERVED,
    SYSTEM,
    Identity,
    check_personality,
    check_runtime,
    normalize,
    parse_identity,
)

NAMES = st.from_regex(PERSONALITY, fullmatch=True)
RUNTIMES = st.from_regex(r"[a-z][a-z0-9]{0,31}", fullmatch=True)


@given(RUNTIMES, NAMES)
def test_an_identity_is_split_at_the_first_dash(runtime: str, personality: str) -> None:
    identity = Identity(runtime, personality)
    assert parse_identity(str(identity)) == identity
    assert str(identity) == f"{runtime}-{personality}"


@pytest.mark.parametrize(
    "text", ["claude", "", "-alice", "claude-", "Claude-alice", "claude-Alice", "claude--a", None, 3]
)
def test_what_is_no_identity_is_refused(text: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_identity(text, "sender")
    assert caught.value.field == "sender"


@pytest.mark.parametrize("name", ["a", "alice", "a-", "build-server-2", "a" * 32])
def test_a_peer_s_name(name: str) -> None:
    assert check_personality(name) == name


@pytest.mark.parametrize("name", ["", "A", "1a", "-a", "a_b", "a" * 33, "alice\n", "älice", "a b", None, 7, ["a"]])
def test_no_peer_s_name(name: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_personality(name, "to")
    assert caught.value.field == "to"
    assert "a-z" in str(caught.value)


@pytest.mark.parametrize("name", ["", "co-dex", "1x", "CLAUDE", "x" * 33, "codex\n", None])
def test_no_runtime_s_name(name: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_runtime(name)
    assert caught.value.field == "runtime"


def test_long_input_is_not_echoed() -> None:
    with pytest.raises(InvalidInput) as caught:
        check_personality("X" * 10_000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("basename", "name"),
    [
        ("alice", "alice"),
        ("My Project", "my-project"),
        ("web_app.v2", "web-app-v2"),
        ("2024-report", "report"),
        ("--x--", "x"),
        ("café", "cafe"),
        ("Straße", "strasse"),
        ("Łódź", "lodz"),
        ("Проект Объект", "proekt-obekt"),
        ("Ελλάδα 2", "ellada-2"),
        ("日本 x", "x"),
        ("a" * 31 + "-" + "b" * 9, "a" * 31),
    ],
)
def test_a_directory_s_name_becomes_a_peer_s(basename: str, name: str) -> None:
    assert normalize(basename) == name


@pytest.mark.parametrize("basename", ["", "123", "日本", "...", "operator", "PeerWake", "Operator!"])
def test_a_directory_s_name_that_gives_none(basename: str) -> None:
    with pytest.raises(InvalidInput, match="--name") as caught:
        normalize(basename)
    assert caught.value.field == "name"


@given(st.text())
def test_normalizing_gives_a_name_or_a_refusal_and_is_stable(basename: str) -> None:
    try:
        name = normalize(basename)
    except InvalidInput:
        return
    assert check_personality(name) not in RESERVED
    assert normalize(name) == name


@given(NAMES)
def test_no_peer_has_the_name_of_a_sender_that_was_removed(name: str) -> None:
    assert not Identity("claude", name).is_gone
    gone = f"{name}{GONE}"
    assert Identity("claude", gone).is_gone
    with pytest.raises(InvalidInput):
        check_personality(gone)


def test_our_own_identities_are_valid_and_reserved() -> None:
    for identity in (OPERATOR, SYSTEM):
        assert parse_identity(str(identity)) == identity
        assert identity.personality in RESERVED
