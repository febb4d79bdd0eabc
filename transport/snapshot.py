"""The registry as it was at one moment: immutable, searched in memory, one line of JSON per peer on disk."""

import difflib
import heapq
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from transport.errors import PeerwakeError
from transport.profile import Profile, describe, json_version

SCHEMA: Final = 1
HEADER: Final = b'{"version": %d, "peers": [' % SCHEMA
FOOTER: Final = b"]}"
NEAR: Final = 0.6
SHORTLIST: Final = 40
MAX_GUESS: Final = 32


class RegistryUnusable(PeerwakeError):
    """The registry's file cannot be read or written; it is left as it is."""

    code = "registry-unusable"


class RegistryCorrupt(RegistryUnusable):
    """The registry's file is damaged; the user has it rebuilt from the profiles."""

    code = "registry-corrupt"


class RegistryNewer(RegistryUnusable):
    """The registry was written by a newer version; the user upgrades."""

    code = "registry-newer"


@dataclass(frozen=True)
class Snapshot:
    """All peers by name, in order of their names; `lines` are the same peers as they stand in the file."""

    peers: dict[str, Profile]
    lines: dict[bytes, Profile]

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(self.peers)

    @cached_property
    def directories(self) -> dict[Path, str]:
        return {profile.cwd: name for name, profile in self.peers.items()}

    @cached_property
    def _texts(self) -> dict[str, str]:
        return {
            name: "\n".join((profile.description, *profile.runtimes)).casefold() for name, profile in self.peers.items()
        }

    def below(self, cwd: Path) -> tuple[str, ...]:
        """Return the names of the peers that work below a directory, not in it itself."""
        return tuple(name for name, profile in self.peers.items() if cwd in profile.cwd.parents)

    def page(self, query: str, offset: int, limit: int) -> tuple[tuple[Profile, ...], int]:
        """Return some of the peers that match, those whose name matches first, and how many match in all."""
        wanted = query.strip().casefold()
        names = self._matching(wanted) if wanted else self.names
        start = max(offset, 0)
        return tuple(self.peers[name] for name in names[start : start + max(limit, 0)]), len(names)

    def nearest(self, name: str, count: int) -> tuple[str, ...]:
        """Return up to `count` names that `name` may have been meant for, the likeliest first."""
        wanted = name.strip().casefold()[:MAX_GUESS]
        if not wanted or count < 1:
            return ()
        parts = {*wanted, *map("".join, itertools.pairwise(wanted))}
        shortlist = heapq.nlargest(
            SHORTLIST, self.names, key=lambda known: 4 * sum(map(known.__contains__, parts)) - len(known)
        )
        close = difflib.get_close_matches(wanted, shortlist, count, NEAR)
        contained = (known for known in shortlist if wanted in known or known in wanted)
        return tuple(dict.fromkeys((*close, *contained)))[:count]

    def replaced(self, *, drop: Iterable[str] = (), put: Iterable[Profile] = ()) -> "Snapshot":
        """Return a snapshot without the peers named in `drop` and with the profiles in `put`."""
        added = {profile.name: profile for profile in put}
        gone = {*drop, *added}
        lines = {line: profile for line, profile in self.lines.items() if profile.name not in gone}
        return snapshot_of(lines | {encode_line(profile): profile for profile in added.values()})

    def encode(self) -> bytes:
        """Return the text of the registry's file."""
        return HEADER + b"\n" + b",\n".join(self.lines) + b"\n" + FOOTER + b"\n"

    def _matching(self, wanted: str) -> tuple[str, ...]:
        named = tuple(name for name in self.names if wanted in name)
        return named + tuple(name for name, text in self._texts.items() if wanted in text and wanted not in name)


def encode_line(profile: Profile) -> bytes:
    """Return a profile as one line of the registry's file."""
    return profile.model_dump_json().encode()


def snapshot_of(lines: dict[bytes, Profile]) -> Snapshot:
    """Return the snapshot of profiles given with their lines, sorted by name."""
    ordered = dict(sorted(lines.items(), key=lambda item: item[1].name))
    return Snapshot({profile.name: profile for profile in ordered.values()}, ordered)


def snapshot_from(profiles: Iterable[Profile]) -> Snapshot:
    """Return the snapshot of some profiles."""
    return snapshot_of({encode_line(profile): profile for profile in profiles})


def decode(path: Path, data: bytes, known: Snapshot | None = None) -> Snapshot:
    """Read the registry's file, taking unchanged lines from `known` (a change costs what it changes).

    Raises RegistryCorrupt or RegistryNewer naming `path`.
    """
    header, *body = data.rstrip(b"\n").split(b"\n")
    as_written = header == HEADER and body and body[-1] == FOOTER
    texts = (line.removesuffix(b",") for line in body[:-1]) if as_written else _elements(path, data)
    cache = known.lines if known else {}
    lines: dict[bytes, Profile] = {}
    for number, line in enumerate(filter(None, texts), start=1):
        lines[line] = cache.get(line) or _decode_line(path, number, line)
    snapshot = snapshot_of(lines)
    if len(snapshot.peers) != len(lines) or len(snapshot.directories) != len(lines):
        raise RegistryCorrupt(f"{path} names a peer or a directory twice; run: peerwake verify --fix")
    return snapshot


def _decode_line(path: Path, number: int, line: bytes) -> Profile:
    try:
        return Profile.model_validate_json(line)
    except ValidationError as error:
        problem = ": ".join(filter(None, describe(error)))
        raise RegistryCorrupt(f"{path}, peer {number}: {problem}; run: peerwake verify --fix") from error


def _elements(path: Path, data: bytes) -> list[bytes]:
    version = json_version(data)
    if version > SCHEMA:
        raise RegistryNewer(
            f"{path}: version {version} is newer than {SCHEMA}, the newest known here; upgrade peerwake and restart it"
        )
    try:
        document = from_json(data)
    except ValueError as error:
        raise RegistryCorrupt(f"{path} is not JSON ({error}); run: peerwake verify --fix") from error
    peers = document.get("peers") if isinstance(document, dict) else None
    if version != SCHEMA or not isinstance(peers, list):
        raise RegistryCorrupt(f"{path} is not a registry of version {SCHEMA}; run: peerwake verify --fix")
    return [to_json(peer) for peer in peers]
