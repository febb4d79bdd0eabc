"""All peers of a root: `peers.json`, a projection of the profiles with one writer at a time."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from transport.clock import Clock, SystemClock
from transport.errors import PeerwakeError
from transport.files import read_regular, replace, write_atomic
from transport.paths import Root
from transport.profile import Profile, removed_path, save_profile
from transport.relocate import Place, relocate
from transport.scan import Skipped, resolve, scan
from transport.settle import DirectoryTaken, NameTaken, PeersBelow, default_directory, mend, settle
from transport.snapshot import RegistryCorrupt, RegistryNewer, RegistryUnusable, Snapshot, decode, snapshot_from
from transport.verify import Problem, ProblemKind, check

LOCK_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.005
MOVED_AWAY: Final = "which is renamed with its peer; nothing was changed. Remove them first"

Signature = tuple[int, int, int]


class RegistryBusy(RegistryUnusable):
    """Another process has been writing the registry for too long: nothing was changed, try again."""

    code = "registry-busy"


class RegistryUnwritable(RegistryUnusable):
    """Something below the root cannot be written; the user mends that and tries again."""

    code = "registry-unwritable"


class NotRegistered(PeerwakeError):
    """No peer has this name."""

    code = "not-registered"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild found: the names now registered, the changes, and what was skipped."""

    names: tuple[str, ...]
    added: tuple[str, ...]
    dropped: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    kept_aside: Path | None


@dataclass(frozen=True, slots=True)
class _Seen:
    signature: Signature | None
    snapshot: Snapshot
    problem: str | None


class Registry:
    """Peers by name; reads are answered from memory after one `stat`, writes block and belong into a thread.

    `problem` tells why the file could not be used at the last read, None when all is well.
    """

    def __init__(self, root: Root, clock: Clock | None = None, lock_seconds: float = LOCK_SECONDS) -> None:
        self.root = root
        self.clock = clock or SystemClock()
        self._file = str(root.registry)
        self._lock_seconds = lock_seconds
        self._seen: _Seen | None = None

    @property
    def problem(self) -> str | None:
        return self._look().problem

    def snapshot(self) -> Snapshot:
        """Return all peers as they are now.

        A damaged file is answered from the last good copy, else from the profiles; RegistryNewer is raised
        only where there is no good copy.
        """
        return self._look().snapshot

    def get(self, name: str) -> Profile | None:
        """Return a peer's profile, None if there is no such peer."""
        return self.snapshot().peers.get(name)

    def names(self) -> tuple[str, ...]:
        """Return the names of all peers, sorted."""
        return self.snapshot().names

    def nearest(self, name: str, n: int = 3) -> tuple[str, ...]:
        """Return up to `n` names that `name` may have been meant for, the likeliest first."""
        return self.snapshot().nearest(name, n)

    def page(self, query: str | None = None, offset: int = 0, limit: int = 20) -> tuple[tuple[Profile, ...], int]:
        """Return some of the peers whose name, description or runtime holds `query`, and how many there are."""
        return self.snapshot().page(query or "", offset, limit)

    def at(self, cwd: Path) -> Profile | None:
        """Return the peer that works in exactly this directory, None if nobody does."""
        snapshot = self.snapshot()
        name = snapshot.directories.get(resolve(cwd) or cwd)
        return snapshot.peers[name] if name else None

    def below(self, cwd: Path) -> tuple[str, ...]:
        """Return the names of the peers that work below a directory, not in it itself."""
        return self.snapshot().below(cwd)

    def add(self, *profiles: Profile) -> None:
        """Make peers: their directories, profiles, entries below `peers/`, and the registry, all or nothing.

        A profile left by a crash in the same directory, which says the same, is no hindrance. Raises NameTaken,
        DirectoryTaken, InvalidInput, ProfileUnusable, RegistryUnusable.
        """
        with self._writing() as snapshot, ExitStack() as undo:
            names = {name: known.cwd for name, known in snapshot.peers.items()}
            directories = dict(snapshot.directories)
            added: list[Profile] = []
            for profile in profiles:
                _check_free(profile, names, directories)
                added.append(settle(self.root, profile, undo))
                names[profile.name] = profile.cwd
                directories[profile.cwd] = profile.name
            self._write(snapshot.replaced(put=added))
            undo.pop_all()

    def update(self, profile: Profile) -> Profile:
        """Write a changed profile and register it; name and directory stay. Returns what was written.

        Raises NotRegistered, ProfileUnusable, RegistryUnusable, OSError.
        """
        with self._writing() as snapshot:
            known = _known(snapshot, profile.name)
            if known.cwd != profile.cwd:
                raise DirectoryTaken("cwd", f"{profile.name!r} lives in {known.cwd}; its directory cannot be changed")
            saved = save_profile(profile)
            self._write(snapshot.replaced(put=[saved]))
            return saved

    def remove(self, name: str, created_at: str | None = None) -> Profile:
        """Take a peer out of the registry; its directory stays, its profile is kept as `profile.json.removed`.

        A profile that is reached over a link may be another peer's and is left as it is. With `created_at` only
        the peer of this name that was made then is taken out.

        Raises NotRegistered, RegistryUnusable, OSError.
        """
        with self._writing() as snapshot:
            profile = _known(snapshot, name)
            if created_at not in (None, profile.created_at):
                raise NotRegistered(f"the {name!r} that was made at {created_at} is gone; there is another one")
            if _is_own(snapshot, profile):
                with suppress(FileNotFoundError, NotADirectoryError):
                    replace(profile.path, removed_path(profile.cwd))
            link = self.root.peers / name
            if link.is_symlink():
                link.unlink()
            self._write(snapshot.replaced(drop=[name]))
            return profile

    def rename(self, before: Place, after: Place) -> Profile:
        """Give a peer another name, and its directory where that follows; returns the profile as written.

        It may be repeated from any point at which it was cut off, and is taken back by its reverse. Raises
        NameTaken, DirectoryTaken, PeersBelow, DirectoryLost, ProfileUnusable, RegistryUnusable.
        """
        with self._writing() as snapshot:
            if before.cwd != after.cwd and (names := snapshot.below(before.cwd)):
                raise PeersBelow(names, before.cwd, MOVED_AWAY)
            own = {before, after}
            others = {name: known.cwd for name, known in snapshot.peers.items() if Place(name, known.cwd) not in own}
            _check_free(after, others, {cwd: name for name, cwd in others.items()})
            saved = relocate(self.root, before, after)
            self._write(snapshot.replaced(drop=[before.name], put=[saved]))
            return saved

    @contextmanager
    def held(self) -> Iterator[Mapping[str, Profile]]:
        """Yield the peers while none is made, removed or renamed; raises RegistryUnusable."""
        with self._locked():
            yield self._read().snapshot.peers

    def default_directory(self, name: str) -> Path:
        """Return where a peer lives that was given no directory."""
        return default_directory(self.root, name)

    def rebuild(self) -> Rebuilt:
        """Write the registry anew from the profiles; a damaged file is kept aside.

        Raises RegistryBusy, RegistryNewer, RegistryUnwritable.
        """
        with self._locked():
            kept_aside = None
            try:
                before = self._read().snapshot
            except RegistryCorrupt:
                before = self._seen.snapshot if self._seen else snapshot_from(())
                kept_aside = self.root.registry.with_name(f"{self.root.registry.name}.corrupt-{self.clock.wall():.3f}")
                replace(self.root.registry, kept_aside)
            found = scan(self.root, before.peers.values())
            skipped = [*found.skipped, *filter(None, (mend(self.root, profile) for profile in found.peers.values()))]
            self._write(snapshot_from(found.peers.values()))
        return Rebuilt(
            names=tuple(sorted(found.peers)),
            added=tuple(sorted(found.peers.keys() - before.peers.keys())),
            dropped=tuple(sorted(before.peers.keys() - found.peers.keys())),
            skipped=tuple(skipped),
            kept_aside=kept_aside,
        )

    def verify(self) -> tuple[Problem, ...]:
        """Compare the registry, the entries below `peers/` and the profiles; changes nothing."""
        try:
            seen = self._read()
        except RegistryUnusable as error:
            return (Problem(ProblemKind.REGISTRY, "", str(error)), *check(self.root, None))
        missing = [Problem(ProblemKind.REGISTRY, "", seen.problem)] if seen.problem else []
        return (*missing, *check(self.root, seen.snapshot))

    def _look(self) -> _Seen:
        seen = self._seen
        signature = self._signature()
        if seen is None or seen.signature != signature:
            seen = self._seen = self._reload(seen, signature)
        return seen

    def _reload(self, seen: _Seen | None, signature: Signature | None) -> _Seen:
        try:
            return self._read()
        except RegistryUnusable as error:
            if seen is None and isinstance(error, RegistryNewer):
                raise
            snapshot = seen.snapshot if seen else snapshot_from(scan(self.root).peers.values())
            return _Seen(signature, snapshot, str(error))

    def _read(self) -> _Seen:
        path = self.root.registry
        try:
            data, status = read_regular(path)
        except FileNotFoundError:
            return self._read_profiles()
        except OSError as error:
            raise RegistryCorrupt(f"{path} cannot be read: {error.strerror}; run: peerwake verify --fix") from error
        return _Seen(_signature_of(status), decode(path, data, self._seen.snapshot if self._seen else None), None)

    def _read_profiles(self) -> _Seen:
        found = scan(self.root).peers
        problem = f"{self.root.registry} is missing and was read from the profiles; run: peerwake verify --fix"
        return _Seen(None, snapshot_from(found.values()), problem if found else None)

    def _signature(self) -> Signature | None:
        try:
            return _signature_of(os.stat(self._file))  # noqa: PTH116 (this line is most of what `get` costs)
        except FileNotFoundError:
            return None
        except OSError as error:
            return (-1, error.errno or 0, 0)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold `peers.lock`; an OSError inside becomes RegistryUnwritable."""
        path = self.root.registry_lock
        try:
            with FileLock(path, self._lock_seconds, mode=0o600, poll_interval=POLL_SECONDS):
                yield
        except Timeout as error:
            raise RegistryBusy(
                f"another process has held {path} for {self._lock_seconds:g} s; nothing was changed, try again"
            ) from error
        except OSError as error:
            raise RegistryUnwritable(
                f"cannot write {error.filename or self.root.registry}: {error.strerror}; mend that and try again"
            ) from error

    @contextmanager
    def _writing(self) -> Iterator[Snapshot]:
        """Hold the lock and yield what the file says; raises RegistryUnusable rather than build on a damaged one."""
        with self._locked():
            seen = self._read()
            if seen.signature is None:
                # Written before anything is made, so that a crash leaves a profile to adopt, not a peer by accident.
                self._write(seen.snapshot)
            yield seen.snapshot

    def _write(self, snapshot: Snapshot) -> None:
        write_atomic(self.root.registry, snapshot.encode())
        self._seen = _Seen(self._signature(), snapshot, None)


def _signature_of(status: os.stat_result) -> Signature:
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def _known(snapshot: Snapshot, name: str) -> Profile:
    if name not in snapshot.peers:
        near = ", ".join(snapshot.nearest(name, 3))
        raise NotRegistered(f"no peer is called {name!r:.80}" + (f"; nearest: {near}" if near else ""))
    return snapshot.peers[name]


def _is_own(snapshot: Snapshot, profile: Profile) -> bool:
    """Tell whether what stands in the place of a peer's profile is its own, and not reached over a link."""
    directory = profile.path.parent
    real = resolve(directory)
    return (
        not directory.is_symlink()
        and real is not None
        and (snapshot.directories.get(real.parent) in (None, profile.name))
    )


def _check_free(profile: Profile | Place, names: Mapping[str, Path], directories: Mapping[Path, str]) -> None:
    name, cwd = profile.name, profile.cwd
    if name in names:
        raise NameTaken("name", f"{name!r} is taken, it lives in {names[name]}; choose another name")
    if cwd in directories:
        raise DirectoryTaken("cwd", f"{cwd} is the directory of {directories[cwd]!r}; choose another")
