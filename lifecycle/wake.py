"""Wake: one at a time per identity over all processes, refused before the lock and again inside it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import anyio
import anyio.to_thread
from filelock import FileLock, Timeout

from lifecycle.boot import Boot, BootEnd
from lifecycle.launch import Launcher
from lifecycle.resolve import Resolver
from lifecycle.runtimes.table import Table
from lifecycle.session import Session, Sessions
from lifecycle.states import Mode
from lifecycle.terminals import Terminals
from transport.errors import PeerwakeError
from transport.identity import Identity
from transport.logs import Logs
from transport.paths import Root
from transport.tmux.server import wait_dead
from transport.vocabulary import WakePolicy

LOCK_POLL_SECONDS: Final = 0.01
EXIT_HOOK_SECONDS: Final = 2.0


class WakeFailed(PeerwakeError):
    """The session did not come up; the message stays queued and the reason is in lifecycle.log."""

    code = "wake-failed"


class SessionBlocked(PeerwakeError):
    """The session is up but shows what nobody recognises; it is left as it is for a person to look at."""

    code = "blocked"


class AlreadyWaking(PeerwakeError):
    """Another process of this host is waking the identity; look again in a moment."""

    code = "already-waking"


@dataclass(frozen=True, slots=True)
class Waker:
    """Brings up sessions."""

    root: Root
    resolver: Resolver
    table: Table
    launcher: Launcher
    sessions: Sessions
    terminals: Terminals
    logs: Logs
    at_once: anyio.CapacityLimiter

    async def wake(
        self, identity: Identity, *, mode: Mode | None = None, session_ref: str | None = None, task: str | None = None
    ) -> tuple[Session, bool]:
        """Return the live session of an identity, started if need be, and whether it was.

        Raises PeerStopped, CrashLooping, UnknownPeer, AlreadyWaking, SessionBlocked or WakeFailed.
        """
        self.resolver.refuse_unwakeable(identity)
        async with self._locked(identity):
            self.resolver.refuse_unwakeable(identity)
            session = await anyio.to_thread.run_sync(self.sessions.live, identity)
            if session is not None:
                return (session if session.is_ready else await self.boot(session)), False
            async with self.at_once:
                session = await self._launch(identity, mode, session_ref, task)
                return await self.boot(session), True

    async def boot(self, session: Session) -> Session:
        """Bring a started session to its ready input line; raises SessionBlocked or WakeFailed."""
        boot: Boot = await self.terminals.boot(session)
        seconds = f"{self.launcher.clock.wall() - session.woke_at:.3f}"
        dialogs = ",".join(boot.dialogs) or None
        self.logs.lifecycle.write("boot", identity=session.identity, end=boot.end, seconds=seconds, dialogs=dialogs)
        match boot.end:
            case BootEnd.READY:
                await self._close_if_stopped(session)
                return await anyio.to_thread.run_sync(lambda: self.sessions.update(session, is_ready=True))
            case BootEnd.BLOCKED:
                raise SessionBlocked(boot.excerpt)
            case BootEnd.DIED:
                await self._await_end(session)
                raise WakeFailed(f"the client exited while it started; its screen said: {boot.excerpt[-600:].strip()}")

    async def _close_if_stopped(self, session: Session) -> None:
        """A stop came while the wake was on its way: close at once, and say so."""
        if self.resolver.unwakeable(session.identity) is not None:
            await self.terminals.close(session)
            self.resolver.refuse_unwakeable(session.identity)

    async def _await_end(self, session: Session) -> None:
        """The client is gone: let the exit hook write its line, then see that nothing is left."""
        await self.terminals.ended(session)
        if session.tmux is not None:
            with anyio.move_on_after(EXIT_HOOK_SECONDS):
                await wait_dead(session.tmux)
            await self.terminals.kill(session)

    async def _launch(
        self, identity: Identity, mode: Mode | None, session_ref: str | None, task: str | None
    ) -> Session:
        profile = self.resolver.profile(identity.personality)
        chosen = Mode.FRESH if profile.wake_policy is WakePolicy.EPHEMERAL or mode is None else mode
        try:
            runtime = await anyio.to_thread.run_sync(self.table.for_peer, identity.runtime, profile.cwd)
            session = await self.launcher.start(profile, runtime, chosen, session_ref=session_ref, task=task)
        except PeerwakeError as error:
            self.logs.lifecycle.write("wake-failed", identity=identity, code=error.code, reason=error)
            raise WakeFailed(str(error)) from error
        self.terminals.watch(session)
        self.logs.lifecycle.write("wake", identity=identity, mode=chosen, tmux=session.tmux and session.tmux.pid)
        return session

    @asynccontextmanager
    async def _locked(self, identity: Identity) -> AsyncIterator[None]:
        lock = FileLock(self.root.flag(identity, "wake.lock"), timeout=0, thread_local=False, mode=0o600)
        async with AsyncExitStack() as stack:
            with anyio.move_on_after(1.0):
                while True:
                    try:
                        lock.acquire(timeout=0)
                        stack.callback(lock.release)
                        break
                    except Timeout:
                        await anyio.sleep(LOCK_POLL_SECONDS)
            if not lock.is_locked:
                raise AlreadyWaking(f"{identity} is being woken by another process")
            yield
