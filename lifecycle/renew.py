"""A session replaced by a fresh one, or ended at its own wish: every step is on disk before the next."""

from dataclasses import dataclass
from typing import Final

import anyio
import anyio.to_thread

from lifecycle.flags import Flag, FlagUnusable
from lifecycle.limits import Limits
from lifecycle.renewal import Renewal, Renewals
from lifecycle.requests import PeerStopped
from lifecycle.session import Session, Sessions
from lifecycle.states import End, Mode
from lifecycle.terminals import Terminals
from lifecycle.wake import AlreadyWaking, SessionBlocked, WakeFailed, Waker
from transport.clock import Clock
from transport.errors import PeerwakeError
from transport.identity import Identity
from transport.logs import Logs
from transport.tmux.control import TmuxGone, TmuxUnknown

POLL_SECONDS: Final = 0.05
TURN_POLL_SECONDS: Final = 0.2
TURN_STEADY_SECONDS: Final = 0.6
AGAIN_SECONDS: Final = 0.5
WISHES: Final = {End.NEW: "self-new", End.SELF: "self-done"}


class NotReady(PeerwakeError):
    """The session was started fresh and is not ready: it waits for a person, or it takes too long."""

    code = "not-ready"


@dataclass(frozen=True, slots=True)
class Renewer:
    """Ends sessions and starts fresh ones; what a killed server left undone, the next one's tick finishes."""

    renewals: Renewals
    sessions: Sessions
    terminals: Terminals
    waker: Waker
    clock: Clock
    limits: Limits
    logs: Logs

    async def renew(self, identity: Identity, seed: str | None) -> Session:
        """Replace whatever session there is by a fresh one, and return that when it is ready.

        Of several calls at once the last seed counts, and all return the same session. Raises PeerStopped,
        CrashLooping, SessionUnreadable, WakeFailed, NotReady or TmuxUnknown; then the wish is withdrawn.
        """
        began = self.clock.wall()
        until = self.clock.monotonic() + self.limits.boot_seconds + self.limits.ready_seconds
        self._refuse_unwakeable(identity)
        self.logs.lifecycle.write("new", identity=identity, seed=len(seed) if seed else None)
        try:
            await self._make_way(identity, seed, began, until)
            return await self._bring_up(identity, until)
        except NotReady:
            raise
        except PeerwakeError:
            await self._withdraw(identity, seed)
            raise

    def _refuse_unwakeable(self, identity: Identity) -> None:
        resolver, name = self.waker.resolver, identity.personality
        if resolver.flags.is_set(identity, Flag.STOPPED):
            raise PeerStopped(f"{name} is stopped; start it first: peerwake start {name}")
        resolver.refuse_unwakeable(identity)

    async def _make_way(self, identity: Identity, seed: str | None, began: float, until: float) -> None:
        """Write the wish down and end what is there, also what somebody else is bringing up just now."""
        while True:
            try:
                async with self.waker.locked(identity):
                    self._refuse_unwakeable(identity)
                    await self._replace(identity, seed, began, is_locked=True)
                    return
            except AlreadyWaking:
                self._refuse_unwakeable(identity)
                if self.clock.monotonic() >= until:
                    raise
                await self._replace(identity, seed, began, is_locked=False)

    async def _replace(self, identity: Identity, seed: str | None, began: float, *, is_locked: bool) -> None:
        if is_locked:
            session = await self.waker.present(identity)
        else:
            session = await anyio.to_thread.run_sync(self.sessions.load, identity)
        if session is not None and (session.mode, session.seed) == (Mode.FRESH, seed) and session.woke_at >= began:
            return  # somebody's wake has obeyed the wish already
        fence = None if session is None else session.fence
        await anyio.to_thread.run_sync(self.renewals.set, identity, Renewal(fence, seed))
        if session is not None and session.is_alive():
            await self.terminals.close(session, End.NEW)

    async def _bring_up(self, identity: Identity, until: float) -> Session:
        """Wake until a session is ready; the one that was there is gone, so whoever started it, it is a fresh one."""
        name = identity.personality
        while True:
            try:
                self._refuse_unwakeable(identity)
                session, _ = await self.waker.wake(identity, asked=Mode.FRESH)
                if session.is_alive():
                    return session
                problem: PeerwakeError | None = None
            except (AlreadyWaking, TmuxGone) as error:
                problem = error
            except SessionBlocked as error:
                raise NotReady(f"{name} is up fresh, and waits for a person: peerwake attach {name}") from error
            if self.clock.monotonic() >= until:
                raise NotReady(f"{name} takes too long to come up; look at it: peerwake attach {name}") from problem
            await self.clock.sleep(POLL_SECONDS)

    async def _withdraw(self, identity: Identity, seed: str | None) -> None:
        """Remove a wish that came to nothing, unless it is somebody else's by now."""
        try:
            wish = await anyio.to_thread.run_sync(self.renewals.load, identity)
            if wish is not None and wish.seed == seed:
                await anyio.to_thread.run_sync(self.renewals.clear, identity)
        except FlagUnusable as error:
            self.logs.lifecycle.write("flag-stays", identity=identity, reason=error)

    async def end_after_turn(self, session: Session, end: End) -> None:
        """End a session at its own wish when its turn is over, at the latest after a bound; start it again for NEW.

        Never raises: nobody waits for it any more, so what fails leaves a line, and is tried again until then.
        """
        until = self.clock.monotonic() + self.limits.self_end_seconds
        pause = AGAIN_SECONDS
        while True:
            try:
                await self._close_when_idle(session, end, until)
                if end is End.NEW and await anyio.to_thread.run_sync(self._wishes, session):
                    await self._start_again(session.identity)
                return
            except (PeerwakeError, OSError) as error:
                self.logs.lifecycle.write(f"{WISHES[end]}-failed", identity=session.identity, reason=error)
            if self.clock.monotonic() >= until:
                return
            await self.clock.sleep(min(pause, until - self.clock.monotonic()))
            pause *= 2

    async def _close_when_idle(self, session: Session, end: End, until: float) -> None:
        idle_since: float | None = None
        while await anyio.to_thread.run_sync(self._is_there, session):
            now = self.clock.monotonic()
            idle_since = (idle_since or now) if await self._is_idle(session) else None
            is_steady = idle_since is not None and now - idle_since >= TURN_STEADY_SECONDS
            if (is_steady and await self._close_if_idle(session, end)) or now >= until:
                break
            await self.clock.sleep(TURN_POLL_SECONDS)
        if await anyio.to_thread.run_sync(self._is_there, session):
            await self.terminals.close(session, end)

    async def _close_if_idle(self, session: Session, end: End) -> bool:
        """Close a session that is idle while nothing can be handed over to it."""
        target = await self.terminals.target(session)
        async with target.pane.exclusive:
            if not await self._is_idle(session):
                return False
            await self.terminals.close(session, end)
            return True

    async def _is_idle(self, session: Session) -> bool:
        try:
            return await self.terminals.is_idle(session)
        except (TmuxUnknown, TmuxGone):
            return False

    def _is_there(self, session: Session) -> bool:
        """Tell whether a session is alive and nobody else has begun to end it."""
        current = self.sessions.find(session.identity, session.fence)
        return current is not None and not current.is_closing and current.is_alive()

    def _wishes(self, session: Session) -> bool:
        wish = self.renewals.load(session.identity)
        return wish is not None and wish.replaces == session.fence

    async def _start_again(self, identity: Identity) -> None:
        until = self.clock.monotonic() + self.limits.boot_seconds
        while self.clock.monotonic() < until:
            try:
                await self.waker.wake(identity)
                return
            except AlreadyWaking:
                await self.clock.sleep(POLL_SECONDS)
            except (WakeFailed, SessionBlocked):
                return  # it is in the log; the tick tries again, or tells what a person has answered
