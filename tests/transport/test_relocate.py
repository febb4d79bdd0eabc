"""A peer's directory, profile and entry under another name, from whatever point it was cut off at."""

import os
from pathlib import Path

import pytest

from transport.create import NewPeer, create
from transport.paths import Root
from transport.profile import NoProfile, load_profile
from transport.registry import Registry
from transport.relocate import DirectoryLost, Place, relocate, renamed
from transport.settle import NameTaken


@pytest.fixture
def own(root: Root) -> Place:
    profile = create(Registry(root), NewPeer(("claude",), name="alice"))
    return Place("alice", profile.cwd)


@pytest.fixture
def elsewhere(root: Root) -> Place:
    cwd = root.home / "project"
    cwd.mkdir()
    create(Registry(root), NewPeer(("claude",), name="alice", cwd=cwd))
    return Place("alice", cwd)


def test_a_directory_made_for_a_peer_follows_its_name(root: Root, own: Place) -> None:
    after = renamed(root, own, "alicia")
    assert after == Place("alicia", root.peers / "alicia")
    profile = relocate(root, own, after)
    assert (profile.name, profile.cwd) == ("alicia", after.cwd)
    assert load_profile(after.cwd) == profile
    assert not own.cwd.exists()
    assert relocate(root, own, after) == profile


def test_any_other_directory_stays_and_its_entry_follows(root: Root, elsewhere: Place) -> None:
    after = renamed(root, elsewhere, "alicia")
    assert after == Place("alicia", elsewhere.cwd)
    profile = relocate(root, elsewhere, after)
    assert load_profile(elsewhere.cwd) == profile
    assert (root.peers / "alicia").resolve() == elsewhere.cwd
    assert not os.path.lexists(root.peers / "alice")
    assert relocate(root, elsewhere, after) == profile


def test_a_root_that_is_a_link_is_no_obstacle(root: Root) -> None:
    link = root.home / "link"
    link.symlink_to(root.home)
    linked = Root(link)
    profile = create(Registry(linked), NewPeer(("claude",), name="alice"))
    after = renamed(linked, Place("alice", profile.cwd), "alicia")
    assert after.cwd == root.peers.resolve() / "alicia"


def test_somebody_elses_directory_is_never_overwritten(root: Root, own: Place) -> None:
    after = renamed(root, own, "alicia")
    after.cwd.mkdir()
    with pytest.raises(NameTaken, match="in the way"):
        relocate(root, own, after)
    relocate(root, after, own)
    assert load_profile(own.cwd).name == "alice"
    assert after.cwd.is_dir()
    with pytest.raises(NoProfile):
        load_profile(after.cwd)


def test_a_directory_that_is_nowhere_is_named(root: Root, own: Place) -> None:
    own.cwd.rename(root.home / "away")
    with pytest.raises(DirectoryLost, match="restore"):
        relocate(root, own, renamed(root, own, "alicia"))


def test_unknown_fields_of_a_profile_are_kept(root: Root, own: Place) -> None:
    path = own.cwd / ".peerwake/profile.json"
    path.write_text(path.read_text().replace("{", '{"colour": "green",', 1))
    profile = relocate(root, own, Place("alicia", root.peers / "alicia"))
    assert profile.model_extra == {"colour": "green"}
    assert '"green"' in Path(profile.path).read_text()
