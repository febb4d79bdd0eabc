"""A peer under another name on disk: its directory, its profile, and its entry below `peers/`."""

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from transport.errors import PeerwakeError
from transport.files import replace, sync_directory
from transport.paths import Root
from transport.profile import Profile, ProfileUnusable, load_profile, save_profile
from transport.settle import NameTaken, default_directory, link


class DirectoryLost(PeerwakeError):
    """A peer's directory is neither where it was nor where it was to be; the user restores it."""

    code = "directory-lost"


@dataclass(frozen=True, slots=True)
class Place:
    """A peer's name and directory."""

    name: str
    cwd: Path


def renamed(root: Root, place: Place, name: str) -> Place:
    """Return where a peer is under another name.

    A directory that was made for the peer has its name and follows it; any other is its user's, and stays.
    """
    own = place.cwd == default_directory(root, place.name)
    return Place(name, default_directory(root, name) if own else place.cwd)


def relocate(root: Root, before: Place, after: Place) -> Profile:
    """Make what is on disk of `before` that of `after`, and return its profile as written.

    It may be repeated from any point at which it was cut off. Raises NameTaken, DirectoryLost,
    ProfileUnusable, OSError.
    """
    if before.cwd != after.cwd:
        _move(before, after)
    truth = load_profile(after.cwd)
    saved = save_profile(truth.model_copy(update={"name": after.name, "cwd": after.cwd}))
    if before.cwd == after.cwd:
        link(root, saved, ExitStack())
        _unlink(root.peers / before.name)
    return saved


def _move(before: Place, after: Place) -> None:
    source, target = before.cwd, after.cwd
    is_there = os.path.lexists(source)
    if os.path.lexists(target):
        names = (before.name, after.name)
        if is_there and (_is_home(source, names) or not _is_home(target, names)):
            raise NameTaken("name", f"{target} is in the way; move it away or choose another name")
        return
    if not is_there:
        raise DirectoryLost(f"neither {source} nor {target} is there; restore the peer's directory and repeat")
    replace(source, target)
    sync_directory(target.parent)


def _is_home(cwd: Path, names: tuple[str, str]) -> bool:
    try:
        return load_profile(cwd).name in names
    except ProfileUnusable:
        return False


def _unlink(entry: Path) -> None:
    if entry.is_symlink():
        entry.unlink()
        sync_directory(entry.parent)
