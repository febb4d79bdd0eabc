"""The `.new` flag: written by us as JSON, by people as they like, never trusted."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.flags import Flag, FlagUnusable
from lifecycle.renewal import SEED_BYTES, Renewal, Renewals, _parse, check_seed
from transport.errors import InvalidInput
from transport.identity import Identity
from transport.paths import Root

ALICE = Identity("scripted", "alice")


@pytest.mark.parametrize("wish", [Renewal(), Renewal("f1"), Renewal(None, "do this"), Renewal("f1", 'a "b"\nc')])
def test_what_is_set_is_loaded(root: Root, wish: Renewal) -> None:
    renewals = Renewals(root)
    assert renewals.load(ALICE) is None
    renewals.set(ALICE, wish)
    assert renewals.load(ALICE) == wish
    assert root.flag(ALICE, Flag.NEW).stat().st_mode & 0o777 == 0o600
    assert renewals.clear(ALICE)
    assert renewals.load(ALICE) is None
    assert not renewals.clear(ALICE)


@pytest.mark.parametrize("text", ["", "\n", "read the news\n", "{}", "[1]", '{"replaces": 3, "seed": 4}', "{" * 9_000])
def test_what_people_write_by_hand_is_the_seed(root: Root, text: str) -> None:
    root.flag(ALICE, Flag.NEW).write_text(text)
    found = Renewals(root).load(ALICE)
    assert found is not None and found.replaces is None
    assert found.seed in (None, text.strip())


def test_a_flag_that_cannot_be_read_is_said(root: Root) -> None:
    root.flag(ALICE, Flag.NEW).symlink_to("/etc/hostname")
    with pytest.raises(FlagUnusable, match="remove it"):
        Renewals(root).load(ALICE)


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda data: data.decode("utf-8", "replace")))
def test_no_seed_holds_a_control_character(text: str) -> None:
    seed = _parse(text).seed
    assert seed is None or not any(char < " " and char not in "\t\n" for char in seed)


def test_a_seed_is_checked_where_it_is_given() -> None:
    assert check_seed(" go\r\non\x1b[201~ ") == "go\non[201~"
    for bad in ("", " \n", "\x1b", "x" * (SEED_BYTES + 1)):
        with pytest.raises(InvalidInput, match="seed"):
            check_seed(bad)


def test_a_flag_of_a_great_size_is_cut(root: Root) -> None:
    root.flag(ALICE, Flag.NEW).write_text("ä" * SEED_BYTES)
    found = Renewals(root).load(ALICE)
    assert found is not None and found.seed is not None
    assert len(os.fsencode(found.seed)) <= SEED_BYTES
