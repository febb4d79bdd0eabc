"""The end of a peer: registry entry, queue, state and credentials; its directory stays unless it is ours to delete."""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from lifecycle.belongings import forget, identities_of
from lifecycle.flags import Flag, Flags, FlagUnusable
from lifecycle.journal import Journal, Removal
from lifecycle.liveness import find_live, refuse_live
from lifecycle.requests import Refused
from transport import files
from transport.clock import Clock
from transport.errors import InvalidInput, PeerwakeError
from transport.files import sync_directory
from transport.identity import Identity
from transport.logs import Logs
from transport.paths import Root
from transport.profile import Profile
from transport.registry import NotRegistered, Registry
from transport.relocate import Place
from transport.retired import Retired
from transport.settle import PeersBelow, default_directory
from transport.spool.records import Buried
from transport.spool.store import SpoolStore

OR_FORCE: Final = ", or remove it with --force"
REMOVING: Final = "it is being removed"
DELETED: Final = "which --purge deletes; nothing was changed. Remove them first, or repeat without --purge"

Withdraw = Callable[[Path], tuple[str, ...]]


class MessagesWaiting(Refused):
    """Messages wait for the peer: the operator lets them be delivered, or gives them up."""

    code = "messages-waiting"


class RemovalStuck(PeerwakeError):
    """A removal has begun and waits for what its text names: the operator sees to that and repeats it."""

    code = "removal-unfinished"


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed: `buried` are the messages that waited, `withdrawn` the files our entries were taken from."""

    place: Place
    is_purged: bool
    buried: tuple[Buried, ...] = ()
    withdrawn: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def row(self) -> dict[str, Any]:
        """Return it as it is shown."""
        return {
            "name": self.place.name,
            "cwd": str(self.place.cwd),
            "purged": self.is_purged,
            "dead_letters": [dead.id for dead in self.buried],
            "withdrawn": list(self.withdrawn),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Remover:
    """Removes peers. All methods block; `withdraw` takes our entries out of a directory's client configuration."""

    root: Root
    registry: Registry
    flags: Flags
    clock: Clock
    logs: Logs
    withdraw: Withdraw

    @property
    def journal(self) -> Journal:
        return Journal(self.root)

    def identities(self, name: str) -> list[Identity]:
        """Return all presences of a peer, also those it left behind, sorted: whose wake locks are to be held."""
        known = self.registry.get(name)
        return sorted({*identities_of(self.root, name), *(known.identities if known else ())})

    def check(self, profile: Profile, *, force: bool, purge: bool) -> Removal:
        """Return what is to be removed. Changes nothing; raises PeerLive, MessagesWaiting, InvalidInput, PeersBelow,
        SessionUnreadable."""
        name, cwd = profile.name, profile.cwd
        if purge and cwd != default_directory(self.root, name):
            raise InvalidInput("purge", f"{cwd} was not made for {name}, so it is not deleted; repeat without --purge")
        if purge and (names := self.registry.below(cwd)):
            raise PeersBelow(names, cwd, DELETED)
        if not force:
            refuse_live(self.root, self.identities(name), OR_FORCE)
            self._refuse_waiting(name)
        return Removal(Place(name, cwd), purge, profile.created_at)

    def is_outlived(self, removal: Removal) -> bool:
        """Tell whether the name is another peer's by now: the one that was to be removed is gone."""
        known = self.registry.get(removal.name)
        return known is not None and removal.created_at not in (None, known.created_at)

    def begin(self, removal: Removal, *, force: bool) -> None:
        """From here on the peer is stopped and its removal is finished, by whomever; the next one of its name is not.

        Raises MessagesWaiting when one came in between and that is not forced; then nothing was changed.
        """
        if self.is_outlived(removal):
            return
        self.journal.write(removal)
        stopped = [each for each in self.identities(removal.name) if not self.flags.is_set(each, Flag.STOPPED)]
        for identity in stopped:
            self.flags.set(identity, Flag.STOPPED, REMOVING)
        if force:
            return
        try:
            self._refuse_waiting(removal.name)
        except MessagesWaiting:
            for identity in stopped:
                self.flags.clear(identity, Flag.STOPPED)
            self.journal.clear()
            raise

    def finish(self, removal: Removal) -> Removed:
        """Remove a peer that is stopped and has no session; may be repeated from any point. Raises what stops it.

        What is left of it is forgotten before its name is free, so that the next one of its name finds nothing of it
        but the flag that it is stopped.
        """
        name = removal.name
        if self.is_outlived(removal):
            self._unstop(name)
            return self._closed(removal, Removed(removal.place, removal.is_purged))
        # Without its socket and its record a session would be nobody's.
        if (live := find_live(self.root, self.identities(name))) is not None:
            raise RemovalStuck(f"{live} has a session that did not end; it is stopped; repeat: peerwake remove {name}")
        for identity in self.identities(name):
            if self.flags.text(identity, Flag.STOPPED) != REMOVING:
                with suppress(FlagUnusable):  # it is set, whoever set it
                    self.flags.set(identity, Flag.STOPPED, REMOVING)
        Retired(self.root.home).add(name)
        with SpoolStore(self.root.spool) as store:
            buried = self._bury(store, name)
            self._forget(name, is_last=False)
            withdrawn, notes = self._unregister(removal)
            buried += self._free(store, name)
        return self._closed(removal, Removed(removal.place, removal.is_purged, tuple(buried), withdrawn, notes))

    def _bury(self, store: SpoolStore, name: str) -> list[Buried]:
        """Give up what waits for the peer; what it has sent goes on, and is no later peer's."""
        buried = store.bury_all(name, f"{name} was removed", self.clock.wall())
        store.disown(name)
        return buried

    def _forget(self, name: str, *, is_last: bool) -> None:
        """Remove what belongs to the peer outside of its directory; only at last what keeps it from being woken."""
        try:
            forget(self.root, name, with_locks=is_last, with_stop=is_last)
        except OSError as error:
            where = error.filename or self.root.state
            raise RemovalStuck(
                f"{where} cannot be removed: {error.strerror}; mend that, then repeat: peerwake remove {name}"
            ) from error

    def _unregister(self, removal: Removal) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Take the peer out of the registry and of its clients' configuration; returns what `_withdraw` does."""
        if self.registry.get(removal.name) is None:
            return (), ()
        told: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        if not removal.is_purged:
            told = self._withdraw(removal.place.cwd)
        with suppress(NotRegistered):
            self.registry.remove(removal.name, removal.created_at)
        return told

    def _free(self, store: SpoolStore, name: str) -> list[Buried]:
        """Clear what came in between, unless the name is another peer's already; then what there is is hers."""
        with self.registry.held() as peers:
            if name in peers:
                self._unstop(name)
                return []
            buried = self._bury(store, name)
            self._forget(name, is_last=True)
            return buried

    def _unstop(self, name: str) -> None:
        """Take back the stop that a removal left to the next peer of the name; one of the operator stays."""
        for identity in self.identities(name):
            if self.flags.text(identity, Flag.STOPPED) == REMOVING:
                self.flags.clear(identity, Flag.STOPPED)

    def _closed(self, removal: Removal, removed: Removed) -> Removed:
        """Delete the directory if that was asked for, and note that the removal is finished."""
        name, cwd = removal.name, removal.place.cwd
        if removal.is_purged:
            notes = removed.notes + self._purge(removal.place)
            removed = replace(removed, notes=notes, is_purged=not os.path.lexists(cwd))
        self.journal.clear()
        note, dead = "; ".join(removed.notes) or None, len(removed.buried)
        self.logs.lifecycle.write("remove", peer=name, cwd=cwd, purged=removed.is_purged, dead=dead, note=note)
        return removed

    def _refuse_waiting(self, name: str) -> None:
        with SpoolStore(self.root.spool) as store:
            count = sum(depth for identity, depth in store.waiting().items() if identity.personality == name)
        if count:
            wait = f"{count} messages wait" if count > 1 else "a message waits"
            raise MessagesWaiting(
                f"{wait} for {name}; nothing was changed. Let it work, or remove it with --force:"
                " they become dead letters and their senders are told"
            )

    def _withdraw(self, cwd: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the files our entries were taken from, and what kept others from being changed.

        The files are the peer's: nothing that it put there keeps it from being removed.
        """
        try:
            return self.withdraw(cwd), ()
        except Exception as error:
            self.logs.lifecycle.write("withdraw-failed", cwd=cwd, error=repr(error))
            return (), (f"its client's configuration was left as it is: {error}",)

    def _purge(self, place: Place) -> tuple[str, ...]:
        """Delete a directory below `peers/`, no other whatever a journal says: moved aside first, so that nobody
        meets half of it."""
        cwd, why = place.cwd, ""
        if cwd != default_directory(self.root, place.name):
            return (f"{cwd} was not made for {place.name} and is left as it is",)
        aside = cwd.with_name(f".{cwd.name}.removed")
        shutil.rmtree(aside, ignore_errors=True)
        with self.registry.held() as peers:
            if users := [name for name, profile in peers.items() if profile.cwd.is_relative_to(cwd)]:
                return (f"{cwd} is left as it is; peers work there: {', '.join(users)}",)
            try:
                if cwd.is_dir() and not cwd.is_symlink() and not aside.exists():
                    files.replace(cwd, aside)
                    sync_directory(cwd.parent)
            except OSError as error:
                why = f" ({error.strerror})"
        shutil.rmtree(aside, ignore_errors=True)
        left = next((path for path in (aside, cwd) if path.exists()), None)
        return (f"not all of it could be deleted{why}; what is left is in {left}",) if left else ()
