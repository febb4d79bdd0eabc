"""A link in the place of a flag: what it names is written to by nobody, and whoever does it is found out."""

from pathlib import Path
from random import Random

import pytest

from tests.contract.private_mount import fill, on_a_small_disk
from tests.faults.fault import Field, Heal, NotYet, Peer
from tests.faults.odd_files import ODD_FILES
from tests.live.world import World
from transport.paths import Root

SEEDS = range(20)
(LINK,) = (fault for fault in ODD_FILES if fault.name == "link for a flag")


def struck(root: Root, seed: int) -> Heal:
    """Put a link in the place of a flag of a peer that no server runs for: what is healed of it is only files."""
    field = Field(World(root), [Peer("alice", "scripted-alice", "warm", root.home)], lambda text: None)
    heal = LINK.strike(field, Random(seed))
    assert heal is not None
    return heal


def links(root: Root) -> list[Path]:
    return [path for path in root.state.iterdir() if path.is_symlink()]


def test_what_nobody_writes_to_is_no_complaint(root: Root) -> None:
    named = set()
    for seed in SEEDS:
        heal = struck(root, seed)
        (path,) = links(root)
        named.add(path.exists())
        with pytest.raises(NotYet):
            heal()
        path.unlink()
    assert named == {False, True}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_write_through_the_link_is_found(root: Root, seed: int) -> None:
    heal = struck(root, seed)
    (path,) = links(root)
    path.write_bytes(b"")
    with pytest.raises(AssertionError, match="was written to"):
        heal()


def test_a_full_disk_writes_through_no_link(root: Root) -> None:
    def work() -> None:
        fill(root.state / "filler")
        for seed in SEEDS:
            heal = struck(root, seed)
            (path,) = links(root)
            assert not path.exists()
            with pytest.raises(NotYet):
                heal()
            path.unlink()

    on_a_small_disk(root.state, 1, work)
