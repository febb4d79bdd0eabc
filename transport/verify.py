"""Where the registry, the entries below `peers/` and the profiles disagree."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from transport.paths import Root
from transport.profile import NoProfile, Profile, ProfileUnusable, load_profile
from transport.scan import resolve, scan
from transport.snapshot import Snapshot


class ProblemKind(StrEnum):
    """What is wrong; a rebuild mends all but a corrupt profile, a missing directory and an obstacle."""

    REGISTRY = "registry"
    DIRECTORY_MISSING = "directory-missing"
    PROFILE_MISSING = "profile-missing"
    PROFILE_CORRUPT = "profile-corrupt"
    NAME_MISMATCH = "name-mismatch"
    DIFFERS = "differs"
    ENTRY = "entry"
    UNREGISTERED = "unregistered"
    UNFINISHED = "unfinished"


@dataclass(frozen=True, slots=True)
class Problem:
    """One disagreement; `name` is the peer's, empty for the registry as a whole."""

    kind: ProblemKind
    name: str
    text: str


def check(root: Root, snapshot: Snapshot | None) -> tuple[Problem, ...]:
    """Return all problems, those of registered peers first; without a readable registry only those of the profiles."""
    known = tuple(snapshot.peers.values()) if snapshot else ()
    problems = [problem for profile in known for problem in _check_peer(root, profile)]
    reported = {problem.name for problem in problems}
    found = scan(root)
    problems += [
        Problem(ProblemKind.ENTRY, skipped.name, skipped.reason)
        for skipped in found.skipped
        if skipped.name not in reported
    ]
    if snapshot is not None:
        problems += [
            Problem(ProblemKind.UNREGISTERED, name, f"{profile.path} is a profile that the registry does not know")
            for name, profile in found.peers.items()
            if name not in snapshot.peers
        ]
    return tuple(problems)


def _check_peer(root: Root, profile: Profile) -> Iterator[Problem]:
    name = profile.name
    entry = root.peers / name
    if resolve(entry) != profile.cwd:
        where = "leads elsewhere" if os.path.lexists(entry) else "is missing"
        yield Problem(ProblemKind.ENTRY, name, f"{entry} {where}; it must lead to {profile.cwd}")
    if resolve(profile.cwd) is None:
        yield Problem(ProblemKind.DIRECTORY_MISSING, name, f"its directory {profile.cwd} does not exist")
        return
    try:
        truth = load_profile(profile.cwd)
    except NoProfile as error:
        yield Problem(ProblemKind.PROFILE_MISSING, name, str(error))
    except ProfileUnusable as error:
        yield Problem(ProblemKind.PROFILE_CORRUPT, name, str(error))
    else:
        if truth.name != name:
            yield Problem(ProblemKind.NAME_MISMATCH, name, f"{truth.path} is the profile of {truth.name!r}")
        elif truth != profile:
            yield Problem(ProblemKind.DIFFERS, name, f"{truth.path} says something else than the registry")
