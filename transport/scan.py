"""Finding peers by their profiles, below `peers/` and wherever else one is known to live."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from transport.identity import PERSONALITY
from transport.paths import Root
from transport.profile import Profile, ProfileUnusable, load_profile, profile_path, removed_path


@dataclass(frozen=True, slots=True)
class Skipped:
    """A place where a peer should be and cannot be taken from, and why."""

    name: str
    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Scan:
    """The peers found by their profiles, and what was skipped."""

    peers: dict[str, Profile]
    skipped: tuple[Skipped, ...]


class Unfit(Exception):
    """A place holds no peer of the expected name; the text is the reason."""


def scan(root: Root, known: Iterable[Profile] = ()) -> Scan:
    """Read the profiles below `peers/` and, for peers not found there, where `known` says they live."""
    places = {path.name: [path] for path in _entries(root.peers) if not _is_left(path)}
    for profile in known:
        places.setdefault(profile.name, []).append(profile.cwd)
    peers: dict[str, Profile] = {}
    skipped: list[Skipped] = []
    claimed: dict[Path, str] = {}
    for name, paths in places.items():
        found = _first(name, paths, claimed)
        if isinstance(found, Skipped):
            skipped.append(found)
        else:
            peers[name] = found
            claimed[found.cwd] = name
    return Scan(peers, tuple(skipped))


def _first(name: str, paths: list[Path], claimed: dict[Path, str]) -> Profile | Skipped:
    refusals: list[Skipped] = []
    for path in paths:
        try:
            profile = _read(name, path)
            if profile.cwd in claimed:
                raise Unfit(f"{profile.cwd} is already the directory of {claimed[profile.cwd]!r}")
        except (Unfit, ProfileUnusable) as error:
            refusals.append(Skipped(name, path, str(error)))
        else:
            return profile
    return refusals[0]


def resolve(path: Path) -> Path | None:
    """Return the real directory that `path` leads to, None if it leads nowhere."""
    try:
        real = path.resolve(strict=True)
        return real if real.is_dir() else None
    except (OSError, RuntimeError):
        return None


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def _is_left(path: Path) -> bool:
    """Tell whether a directory is what is left of a peer that was removed."""
    return removed_path(path).is_file() and not os.path.lexists(profile_path(path))


def _read(name: str, path: Path) -> Profile:
    if not PERSONALITY.fullmatch(name):
        raise Unfit(f"{path} does not have the name of a peer")
    cwd = resolve(path)
    if cwd is None:
        dangling = path.is_symlink()
        raise Unfit(f"{path} is a symbolic link that leads nowhere" if dangling else f"{path} is not a directory")
    profile = load_profile(cwd)
    if profile.name != name:
        raise Unfit(f"{profile.path} is the profile of {profile.name!r}, not of {name!r}")
    return profile if profile.cwd == cwd else _moved(profile, cwd)


def _moved(profile: Profile, cwd: Path) -> Profile:
    """Return the profile of a directory that was moved to `cwd`; raises Unfit if it was copied."""
    old = resolve(profile.cwd)
    if old is not None and old != cwd:
        try:
            original = load_profile(old)
        except ProfileUnusable:
            original = None
        if original is not None and original.name == profile.name:
            raise Unfit(f"{cwd} is a copy of {old}, where {profile.name!r} lives; give the copy a name of its own")
    return profile.model_copy(update={"cwd": cwd})
