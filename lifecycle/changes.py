"""Removing and renaming peers while the server runs, one at a time, and finishing what a killed one had begun."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, assert_never

import anyio
import anyio.to_thread

from lifecycle.journal import Change, Removal, Renaming
from lifecycle.remove import RemovalStuck, Removed, Remover
from lifecycle.rename import Renamed, Renamer
from lifecycle.resolve import Resolver
from lifecycle.session import Session, SessionUnreadable
from lifecycle.settle import Settler
from lifecycle.states import End
from lifecycle.supervise import Supervisor
from lifecycle.terminals import Terminals
from lifecycle.wake import AlreadyWaking, SessionBlocked, Waker
from transport.bulkhead import Area
from transport.identity import Identity
from transport.profile import Profile

CLOSING_SECONDS: Final = 30.0
DRAIN_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.02


@dataclass(slots=True)
class Changes:
    """What the operator does to peers themselves; the one supervisor of a root does it."""

    resolver: Resolver
    remover: Remover
    renamer: Renamer
    waker: Waker
    terminals: Terminals
    supervisor: Supervisor
    settler: Settler
    _in_turn: anyio.Lock = field(default_factory=anyio.Lock)

    async def remove(self, name: str, *, force: bool = False, purge: bool = False) -> Removed:
        """Remove a peer; one whose removal had begun is finished.

        Raises UnknownPeer, NoAnswer and what `Remover` raises.
        """
        async with self._in_turn:
            finished = await self._finish_pending()
            if isinstance(finished, Removed) and finished.place.name == name:
                return finished
            profile = self.resolver.profile(name)
            await self._ask(profile.cwd)
            if force:
                return await self._remove(await anyio.to_thread.run_sync(self._check, profile, True, purge))
            identities = await anyio.to_thread.run_sync(self.remover.identities, name)
            async with self._locked(identities):
                await self._clear_up(identities)
                removal = await anyio.to_thread.run_sync(self._check, profile, False, purge)
                return await self._finish(removal, identities, force=False)

    def _check(self, profile: Profile, force: bool, purge: bool) -> Removal:
        return self.remover.check(profile, force=force, purge=purge)

    async def rename(self, name: str, new: str) -> Renamed:
        """Give a peer without a session another name. Raises UnknownPeer, NoAnswer and what `Renamer` raises."""
        async with self._in_turn:
            finished = await self._finish_pending()
            if isinstance(finished, Renamed) and (finished.before.name, finished.after.name) == (name, new):
                return finished
            profile = self.resolver.profile(name)
            await self._ask(profile.cwd)
            change = await anyio.to_thread.run_sync(self.renamer.check, profile, new)
            identities = await anyio.to_thread.run_sync(self.renamer.identities, change.before, change.after)
            async with self._locked(identities):
                await self._clear_up(identities)
                change = await anyio.to_thread.run_sync(self.renamer.check, profile, new)
                return await self._renamed(identities, change)

    async def recover(self) -> None:
        """Finish what an earlier server or command did not get to; what cannot be finished is logged and kept."""
        async with self._in_turn:
            try:
                await self._finish_pending()
            except Exception as error:
                # Whatever it is: a server that does not start is worse than a change that waits.
                self.remover.logs.lifecycle.write("change-unfinished", reason=error)

    async def _finish_pending(self) -> Removed | Renamed | None:
        """Finish the change in hand; returns what it came to, None where there was none or it was none any more."""
        change: Change | None = await anyio.to_thread.run_sync(self.remover.journal.load)
        match change:
            case None:
                return None
            case Removal():
                await self._ask(change.place.cwd)
                if await anyio.to_thread.run_sync(self.remover.is_outlived, change):
                    await anyio.to_thread.run_sync(self.remover.finish, change)
                    return None
                return await self._remove(change)
            case Renaming():
                await self._ask(change.before.cwd)
                identities = self.renamer.identities(change.before, change.after)
                async with self._locked(identities):
                    return await anyio.to_thread.run_sync(self.renamer.recover, change)
            case _:
                assert_never(change)

    async def _ask(self, cwd: Path) -> None:
        """Raise NoAnswer for a directory that gives none: a change would hold all others up, and the server's end."""
        await self.terminals.bulkhead.of(Area.DIRECTORY, cwd).ask(cwd)

    async def _remove(self, removal: Removal) -> Removed:
        """Remove a peer, whatever it is doing."""
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._begin, removal, True)
            identities = await anyio.to_thread.run_sync(self.remover.identities, removal.name)
            async with self._seized(identities):
                removed = await self._finish(removal, identities, force=True)
        return removed

    def _begin(self, removal: Removal, force: bool) -> None:
        self.remover.begin(removal, force=force)

    async def _finish(self, removal: Removal, identities: Iterable[Identity], *, force: bool) -> Removed:
        """Remove a peer that has no session and whose wake locks are held."""
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._begin, removal, force)
            await self._drained(identities)
            removed: Removed = await anyio.to_thread.run_sync(self.remover.finish, removal)
            buried = removed.buried
            if self.remover.registry.get(removal.name) is None:
                # What was on its way through this server's own writer.
                spool, now = self.settler.spool, self.settler.clock.wall()
                buried += tuple(await spool.bury_all(removal.name, f"{removal.name} was removed", now))
                await spool.disown(removal.name)
            for dead in buried:
                self.settler.buried(dead)
        return replace(removed, buried=buried)

    async def _renamed(self, identities: Iterable[Identity], change: Renaming) -> Renamed:
        with anyio.CancelScope(shield=True):
            done: Renamed = await anyio.to_thread.run_sync(self.renamer.carry_out, change)
            # What was on its way to the old name through this server's own writer.
            late = await self.settler.spool.rename(done.before.name, done.after.name, self.settler.clock.wall())
            for identity in identities:
                if identity.personality == done.after.name:
                    self.supervisor.kick(identity)
            for dead in done.buried:
                self.settler.buried(dead)
        return replace(done, messages=done.messages + late)

    @asynccontextmanager
    async def _locked(self, identities: Iterable[Identity]) -> AsyncIterator[None]:
        """Hold the wake locks of all these identities; raises AlreadyWaking."""
        async with AsyncExitStack() as stack:
            for identity in sorted(identities):
                await stack.enter_async_context(self.waker.locked(identity))
            yield

    @asynccontextmanager
    async def _seized(self, identities: Iterable[Identity]) -> AsyncIterator[None]:
        """Hold the wake locks of stopped identities, none of which has a session then; raises RemovalStuck."""
        async with AsyncExitStack() as stack:
            try:
                with anyio.fail_after(CLOSING_SECONDS):
                    for identity in sorted(identities):
                        await self._seize(identity, stack)
            except TimeoutError as error:
                raise RemovalStuck(
                    f"{identity} is still being started after {CLOSING_SECONDS:g} s; it is stopped;"
                    f" repeat: peerwake remove {identity.personality}"
                ) from error
            yield

    async def _seize(self, identity: Identity, stack: AsyncExitStack) -> None:
        while True:
            # A wake that is on its way ends when its session does, and gives its lock back.
            session = await anyio.to_thread.run_sync(self._load, identity)
            if session is not None and session.is_alive():
                await self.terminals.close(session, End.REMOVED)
            try:
                await stack.enter_async_context(self.waker.locked(identity))
                break
            except AlreadyWaking:
                continue
        try:
            await self.waker.end(identity, End.REMOVED)
        except SessionBlocked:
            await self.terminals.end_unrecorded(identity)
        except SessionUnreadable:
            await self.terminals.end_unrecorded(identity)
            await anyio.to_thread.run_sync(self.waker.sessions.set_aside, identity)

    def _load(self, identity: Identity) -> Session | None:
        try:
            return self.waker.sessions.load(identity)
        except SessionUnreadable:
            return None

    async def _clear_up(self, identities: Iterable[Identity]) -> None:
        """Bury what is dead and finish what was being closed, so that only what lives counts as live."""
        for identity in identities:
            with suppress(SessionBlocked, SessionUnreadable):
                await self.waker.present(identity)

    async def _drained(self, identities: Iterable[Identity]) -> None:
        """Wait until the drains of stopped identities have put back what they held."""
        with anyio.move_on_after(DRAIN_SECONDS):
            for identity in identities:
                while (drain := self.supervisor.drains.get(identity)) is not None:
                    drain.poke()
                    await anyio.sleep(POLL_SECONDS)
