"""The journal of one change of a peer: written before its first step, so that a killed server's change is finished."""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from transport.errors import PeerwakeError
from transport.files import read_regular, sync_directory, write_atomic
from transport.identity import check_personality
from transport.paths import Root
from transport.relocate import Place

FILE: Final = "change.json"
FILE_BYTES: Final = 16 << 20
VERSION: Final = 1

Pair = tuple[Path, Path]


class JournalUnusable(PeerwakeError):
    """What was begun cannot be read or written; the user looks at the file and repeats."""

    code = "change-unreadable"


class Phase(StrEnum):
    """How far a rename is: `moving` until everything is under the new name, `clearing` what is left of the old."""

    MOVING = "moving"
    CLEARING = "clearing"


@dataclass(frozen=True, slots=True)
class Renaming:
    """A peer becomes another; `files` are further moves, each from the first path to the second."""

    before: Place
    after: Place
    files: tuple[Pair, ...] = ()
    phase: Phase = Phase.MOVING

    @property
    def name(self) -> str:
        return self.before.name

    @property
    def names(self) -> tuple[str, ...]:
        """The names that are nobody else's until it is finished."""
        return self.before.name, self.after.name

    @property
    def moved(self) -> Pair:
        """The directory before and after."""
        return self.before.cwd, self.after.cwd

    @property
    def reverse(self) -> "Renaming":
        """The same change backwards."""
        return Renaming(self.after, self.before, tuple((new, old) for old, new in reversed(self.files)))

    def __str__(self) -> str:
        return f"renaming {self.before.name} to {self.after.name}"


@dataclass(frozen=True, slots=True)
class Removal:
    """A peer is removed; `is_purged` tells whether its directory goes with it.

    `created_at` is when it was made, which tells it from the next one of its name; None where an earlier version
    began it.
    """

    place: Place
    is_purged: bool = False
    created_at: str | None = None

    @property
    def name(self) -> str:
        return self.place.name

    @property
    def names(self) -> tuple[str, ...]:
        """The names that are nobody else's until it is finished."""
        return (self.place.name,)

    def __str__(self) -> str:
        return f"removing {self.place.name}"


Change = Renaming | Removal


class Journal:
    """The change in hand of one root, none or one; its methods block."""

    def __init__(self, root: Root) -> None:
        self.path = root.state / FILE

    def load(self) -> Change | None:
        """Return the change that was begun and not finished; raises JournalUnusable."""
        try:
            data, _ = read_regular(self.path, follow=False, limit=FILE_BYTES)
            return _parse(json.loads(data))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise JournalUnusable(f"{self.path} cannot be read: {error.strerror}; mend that and repeat") from error
        except (PeerwakeError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise JournalUnusable(
                f"{self.path} cannot be read ({error}); it tells which peer was being removed or renamed:"
                " look at it, then move it away"
            ) from error

    def write(self, change: Change) -> None:
        """Write down what begins now; raises JournalUnusable."""
        try:
            write_atomic(self.path, json.dumps(_dump(change), indent=1) + "\n")
        except (OSError, UnicodeEncodeError) as error:
            raise JournalUnusable(f"{self.path} cannot be written ({error}); nothing was changed") from error

    def clear(self) -> None:
        """Note that the change is finished, or was taken back; raises OSError."""
        self.path.unlink(missing_ok=True)
        sync_directory(self.path.parent)


def _dump(change: Change) -> dict[str, Any]:
    match change:
        case Renaming(before, after, files, phase):
            return {
                "version": VERSION,
                "change": "rename",
                "before": _place(before),
                "after": _place(after),
                "files": [[str(old), str(new)] for old, new in files],
                "phase": phase,
            }
        case Removal(place, is_purged, created_at):
            return {
                "version": VERSION,
                "change": "remove",
                "place": _place(place),
                "is_purged": is_purged,
                "created_at": created_at,
            }


def _parse(data: dict[str, Any]) -> Change:
    if data["version"] != VERSION:
        raise ValueError(f"version {data['version']} is not {VERSION}; upgrade peerwake")
    if data["change"] == "remove":
        created_at = data.get("created_at")
        return Removal(
            _to_place(data["place"]), bool(data["is_purged"]), None if created_at is None else str(created_at)
        )
    files = tuple((Path(old), Path(new)) for old, new in data["files"])
    return Renaming(_to_place(data["before"]), _to_place(data["after"]), files, Phase(data["phase"]))


def _place(place: Place) -> dict[str, str]:
    return {"name": place.name, "cwd": str(place.cwd)}


def _to_place(data: dict[str, str]) -> Place:
    return Place(check_personality(data["name"], "name"), Path(data["cwd"]))
