"""A peer on disk: its directory, its profile, and the entry below `peers/` that leads there."""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from shlex import quote
from typing import Final

from transport.errors import InvalidInput, PeerwakeError
from transport.files import sync_directory
from transport.paths import Root
from transport.profile import NoProfile, Profile, load_profile, save_profile
from transport.scan import Skipped, resolve

ASKED: Final = ("runtimes", "default_runtime", "intelligence", "description", "wake_policy", "initial_prompt")
"""What whoever makes a peer says of it; all else is of the place and the time."""


class NameTaken(InvalidInput):
    """Another peer has this name: the caller chooses another."""

    code = "name-taken"


class DirectoryTaken(InvalidInput):
    """Another peer works in this directory: the caller chooses another."""

    code = "directory-taken"


class PeersBelow(PeerwakeError):
    """Other peers work below a directory that was to go: the operator removes those first."""

    code = "peers-below"

    def __init__(self, names: Sequence[str], cwd: Path, why: str) -> None:
        live = "lives" if len(names) == 1 else "live"
        super().__init__(f"{', '.join(names)} {live} below {cwd}, {why}")


def default_directory(root: Root, name: str) -> Path:
    """Return where a peer lives that was given no directory."""
    return (resolve(root.peers) or root.peers) / name


def settle(root: Root, profile: Profile, undo: ExitStack) -> Profile:
    """Make a peer's directory, profile and entry below `peers/`; `undo` takes back what was made.

    Returns the profile as written. Raises InvalidInput, NameTaken, DirectoryTaken, ProfileUnusable, OSError.
    """
    _make_directory(root, profile, undo)
    try:
        left = load_profile(profile.cwd)
    except NoProfile:
        undo.callback(_quietly, profile.path.parent.rmdir)
        undo.callback(_quietly, profile.path.unlink)
    else:
        _check_left(root, profile, left)
    saved = save_profile(profile)
    link(root, saved, undo)
    return saved


def _check_left(root: Root, profile: Profile, left: Profile) -> None:
    """Raise DirectoryTaken for a profile in the peer's place that says another thing than what is asked for."""
    if left.name != profile.name:
        raise DirectoryTaken("cwd", f"{profile.path} is the profile of {left.name!r}; use that name or move it away")
    differing = [field for field in ASKED if getattr(left, field) != getattr(profile, field)]
    if differing:
        raise DirectoryTaken(
            "cwd",
            f"{profile.path} is there already, with another {', '.join(differing)}; move it away to make {left.name!r}"
            f" anew, or take it as it is: ln -s {quote(str(profile.cwd))} {quote(str(root.peers / left.name))}"
            " && peerwake verify --fix",
        )


def link(root: Root, profile: Profile, undo: ExitStack) -> None:
    """Make `peers/<name>` lead to the peer's directory; raises NameTaken if something is in the way."""
    entry = root.peers / profile.name
    there = resolve(entry)
    if there == profile.cwd:
        return
    if entry.is_symlink() and not (there and _is_home_of(profile.name, there)):
        entry.unlink()
    elif os.path.lexists(entry):
        raise NameTaken("name", f"{entry} is in the way of {profile.name!r}; move it away or choose another name")
    entry.symlink_to(profile.cwd, target_is_directory=True)
    undo.callback(_quietly, entry.unlink)
    sync_directory(entry.parent)


def mend(root: Root, profile: Profile) -> Skipped | None:
    """Write the new place of a moved peer and its missing entry below `peers/`; returns what it could not mend."""
    try:
        if load_profile(profile.cwd).cwd != profile.cwd:
            save_profile(profile)
        link(root, profile, ExitStack())
    except (PeerwakeError, OSError) as error:
        return Skipped(profile.name, root.peers / profile.name, str(error))
    return None


def _make_directory(root: Root, profile: Profile, undo: ExitStack) -> None:
    cwd: Path = profile.cwd
    if not os.path.lexists(cwd) and cwd == default_directory(root, profile.name):
        cwd.mkdir(mode=0o700)
        undo.callback(_quietly, cwd.rmdir)
    if resolve(cwd) != cwd:
        raise InvalidInput("cwd", f"{cwd} is not the real path of a directory; create it, or give its real path")


def _is_home_of(name: str, cwd: Path) -> bool:
    try:
        return load_profile(cwd).name == name
    except PeerwakeError:
        return False


def _quietly(undo: Callable[[], None]) -> None:
    """Take back one step of something that failed anyway: what cannot be taken back is left for `verify`."""
    with suppress(OSError):
        undo()
