"""What operators do to sessions: stop, start, attach."""

from dataclasses import dataclass
from typing import Any

import anyio.to_thread

from lifecycle.crashes import Crashes
from lifecycle.flags import Flag, Flags
from lifecycle.requests import PeerStopped
from lifecycle.resolve import Resolver
from lifecycle.session import Session, Sessions
from lifecycle.states import Mode
from lifecycle.supervise import Supervisor
from lifecycle.terminals import Terminals
from lifecycle.wake import SessionBlocked, Waker
from transport.identity import Identity
from transport.logs import Logs


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
        names = [name] if name is not None else self.resolver.registry.names()
        profiles = [self.resolver.profile(each) for each in names]
        return [Identity(runtime, profile.name) for profile in profiles for runtime in profile.runtimes]

    async def stop(self, name: str | None) -> tuple[str, ...]:
        """Set the flag, then close the session; its queue stays. Returns the identities now stopped."""
        identities = self._identities(name)
        for identity in identities:
            await anyio.to_thread.run_sync(self.flags.set, identity, Flag.STOPPED)
            self.logs.lifecycle.write("stop", identity=identity)
        for identity in identities:
            session = await anyio.to_thread.run_sync(self.sessions.live, identity)
            if session is not None:
                await self.close(session)
        return tuple(str(identity) for identity in identities)

    async def close(self, session: Session) -> None:
        """Close a session deliberately."""
        await self.terminals.close(session)
        if drain := self.supervisor.drains.get(session.identity):
            drain.poke()

    async def start(self, name: str | None) -> tuple[str, ...]:
        """Clear what keeps a peer from being woken; its waiting messages wake it."""
        identities = self._identities(name)
        for identity in identities:
            for flag in (Flag.STOPPED, Flag.FAILED):
                await anyio.to_thread.run_sync(self.flags.clear, identity, flag)
            await anyio.to_thread.run_sync(self.crashes.forget, identity)
            self.logs.lifecycle.write("start", identity=identity)
            if await self.supervisor.deck.spool.depth(identity):
                self.supervisor.kick(identity)
        return tuple(str(identity) for identity in identities)

    async def attach(self, name: str, runtime: str | None) -> dict[str, Any]:
        """Wake with resume where there is a conversation to resume; a blocked session can be attached too.

        Raises PeerStopped, WakeFailed and what else refuses a wake.
        """
        _, identity = self.resolver.identity(name, runtime)
        if self.flags.is_set(identity, Flag.STOPPED):
            raise PeerStopped(f"{name} is stopped; start it first: peerwake start {name}")
        last = await anyio.to_thread.run_sync(self.sessions.last, identity)
        reference = None if last is None else last.session_ref
        mode = Mode.FRESH if reference is None else Mode.RESUME
        state = "ready"
        try:
            session, is_new = await self.waker.wake(identity, mode=mode, session_ref=reference)
        except SessionBlocked:
            state, is_new = "blocked", False
            found = await anyio.to_thread.run_sync(self.sessions.live, identity)
            if found is None:
                raise
            session = found
        if is_new:
            await self.supervisor.deck.initial.hand_over(session)
        self.supervisor.kick(identity)
        return {
            "identity": str(identity),
            "socket": str(self.terminals.root.tmux_socket(identity)),
            "session": str(identity),
            "state": state,
            "mode": session.mode if is_new else "live",
        }
