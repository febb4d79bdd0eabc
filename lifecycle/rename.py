"""Another name for a peer: its profile, registry entry, state, queue and conversations, or nothing at all."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from lifecycle.belongings import copy_state, forget, identities_of, moved_path, pane_logs_of
from lifecycle.environment import launch_env_path
from lifecycle.journal import Journal, JournalUnusable, Pair, Phase, Renaming
from lifecycle.liveness import find_live, refuse_live
from lifecycle.runtimes.base import Follow, SessionFacts
from lifecycle.runtimes.command import program_path
from lifecycle.runtimes.table import Table
from lifecycle.session import Session, Sessions, SessionUnreadable
from transport import files
from transport.clock import Clock
from transport.errors import InvalidInput, PeerwakeError
from transport.files import sync_directory
from transport.identity import RESERVED, Identity, check_personality
from transport.logs import Logs
from transport.paths import Root, check_socket_path
from transport.profile import Profile, load_profile
from transport.registry import MOVED_AWAY, Registry
from transport.relocate import Place, renamed
from transport.retired import Retired
from transport.settle import NameTaken, PeersBelow
from transport.spool.faults import SpoolUncertain
from transport.spool.records import Buried, MessageSettled
from transport.spool.store import SpoolStore

LEFT: Final = "a peer of this name was removed before"
NOTED_BYTES: Final = 1 << 16


class RenameStuck(PeerwakeError):
    """A rename could neither be finished nor taken back; its journal is kept, the next start tries again."""

    code = "rename-unfinished"


@dataclass(frozen=True, slots=True)
class Renamed:
    """What was renamed; `messages` waited or were dead, `buried` were left of a former peer of the new name."""

    before: Place
    after: Place
    messages: int
    buried: tuple[Buried, ...] = ()
    notes: tuple[str, ...] = ()

    def row(self) -> dict[str, Any]:
        """Return it as it is shown."""
        return {
            "name": self.after.name,
            "former": self.before.name,
            "cwd": str(self.after.cwd),
            "messages": self.messages,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Renamer:
    """Renames peers that have no session. All methods block; whoever calls them holds the wake locks."""

    root: Root
    registry: Registry
    table: Table
    clock: Clock
    logs: Logs

    @property
    def journal(self) -> Journal:
        return Journal(self.root)

    def check(self, profile: Profile, name: str) -> Renaming:
        """Return what a rename is to move. Changes nothing; raises InvalidInput, NameTaken, PeersBelow, PeerLive,
        MessageSettled, SessionUnreadable, ProfileUnusable, RootUnusable."""
        before = Place(profile.name, profile.cwd)
        after = renamed(self.root, before, self._free_name(before, name))
        load_profile(before.cwd)
        if self.registry.snapshot().peers.get(name) is not None or os.path.lexists(self.root.peers / name):
            taken = self.registry.get(name)
            where = f"it lives in {taken.cwd}" if taken else f"{self.root.peers / name} is in the way; move it away"
            raise NameTaken("new_name", f"{name!r} is taken, {where}; choose another name")
        if before.cwd != after.cwd and (names := self.registry.below(before.cwd)):
            raise PeersBelow(names, before.cwd, MOVED_AWAY)
        for identity in self.identities(before, after):
            check_socket_path(self.root.tmux_socket(identity))
        refuse_live(self.root, self.identities(before, after))
        self._refuse_leased(before.name)
        return Renaming(before, after, tuple(self._files(before, after)))

    def identities(self, before: Place, after: Place) -> list[Identity]:
        """Return all presences under either name, sorted: whose wake locks are to be held."""
        known = self.registry.get(before.name)
        runtimes = {
            identity.runtime for name in (before.name, after.name) for identity in identities_of(self.root, name)
        }
        runtimes |= set(known.runtimes if known else ())
        return sorted(Identity(runtime, place.name) for runtime in runtimes for place in (before, after))

    def carry_out(self, change: Renaming) -> Renamed:
        """Rename as checked: all of it, or nothing; raises what kept it from being done, or RenameStuck."""
        notes = tuple(self._notes(change))
        with SpoolStore(self.root.spool) as store:
            buried = store.bury_all(change.after.name, LEFT, self.clock.wall())
            forget(self.root, change.after.name, with_locks=False)
            self.journal.write(change)
            try:
                messages = self._move(change, store)
            except SpoolUncertain:
                raise
            except (PeerwakeError, OSError) as error:
                self._take_back(change, error)
                raise
        done = self._clear(change, messages)
        return replace(done, buried=tuple(buried), notes=notes + done.notes)

    def recover(self, change: Renaming) -> Renamed | None:
        """Finish a rename that was cut off; None when it had to be taken back. Raises RenameStuck."""
        lives_on = find_live(
            self.root,
            [each for each in self.identities(change.before, change.after) if each.personality == change.after.name],
        )
        if change.phase is Phase.CLEARING or lives_on:
            return self._clear(change, 0)
        with SpoolStore(self.root.spool) as store:
            try:
                return self._clear(change, self._move(change, store))
            except (PeerwakeError, OSError) as error:
                self._take_back(change, error, store)
        return None

    def _free_name(self, before: Place, name: str) -> str:
        check_personality(name, "new_name")
        if name in RESERVED:
            raise InvalidInput("new_name", f"{name!r} is reserved; choose another")
        if name == before.name:
            raise InvalidInput("new_name", f"{name!r} is its name already; choose another")
        return name

    def _refuse_leased(self, name: str) -> None:
        with SpoolStore(self.root.spool) as store:
            for lease in store.all_leased():
                if lease.message.recipient.personality == name:
                    raise MessageSettled(
                        f"{lease.message.id} is being delivered to {lease.message.recipient};"
                        " nothing was changed; wait until it is settled, then repeat"
                    )

    def _move(self, change: Renaming, store: SpoolStore) -> int:
        """Put everything under the new name; each step may be repeated, the last one is the queue's, at once."""
        before, after = change.before, change.after
        copy_state(self.root, before.name, after.name, change.moved)
        for old, new in change.files:
            _rename_file(old, new)
        self.registry.rename(before, after)
        moved = None if before.cwd == after.cwd else (str(before.cwd), str(after.cwd))
        return store.rename(before.name, after.name, self.clock.wall(), moved)

    def _take_back(self, change: Renaming, why: Exception, store: SpoolStore | None = None) -> None:
        """Undo what was done; with a store also what may have been done to the queue. Raises RenameStuck."""
        reverse = change.reverse
        try:
            if store is not None:
                store.rename(reverse.before.name, reverse.after.name, self.clock.wall(), _texts(reverse.moved))
            self.registry.rename(reverse.before, reverse.after)
            for old, new in reverse.files:
                _rename_file(old, new)
            forget(self.root, change.after.name, with_locks=False)
            self.journal.clear()
        except (PeerwakeError, OSError) as error:
            self.logs.lifecycle.write("rename-stuck", peer=change.before.name, to=change.after.name, reason=error)
            raise RenameStuck(
                f"{change} failed ({why}) and could not be taken back ({error}); mend that, then repeat it or start"
                f" the server. What was to be moved stands in {self.journal.path}"
            ) from error
        self.logs.lifecycle.write("rename-undone", peer=change.before.name, to=change.after.name, reason=why)

    def _clear(self, change: Renaming, messages: int) -> Renamed:
        """Everything is under the new name: remove what is left of the old one, or leave that to the next start."""
        before, after = change.before, change.after
        notes: tuple[str, ...] = ()
        self.logs.lifecycle.write("rename", peer=before.name, to=after.name, cwd=after.cwd, messages=messages)
        try:
            with suppress(JournalUnusable):
                self.journal.write(replace(change, phase=Phase.CLEARING))
            Retired(self.root.home).add(before.name)
            forget(self.root, before.name)
            self.journal.clear()
        except OSError as error:
            notes = (f"state files of {before.name} are left ({error}); the next start of the server removes them",)
        return Renamed(before, after, messages, notes=notes)

    def _files(self, before: Place, after: Place) -> Iterator[Pair]:
        """Yield what lies outside the peer's directory and is named after the peer or its directory."""
        for log in pane_logs_of(self.root, before.name):
            yield log.path, log.under(after.name)
        if before.cwd == after.cwd:
            return
        for session, follow in self._conversations(before):
            yield from follow(session, after.cwd)

    def _conversations(self, before: Place) -> Iterator[tuple[SessionFacts, Follow]]:
        seen: set[object] = set()
        for identity in self.identities(before, before):
            last = self._last(identity)
            runtime = self.table.runtimes.get(identity.runtime)
            if last is None or runtime is None:
                continue
            facts = SessionFacts(last.session_id, before.cwd, last.woke_at, last.client_env, None, last.session_ref)
            follow = self.table.reader(runtime).follow
            if (follow, tuple(last.client_env.items())) not in seen:
                seen.add((follow, tuple(last.client_env.items())))
                yield facts, follow

    def _last(self, identity: Identity) -> Session | None:
        try:
            return Sessions(self.root).last(identity)
        except SessionUnreadable:
            return None

    def _notes(self, change: Renaming) -> Iterator[str]:
        """Yield what the operator has to look at: what a rename cannot put right."""
        before, after = change.before, change.after
        if before.cwd == after.cwd:
            yield f"its directory {after.cwd} keeps its name"
            return
        yield f"its directory is now {after.cwd}"
        for identity in self.identities(before, before):
            for path in (launch_env_path(before.cwd, identity.runtime), program_path(before.cwd)):
                if _names(path, before.cwd):
                    yield f"{moved_path(str(path), change.moved)} names {before.cwd}; edit it"


def _names(path: Path, place: Path) -> bool:
    try:
        data, _ = files.read_regular(path, follow=False, limit=NOTED_BYTES)
    except OSError:
        return False
    return str(place).encode() in data


def _texts(moved: Pair) -> tuple[str, str] | None:
    old, new = moved
    return None if old == new else (str(old), str(new))


def _rename_file(old: Path, new: Path) -> None:
    """Give a file or directory its new name, unless that is done already or the name is taken."""
    if os.path.lexists(new) or not os.path.lexists(old):
        return
    files.replace(old, new)
    sync_directory(new.parent)
