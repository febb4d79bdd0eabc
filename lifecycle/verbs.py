"""What operators do to sessions: stop, start, attach."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import anyio
import anyio.to_thread

from lifecycle.crashes import Crashes
from lifecycle.flags import Flag, Flags
from lifecycle.requests import PeerStopped
from lifecycle.resolve import Resolver
from lifecycle.session import Sessions, SessionUnreadable
from lifecycle.states import End, Mode
from lifecycle.supervise import Supervisor
from lifecycle.terminals import Terminals
from lifecycle.wake import AlreadyWaking, SessionBlocked, Waker
from transport.errors import PeerwakeError
from transport.identity import Identity
from transport.logs import Logs

CLOSED_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Verbs:
    """The operator's verbs."""

    resolver: Resolver
    flags: Flags
    sessions: Sessions
    terminals: Terminals
    crashes: Crashes
    waker: Waker
    supervisor: Supervisor
    logs: Logs

    def _identities(self, name: str | None) -> list[Identity]:
        """Return the presences of one peer or of all, with those that are no longer declared but left something."""
        recorded = self.sessions.identities()
        left = [identity for identity in recorded if name in (None, identity.personality)]
        names = self.resolver.registry.names() if name is None else [name]
        found = [self.resolver.registry.get(each) for each in names]
        declared = [Identity(runtime, each.name) for each in found if each is not None for runtime in each.runtimes]
        if name is not None and not declared and not left:
            self.resolver.profile(name)
        return [*declared, *sorted(set(left) - set(declared))]

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

    async def attach(self, name: str, runtime: str | None) -> dict[str, Any]:
        """Wake with the conversation of the last session; a blocked session can be attached too.

        One that somebody else is bringing up is attached to as it is; one that never had a session starts
        its first. Raises PeerStopped, CannotResume, WakeFailed and what else refuses a wake.
        """
        _, identity = self.resolver.identity(name, runtime)
        if self.flags.is_set(identity, Flag.STOPPED):
            raise PeerStopped(f"{name} is stopped; start it first: peerwake start {name}")
        state, is_new = "ready", False
        try:
            session, is_new = await self.waker.wake(identity, asked=Mode.RESUME)
        except (SessionBlocked, AlreadyWaking) as error:
            found = await anyio.to_thread.run_sync(self.sessions.live, identity)
            if found is None:
                raise
            session, state = found, "blocked" if isinstance(error, SessionBlocked) else "booting"
        self.supervisor.kick(identity)
        return {
            "identity": str(identity),
            "socket": str(self.terminals.root.tmux_socket(identity)),
            "session": str(identity),
            "state": state,
            "mode": session.mode if is_new else "live",
        }
