"""What belongs to a peer outside of its directory: state files, sockets, pane logs; listed, copied, removed."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from lifecycle.flags import Flag
from lifecycle.operator_env import FILE as OPERATOR_ENV
from lifecycle.session import SessionUnreadable, dump, parse
from transport.errors import PeerwakeError
from transport.files import read_regular, sync_directory, write_atomic
from transport.identity import Identity, parse_identity
from transport.paths import Root

FILE_BYTES: Final = 1 << 20
LOCK: Final = ".lock"
RECORDS: Final = frozenset({"session", "last"})
PLACES: Final = ("run", "run/tmux", "run/prompts", "logs/panes", "state/canary")


@dataclass(frozen=True, slots=True)
class Belonging:
    """One file of one presence of a peer; `suffix` is what follows the identity and a dot."""

    path: Path
    identity: Identity
    suffix: str

    def under(self, name: str) -> Path:
        """Return where the same file of the same runtime is under another name."""
        return self.path.with_name(f"{self.identity.runtime}-{name}.{self.suffix}")


def state_of(root: Root, name: str) -> list[Belonging]:
    """Return the state files of a peer, whatever runtimes it declares, sorted."""
    return sorted(_below(root.state, name), key=lambda found: found.path)


def identities_of(root: Root, name: str) -> set[Identity]:
    """Return the presences of which there is a state file or a socket."""
    return {found.identity for place in (root.state, root.run / "tmux") for found in _below(place, name)}


def pane_logs_of(root: Root, name: str) -> list[Belonging]:
    """Return the pane logs of a peer with their rotated ones, sorted."""
    return sorted(_below(root.logs / "panes", name), key=lambda found: found.path)


def copy_state(root: Root, old: str, new: str, moved: tuple[Path, Path]) -> None:
    """Write a peer's state files under another name, session records with the directory they moved to.

    It may be repeated. Locks are left out, and so are records that cannot be read. Raises OSError.
    """
    for found in state_of(root, old):
        if found.suffix.endswith(LOCK):
            continue
        data, _ = read_regular(found.path, follow=False, limit=FILE_BYTES)
        if found.suffix in RECORDS:
            try:
                data = _readdressed(data, Identity(found.identity.runtime, new), moved)
            except SessionUnreadable:
                continue
        write_atomic(found.under(new), data)


def forget(root: Root, name: str, *, with_locks: bool = True, with_stop: bool = True) -> None:
    """Remove what belongs to a peer outside of its directory; what lets nobody wake it goes last. Raises OSError."""
    for place in PLACES:
        for found in _below(root.home / place, name):
            found.path.unlink(missing_ok=True)
    files = [
        found
        for found in state_of(root, name)
        if (with_locks or not found.suffix.endswith(LOCK)) and (with_stop or found.suffix != Flag.STOPPED)
    ]
    for found in sorted(files, key=lambda found: (found.suffix.endswith(LOCK), found.suffix == Flag.STOPPED)):
        found.path.unlink(missing_ok=True)
    if files:
        sync_directory(root.state)


def _below(directory: Path, name: str) -> Iterator[Belonging]:
    """Yield what is named after a peer; a directory is nothing that we made."""
    try:
        with os.scandir(directory) as entries:
            names = [entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return
    for each in names:
        stem, dot, suffix = each.partition(".")
        if not dot or each == OPERATOR_ENV:
            continue
        with suppress(PeerwakeError):
            identity = parse_identity(stem)
            if identity.personality == name:
                yield Belonging(directory / each, identity, suffix)


def _readdressed(data: bytes, identity: Identity, moved: tuple[Path, Path]) -> bytes:
    session = parse(data.decode("utf-8", "replace"))
    there = replace(
        session,
        identity=identity,
        cwd=moved_path(session.cwd, moved),
        client_env={name: moved_path(value, moved) for name, value in session.client_env.items()},
    )
    return dump(there).encode()


def moved_path(path: str, moved: tuple[Path, Path]) -> str:
    """Return a path as it is after the first directory of `moved` became the second."""
    old, new = (str(each) for each in moved)
    return new + path[len(old) :] if path == old or path.startswith(f"{old}{os.sep}") else path
