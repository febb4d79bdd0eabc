"""Flag files: whatever somebody did to one, it is a fact, and never a surprise."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle.flags import Flag, Flags, FlagUnusable
from transport.identity import Identity
from transport.paths import Root

ALICE = Identity("scripted", "alice")


@pytest.mark.parametrize("flag", list(Flag))
def test_a_flag_is_set_until_it_is_cleared(root: Root, flag: Flag) -> None:
    flags = Flags(root)
    assert not flags.is_set(ALICE, flag)
    assert flags.set_at(ALICE, flag) is None
    flags.set(ALICE, flag, "why")
    assert Flags(root).is_set(ALICE, flag)
    assert flags.set_at(ALICE, flag) == root.flag(ALICE, flag).stat().st_mtime
    assert flags.text(ALICE, flag) == "why"
    assert flags.clear(ALICE, flag)
    assert not flags.clear(ALICE, flag)
    assert not flags.is_set(ALICE, flag)


def test_while_nobody_can_tell_a_flag_counts_as_set(root: Root) -> None:
    """A stopped peer is not woken because its directory gave no answer."""
    flags = Flags(root)
    assert not flags.is_set(ALICE, Flag.STOPPED)
    kept = root.state.rename(root.home / "kept")
    root.state.symlink_to(root.state)
    assert flags.is_set(ALICE, Flag.STOPPED)
    root.state.unlink()
    assert not flags.is_set(ALICE, Flag.STOPPED)
    root.state.write_text("no directory")
    assert not flags.is_set(ALICE, Flag.STOPPED)
    root.state.unlink()
    kept.rename(root.state)


def test_flags_of_identities_are_their_own(root: Root) -> None:
    flags = Flags(root)
    flags.set(ALICE, Flag.STOPPED)
    assert not flags.is_set(Identity("command", "alice"), Flag.STOPPED)
    assert not flags.is_set(Identity("scripted", "alic"), Flag.STOPPED)


@given(st.text())
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_kept_and_shown_as_one_plain_line(root: Root, text: str) -> None:
    flags = Flags(root)
    flags.set(ALICE, Flag.FAILED, text)
    shown = flags.text(ALICE, Flag.FAILED)
    assert len(shown) <= 500
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", shown)
    if text.isprintable() and text.split(" ") == text.split() and text.isascii():
        assert shown == text[:500]


def test_half_a_surrogate_pair_fails_nothing(root: Root) -> None:
    flags = Flags(root)
    flags.set(ALICE, Flag.FAILED, "a\udc80b")
    assert flags.text(ALICE, Flag.FAILED) == "a?b"


@pytest.mark.parametrize("damage", ["binary", "directory", "fifo", "dangling", "unreadable", "huge"])
def test_a_damaged_flag_still_counts(root: Root, damage: str) -> None:
    path = root.flag(ALICE, Flag.STOPPED)
    match damage:
        case "binary":
            path.write_bytes(b"\xff\xfe\x00")
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "dangling":
            path.symlink_to(root.home / "nowhere")
        case "unreadable":
            path.write_text("x")
            path.chmod(0)
        case "huge":
            path.write_bytes(b"x" * (1 << 17))
    flags = Flags(root)
    assert flags.is_set(ALICE, Flag.STOPPED)
    assert isinstance(flags.text(ALICE, Flag.STOPPED), str)


def test_what_cannot_be_cleared_or_set_says_what_to_do(root: Root) -> None:
    flags = Flags(root)
    root.flag(ALICE, Flag.STOPPED).mkdir()
    (root.flag(ALICE, Flag.STOPPED) / "something").touch()
    with pytest.raises(FlagUnusable, match=r"scripted-alice\.stopped cannot be removed: .*; remove it and repeat"):
        flags.clear(ALICE, Flag.STOPPED)
    with pytest.raises(FlagUnusable, match=r"scripted-alice\.stopped cannot be written"):
        flags.set(ALICE, Flag.STOPPED)
    assert flags.is_set(ALICE, Flag.STOPPED)


def test_nothing_half_written_is_left(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("transport.files.replace", full)
    with pytest.raises(FlagUnusable, match="No space left"):
        Flags(root).set(ALICE, Flag.STOPPED)
    assert os.listdir(root.state) == []


def test_a_flag_without_a_text_is_an_empty_file(root: Root) -> None:
    flags = Flags(root)
    flags.set(ALICE, Flag.STOPPED)
    assert root.flag(ALICE, Flag.STOPPED).read_bytes() == b"" and flags.is_set(ALICE, Flag.STOPPED)
