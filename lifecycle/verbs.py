"""What operators do to sessions, and sessions to themselves: stop, start, new, refresh, done."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import anyio
import anyio.to_thread

from lifecycle.crashes import Crashes
from lifecycle.flags import Flag, Flags
from lifecycle.renew import WISHES, Renewer
from lifecycle.renewal import Renewal, check_seed
from lifecycle.requests import NotAllowed, Refused
from lifecycle.resolve import Resolver
from lifecycle.session import Session, Sessions, SessionUnreadable
from lifecycle.states import End
from lifecycle.supervise import Supervisor
from lifecycle.terminals import Terminals
from lifecycle.wake import AlreadyWaking, Waker
from transport.clock import iso
from transport.errors import PeerwakeError
from transport.identity import Identity
from transport.logs import Logs
from transport.vocabulary import WakePolicy

CLOSED_AT_ONCE: Final = 8


class AlwaysFresh(Refused):
    """An ephemeral worker has no conversation that could be begun anew."""

    code = "ephemeral"


@dataclass(frozen=True, slots=True)
class Verbs:
    """The verbs that decide whether there is a session, and which."""

    resolver: Resolver
    flags: Flags
    sessions: Sessions
    terminals: Terminals
    crashes: Crashes
    waker: Waker
    supervisor: Supervisor
    renewer: Renewer
    logs: Logs

    def _identities(self, name: str | None) -> list[Identity]:
        """Return the presences of one peer or of all, with those that are no longer declared but left something.

        Services that are not ours are left out; raises ForeignService when nothing else was asked for.
        """
        recorded = self.sessions.identities()
        left = [identity for identity in recorded if name in (None, identity.personality)]
        names = self.resolver.registry.names() if name is None else [name]
        found = [self.resolver.registry.get(each) for each in names]
        declared = [Identity(runtime, each.name) for each in found if each is not None for runtime in each.runtimes]
        if name is not None and not declared and not left:
            self.resolver.profile(name)
        known = [*declared, *sorted(set(left) - set(declared))]
        ours = [identity for identity in known if not self.resolver.is_foreign(identity)]
        if name is not None and not ours:
            self.resolver.refuse_foreign(known[0])
        return ours

    async def stop(self, name: str | None) -> tuple[str, ...]:
        """Set the flag, then close the session; its queue stays. Returns the identities now stopped."""
        identities = await anyio.to_thread.run_sync(self._identities, name)
        for identity in identities:
            await anyio.to_thread.run_sync(self.flags.set, identity, Flag.STOPPED)
            self.logs.lifecycle.write("stop", identity=identity)
        failures: list[PeerwakeError] = []
        places = anyio.CapacityLimiter(CLOSED_AT_ONCE)
        async with anyio.create_task_group() as tasks:
            for identity in identities:
                tasks.start_soon(self._end, identity, places, failures)
        if failures:
            raise failures[0]
        return tuple(str(identity) for identity in identities)

    async def _end(self, identity: Identity, places: anyio.CapacityLimiter, failures: list[PeerwakeError]) -> None:
        """Close a stopped identity's session; what fails does not keep the others from being closed."""
        async with places:
            try:
                await self._end_one(identity)
            except PeerwakeError as error:
                self.logs.lifecycle.write("stop-failed", identity=identity, reason=error)
                failures.append(error)

    async def _end_one(self, identity: Identity) -> None:
        try:
            session = await anyio.to_thread.run_sync(self.sessions.load, identity)
        except SessionUnreadable:
            await self.terminals.end_unrecorded(identity)
            await anyio.to_thread.run_sync(self.sessions.set_aside, identity)
            return
        if session is None:
            await self.terminals.end_unrecorded(identity)
        elif session.tmux is None:
            # Whoever is starting it sees the flag; what a killed server left is adopted, and ended for the flag.
            with suppress(AlreadyWaking):
                await self.waker.adopt(identity)
        elif session.is_alive():
            await self.terminals.close(session, End.STOPPED)
        if drain := self.supervisor.drains.get(identity):
            drain.poke()

    async def start(self, name: str | None) -> tuple[str, ...]:
        """Clear what keeps a peer from being woken; its waiting messages wake it."""
        identities = await anyio.to_thread.run_sync(self._identities, name)
        for identity in identities:
            for flag in (Flag.STOPPED, Flag.FAILED):
                await anyio.to_thread.run_sync(self.flags.clear, identity, flag)
            await anyio.to_thread.run_sync(self.crashes.forget, identity)
            self.logs.lifecycle.write("start", identity=identity)
            if await self.supervisor.deck.spool.depth(identity):
                self.supervisor.kick(identity)
        return tuple(str(identity) for identity in identities)

    async def new(self, name: str, runtime: str | None, seed: str | None) -> dict[str, Any]:
        """Replace a peer's session by a fresh one that begins with `seed`; returns when that is ready.

        Raises a Refused, InvalidInput (seed), SessionUnreadable, WakeFailed, NotReady or TmuxUnknown.
        """
        identity = self._renewable(name, runtime)
        session = await self.renewer.renew(identity, None if seed is None else check_seed(seed))
        self.supervisor.kick(identity)
        return {"identity": str(identity), "state": "ready", "mode": str(session.mode), "woke_at": iso(session.woke_at)}

    async def refresh(self, name: str, runtime: str | None) -> dict[str, Any]:
        """Have a peer begin fresh at its next wake; a live session is not touched."""
        identity = self._renewable(name, runtime)
        await anyio.to_thread.run_sync(self.flags.set, identity, Flag.REFRESH)
        self.logs.lifecycle.write("refresh", identity=identity)
        is_live = await anyio.to_thread.run_sync(self.sessions.live, identity) is not None
        return {"identity": str(identity), "state": "fresh at its next wake", "live": is_live}

    def _renewable(self, name: str, runtime: str | None) -> Identity:
        profile, identity = self.resolver.identity(name, runtime)
        self.resolver.refuse_foreign(identity)
        if profile.wake_policy is WakePolicy.EPHEMERAL:
            raise AlwaysFresh(f"{name} is ephemeral: each of its tasks gets a fresh session of its own already")
        return identity

    async def self_new(self, identity: Identity, seed: str | None) -> None:
        """Have the caller's own session replaced by a fresh one when its turn is over.

        The wish is on disk when this returns. Raises NotAllowed, InvalidInput or FlagUnusable.
        """
        session = await self._own(identity, "an ephemeral worker is fresh for each task; it says: peerwake self done")
        renewal = Renewal(session.fence, None if seed is None else check_seed(seed), at_turn_end=True)
        await anyio.to_thread.run_sync(self.renewer.renewals.set, identity, renewal)
        self._end_after_turn(session, End.NEW)

    async def self_done(self, identity: Identity) -> None:
        """Have the caller's own session ended when its turn is over; the next message finds the peer fresh.

        The wish is on disk when this returns. Raises NotAllowed or OSError.
        """
        session = await self._own(identity, "this worker has not been handed its task yet")
        await anyio.to_thread.run_sync(lambda: self.sessions.update(session, end=End.SELF))
        self._end_after_turn(session, End.SELF)

    async def _own(self, identity: Identity, if_worker: str) -> Session:
        """Return the caller's own session; raises NotAllowed when there is none, or when it is a task's."""
        session = await anyio.to_thread.run_sync(self.sessions.live, identity)
        if session is None or session.is_closing or self.supervisor.tasks is None:
            raise NotAllowed(f"{identity} has no session that this server looks after; say it from inside one")
        if session.task is not None:
            raise NotAllowed(f"{identity}: {if_worker}")
        return session

    def _end_after_turn(self, session: Session, end: End) -> None:
        assert self.supervisor.tasks is not None
        self.logs.lifecycle.write(WISHES[end], identity=session.identity)
        self.supervisor.tasks.start_soon(self.renewer.end_after_turn, session, end)
