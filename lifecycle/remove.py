"""The end of a peer: registry entry, queue, state and credentials; its directory stays unless it is ours to delete."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lifecycle.belongings import forget, identities_of
from lifecycle.flags import Flag, Flags
from lifecycle.journal import Journal, Removal
from lifecycle.liveness import find_live, refuse_live
from lifecycle.requests import Refused
from transport.clock import Clock
from transport.errors import InvalidInput, PeerwakeError
from transport.files import replace, sync_directory
from transport.identity import Identity
from transport.logs import Logs
from transport.paths import Root
from transport.profile import Profile
from transport.registry import NotRegistered, Registry
from transport.relocate import Place
from transport.retired import Retired
from transport.settle import default_directory
from transport.spool.records import Buried
from transport.spool.store import SpoolStore

OR_FORCE: Final = ", or remove it with --force"

Withdraw = Callable[[Path], tuple[str, ...]]


class MessagesWaiting(Refused):
    """Messages wait for the peer: the operator lets them be delivered, or gives them up."""

    code = "messages-waiting"


class RemovalStuck(PeerwakeError):
    """A removal has begun and waits for a session to end: the operator repeats it."""

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
        """Return what is to be removed. Changes nothing; raises PeerLive, MessagesWaiting, InvalidInput,
        SessionUnreadable."""
        name, cwd = profile.name, profile.cwd
        if purge and cwd != default_directory(self.root, name):
            raise InvalidInput("purge", f"{cwd} was not made for {name}, so it is not deleted; repeat without --purge")
        if not force:
            refuse_live(self.root, self.identities(name), OR_FORCE)
            self._refuse_waiting(name)
        return Removal(Place(name, cwd), purge)

    def begin(self, removal: Removal, *, force: bool) -> None:
        """From here on the peer is stopped and its removal is finished, by whomever.

        Raises MessagesWaiting when one came in between and that is not forced; then nothing was changed.
        """
        self.journal.write(removal)
        stopped = [each for each in self.identities(removal.name) if not self.flags.is_set(each, Flag.STOPPED)]
        for identity in stopped:
            self.flags.set(identity, Flag.STOPPED, "it is being removed")
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
        """Remove a peer that is stopped and has no session; may be repeated from any point. Raises what stops it."""
        name, cwd = removal.name, removal.place.cwd
        # Without its socket and its record a session would be nobody's.
        if (live := find_live(self.root, self.identities(name))) is not None:
            raise RemovalStuck(f"{live} has a session that did not end; it is stopped; repeat: peerwake remove {name}")
        reason = f"{name} was removed"
        Retired(self.root.home).add(name)
        with SpoolStore(self.root.spool) as store:
            buried = store.bury_all(name, reason, self.clock.wall())
            withdrawn, notes = ((), ()) if removal.is_purged else self._withdraw(cwd)
            try:
                self.registry.remove(name)
            except NotRegistered:
                withdrawn, notes = (), ()
            buried += store.bury_all(name, reason, self.clock.wall())
        if removal.is_purged:
            notes += self._purge(removal.place)
        forget(self.root, name)
        self.journal.clear()
        self.logs.lifecycle.write("remove", peer=name, cwd=cwd, purged=removal.is_purged, dead=len(buried))
        return Removed(removal.place, removal.is_purged, tuple(buried), withdrawn, notes)

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
        cwd = place.cwd
        if cwd != default_directory(self.root, place.name):
            return (f"{cwd} was not made for {place.name} and is left as it is",)
        aside = cwd.with_name(f".{cwd.name}.removed")
        shutil.rmtree(aside, ignore_errors=True)
        if cwd.is_dir() and not cwd.is_symlink() and not aside.exists():
            replace(cwd, aside)
            sync_directory(cwd.parent)
            shutil.rmtree(aside, ignore_errors=True)
        left = next((path for path in (aside, cwd) if path.exists()), None)
        return (f"not all of it could be deleted; what is left is in {left}",) if left else ()
