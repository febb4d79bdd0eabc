"""A person at a session: attach to it, watch it, or begin a fresh one in the peer's directory."""

from dataclasses import dataclass
from typing import Any, Final

import anyio.to_thread

from lifecycle.flags import Flag
from lifecycle.renew import NotReady, Renewer
from lifecycle.requests import PeerStopped, Refused
from lifecycle.resolve import Resolver
from lifecycle.runtimes.base import CannotResume
from lifecycle.session import Session, Sessions
from lifecycle.states import Mode
from lifecycle.supervise import Supervisor
from lifecycle.wake import AlreadyWaking, SessionBlocked, Waker
from transport.clock import Clock
from transport.identity import Identity
from transport.paths import Root

READY: Final = "ready"
BLOCKED: Final = "blocked"
BOOTING: Final = "booting"
LIVE: Final = "live"
START_SECONDS: Final = 20.0
POLL_SECONDS: Final = 0.05


class Asleep(Refused):
    """There is no session to do this to, and none is started for it."""

    code = "asleep"


class AlreadyLive(Refused):
    """There is a session already; it is attached to, or replaced on demand."""

    code = "already-live"


@dataclass(frozen=True, slots=True)
class Visits:
    """Answers where the terminal of a session is; the caller opens it."""

    root: Root
    resolver: Resolver
    sessions: Sessions
    waker: Waker
    renewer: Renewer
    supervisor: Supervisor
    clock: Clock

    async def attach(self, name: str, runtime: str | None) -> dict[str, Any]:
        """Wake with the conversation of the last session; a blocked session can be attached to too.

        One that somebody else is bringing up is attached to as it is; one that never had a session starts
        its first. Raises PeerStopped, CannotResume, WakeFailed and what else refuses a wake.
        """
        identity = self._startable(name, runtime)
        try:
            return await self._open(identity, Mode.RESUME)
        except CannotResume as error:
            raise CannotResume(f"{name} cannot be resumed: {error}; start it fresh: peerwake new {name}") from error

    async def run(self, name: str, runtime: str | None, *, is_replacing: bool) -> dict[str, Any]:
        """Begin a fresh session; one that is there is replaced if that is asked for, else AlreadyLive is raised."""
        identity = self._startable(name, runtime)
        if is_replacing:
            try:
                await self.renewer.renew(identity, None)
            except NotReady:
                return self._place(identity, BLOCKED, Mode.FRESH)
            self.supervisor.kick(identity)
            return self._place(identity, READY, Mode.FRESH)
        if await anyio.to_thread.run_sync(self.sessions.live, identity) is not None:
            raise _already(name)
        found = await self._open(identity, Mode.FRESH)
        if found["mode"] == LIVE and found["state"] != BLOCKED:
            raise _already(name)
        return found

    async def watch(self, name: str, runtime: str | None) -> dict[str, Any]:
        """Return where a session can be looked at; nothing is woken for it. Raises Asleep."""
        session = await self.present(name, runtime)
        return self._place(session.identity, READY if session.is_ready else BOOTING, LIVE)

    async def present(self, name: str, runtime: str | None) -> Session:
        """Return the live session of a peer; raises Asleep, UnknownPeer, UndeclaredRuntime or SessionUnreadable."""
        _, identity = self.resolver.identity(name, runtime)
        session = await anyio.to_thread.run_sync(self.sessions.live, identity)
        if session is not None and not session.is_closing:
            return session
        if self.resolver.flags.is_set(identity, Flag.STOPPED):
            raise Asleep(f"{name} is stopped and has no session; start it first: peerwake start {name}")
        raise Asleep(f"{name} is asleep; a message wakes it, or: peerwake attach {name}")

    def _startable(self, name: str, runtime: str | None) -> Identity:
        _, identity = self.resolver.identity(name, runtime)
        if self.resolver.flags.is_set(identity, Flag.STOPPED):
            raise PeerStopped(f"{name} is stopped; start it first: peerwake start {name}")
        return identity

    async def _open(self, identity: Identity, asked: Mode) -> dict[str, Any]:
        """Wake, or find what is coming up or blocked; `first` tells that there was never a session before."""
        is_first = await anyio.to_thread.run_sync(self.sessions.last, identity) is None
        state, is_new = READY, False
        until = self.clock.monotonic() + START_SECONDS
        while True:
            try:
                session, is_new = await self.waker.wake(identity, asked=asked)
                break
            except (SessionBlocked, AlreadyWaking) as error:
                is_blocked = isinstance(error, SessionBlocked)
                found = await self._coming(identity)
                if found is not None:
                    session, state = found, BLOCKED if is_blocked else BOOTING
                    break
                if is_blocked or self.clock.monotonic() >= until:
                    raise
        self.supervisor.kick(identity)
        return self._place(identity, state, session.mode if is_new else LIVE, is_first=is_first)

    async def _coming(self, identity: Identity) -> Session | None:
        """Return the session that somebody is starting, None if there is none."""
        until = self.clock.monotonic() + START_SECONDS
        while True:
            session = await anyio.to_thread.run_sync(self.sessions.load, identity)
            if session is None or session.tmux is not None or self.clock.monotonic() >= until:
                return session if session is not None and session.is_alive() else None
            await self.clock.sleep(POLL_SECONDS)

    def _place(self, identity: Identity, state: str, mode: str, *, is_first: bool = False) -> dict[str, Any]:
        return {
            "identity": str(identity),
            "socket": str(self.root.tmux_socket(identity)),
            "session": str(identity),
            "state": state,
            "mode": str(mode),
            "first": is_first,
        }


def _already(name: str) -> AlreadyLive:
    return AlreadyLive(f"{name} has a session; join it: peerwake attach {name}, or replace it: peerwake run --replace")
