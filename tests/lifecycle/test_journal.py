"""The journal: what is read is what was written, and what cannot be read says what to do."""

import json
from pathlib import Path

import pytest

from lifecycle.journal import Journal, JournalUnusable, Phase, Removal, Renaming
from transport.paths import Root
from transport.relocate import Place

ALICE, ALICIA = Place("alice", Path("/peers/alice")), Place("alicia", Path("/peers/alicia"))


@pytest.mark.parametrize(
    "change",
    [
        Removal(ALICE),
        Removal(ALICE, is_purged=True, created_at="2026-11-20T08:04:46.000+00:00"),
        Renaming(ALICE, ALICIA),
        Renaming(ALICE, ALICIA, ((Path("/a ü\udcff"), Path("/b")),), Phase.CLEARING),
    ],
    ids=str,
)
def test_what_is_written_is_read(root: Root, change: Removal | Renaming) -> None:
    journal = Journal(root)
    assert journal.load() is None
    journal.write(change)
    assert journal.load() == change
    journal.clear()
    journal.clear()
    assert journal.load() is None


def test_a_removal_that_an_earlier_version_began_is_read(root: Root) -> None:
    journal = Journal(root)
    journal.path.write_text(
        '{"version": 1, "change": "remove", "place": {"name": "alice", "cwd": "/peers/alice"}, "is_purged": true}'
    )
    assert journal.load() == Removal(ALICE, is_purged=True)


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff",
        b'{"version": 2, "change": "remove"}',
        b'{"version": 1, "change": "remove", "is_purged": true, "place": {"name": "../x", "cwd": "/"}}',
        b'{"version": 1, "change": "rename", "files": [["a"]]}',
        b"[" * 100_000,
    ],
)
def test_damage_names_the_file(root: Root, damage: bytes) -> None:
    journal = Journal(root)
    journal.path.write_bytes(damage)
    with pytest.raises(JournalUnusable, match=r"change\.json"):
        journal.load()
    assert journal.path.read_bytes() == damage


def test_a_journal_that_cannot_be_written_says_that_nothing_was_changed(root: Root) -> None:
    journal = Journal(root)
    journal.path.mkdir()
    with pytest.raises(JournalUnusable, match="nothing was changed"):
        journal.write(Removal(ALICE))


def test_it_is_private(root: Root) -> None:
    journal = Journal(root)
    journal.write(Removal(ALICE))
    assert journal.path.stat().st_mode & 0o777 == 0o600
    assert json.loads(journal.path.read_text())["place"] == {"name": "alice", "cwd": "/peers/alice"}
