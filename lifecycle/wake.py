"""Wake: one at a time per identity over all processes, refused before the lock and again inside it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, assert_never

import anyio
import anyio.to_thread
from filelock import FileLock, Timeout

from lifecycle.arrivals import Arrivals
from lifecycle.boot import Boot, BootEnd
from lifecycle.deaths import Deaths
from lifecycle.exitcause import write_for_hook
from lifecycle.flags import Flag
from lifecycle.initial import InitialPrompt, NotTold
from lifecycle.launch import Launcher, refuse_intelligence
from lifecycle.plan import Plan, Planner
from lifecycle.resolve import Resolver
from lifecycle.runtimes.base import CannotResume, Runtime
from lifecycle.runtimes.table import Table
from lifecycle.session import Session, Sessions, SessionUnreadable
from lifecycle.start import Start
from lifecycle.states import End, Mode, StartReason
from lifecycle.terminals import UNANSWERED, Terminals
from transport.bulkhead import Area, NoAnswer
from transport.errors import PeerwakeError
from transport.identity import Identity
from transport.logs import Logs
from transport.paths import Root
from transport.process import DeadlinePassed
from transport.profile import Profile
from transport.tmux.ending import wait_dead

LOCK_SECONDS: Final = 1.0
LOCK_POLL_SECONDS: Final = 0.01
EXIT_HOOK_SECONDS: Final = 2.0
PANE_IS_DEAD: Final = "Pane is dead ("
LAST_WORDS: Final = 300
PLAN_SECONDS: Final = 10.0


class WakeFailed(PeerwakeError):
    """The session did not come up; the message stays queued and the reason is in lifecycle.log."""

    code = "wake-failed"


class SessionBlocked(PeerwakeError):
    """A session is up but nobody can tell what it is about; it is left as it is for a person to look at."""

    code = "blocked"


class AlreadyWaking(PeerwakeError):
    """Another process of this host is waking the identity; look again in a moment."""

    code = "already-waking"


UNDECIDED: Final = (AlreadyWaking, SessionUnreadable, DeadlinePassed, *UNANSWERED)
"""What a wake raises where nothing is known of the session or its directory: nothing is concluded, look again."""


@dataclass(slots=True)
class Place:
    """A place among those that may start at the same time, given back as soon as it is not needed."""

    limiter: anyio.CapacityLimiter
    is_taken: bool = False

    async def take(self) -> None:
        await self.limiter.acquire()
        self.is_taken = True

    def give_back(self) -> None:
        if self.is_taken:
            self.is_taken = False
            self.limiter.release()


def last_words(screen: str) -> str:
    """Return what a client said last, as one line; what tmux says of its pane is not of the client."""
    lines = [line.strip() for line in screen.splitlines() if not line.startswith(PANE_IS_DEAD)]
    return " / ".join(filter(None, lines))[-LAST_WORDS:] or "nothing"


@dataclass(frozen=True, slots=True)
class Waker:
    """Brings up sessions, and finishes what a killed server left half done."""

    root: Root
    resolver: Resolver
    table: Table
    launcher: Launcher
    planner: Planner
    sessions: Sessions
    terminals: Terminals
    initial: InitialPrompt
    arrivals: Arrivals
    deaths: Deaths
    logs: Logs
    at_once: anyio.CapacityLimiter

    async def wake(
        self, identity: Identity, *, asked: Mode | None = None, topic: str | None = None, task: str | None = None
    ) -> tuple[Session, bool]:
        """Return the live session of an identity, started if need be, and whether it was.

        `asked` overrules what the last session and the `topic` of the waiting message would decide.
        Raises PeerStopped, CrashLooping, UnknownPeer, UndeclaredRuntime, AlreadyWaking, SessionUnreadable,
        TmuxUnknown, NoAnswer, SessionBlocked, WakeFailed or, when a resume was asked for, CannotResume.
        """
        self.resolver.refuse_unwakeable(identity)
        async with AsyncExitStack() as stack:
            place = Place(self.at_once)
            stack.callback(place.give_back)
            if await anyio.to_thread.run_sync(self.sessions.live, identity) is None:
                # Who has a directory that gives no answer takes no place of those that have one.
                await self._ask_directory(identity)
                # The place comes before the lock: a thousand may wait for one, and each lock is an open file.
                await place.take()
            await stack.enter_async_context(self.locked(identity))
            self.resolver.refuse_unwakeable(identity)
            session = await self.present(identity)
            if session is not None:
                return (session if session.is_ready else await self._take_over(session, place)), False
            return await self._start(identity, asked, topic, task, place), True

    async def _ask_directory(self, identity: Identity) -> None:
        """Return when a peer's directory gives an answer, whatever that is; raises NoAnswer."""
        profile = self.resolver.registry.get(identity.personality)
        if profile is not None:
            await self.terminals.bulkhead.of(Area.DIRECTORY, identity).ask(profile.cwd)

    async def _start(
        self, identity: Identity, asked: Mode | None, topic: str | None, task: str | None, place: Place
    ) -> Session:
        """Start a session; a conversation that cannot be resumed is left for a fresh one, unless it was asked for."""
        profile = self.resolver.declared(identity)
        directory, cwd = self.terminals.bulkhead.of(Area.DIRECTORY, identity), profile.cwd
        try:
            runtime = await directory.run(cwd, partial(self.table.for_peer, identity.runtime, cwd))
            refuse_intelligence(profile, runtime)
            plan = await directory.run(cwd, partial(self.planner.plan, profile, runtime, asked, topic), PLAN_SECONDS)
        except NoAnswer:
            raise
        except CannotResume as error:
            self.logs.lifecycle.write("resume-failed", identity=identity, reason=error)
            raise
        except PeerwakeError as error:
            raise await self._failed_start(identity, error) from error
        if plan.start.obstacle is not None:
            self.logs.lifecycle.write("resume-failed", identity=identity, reason=plan.start.obstacle)
        if plan.start.mode is Mode.RESUME:
            try:
                return await self._bring_up(await self._launch(profile, runtime, plan, task), place)
            except WakeFailed as error:
                self.logs.lifecycle.write(
                    "resume-failed", identity=identity, ref=plan.start.reference, reason=last_words(str(error))
                )
                if asked is Mode.RESUME:
                    raise CannotResume(f"its conversation {plan.start.reference} cannot be resumed: {error}") from error
            plan = Plan(Start(Mode.FRESH, StartReason.RESUME_FAILED))
        return await self._bring_up(await self._launch(profile, runtime, plan, task), place)

    async def adopt(self, identity: Identity) -> Session | None:
        """Take over the session that another server started, finishing what it began; None if there is none.

        Raises AlreadyWaking, SessionUnreadable, SessionBlocked or TmuxUnknown.
        """
        async with self.locked(identity):
            if self.resolver.flags.is_set(identity, Flag.STOPPED):
                await self.end(identity, End.STOPPED, "server-dead")
                return None
            session = await self.present(identity, "server-dead")
            if session is None:
                return None
            self.logs.lifecycle.write("adopt", identity=identity, tmux=session.tmux and session.tmux.pid)
            return session

    async def end(self, identity: Identity, end: End, death: str = "session-gone") -> None:
        """End the session of an identity whose lock is held, also one whose record cannot be completed.

        Raises SessionUnreadable, SessionBlocked or TmuxUnknown.
        """
        session = await anyio.to_thread.run_sync(self.sessions.load, identity)
        if session is not None and session.tmux is None:
            # Its tmux may give no answer: what is to be ended need not be asked.
            await self.terminals.end_unrecorded(identity)
            await anyio.to_thread.run_sync(self.sessions.discard, session)
        elif (session := await self.present(identity, death)) is not None:
            await self.terminals.close(session, end)

    async def present(self, identity: Identity, death: str = "session-gone") -> Session | None:
        """Return the live session of an identity whose lock is held; what is over or half done is cleared away.

        Raises SessionUnreadable, TmuxUnknown, or SessionBlocked for a tmux server that nobody has a record of.
        """
        session = await anyio.to_thread.run_sync(self.sessions.load, identity)
        if session is not None and session.tmux is None:
            session = await self.terminals.complete(session)
        if session is not None and session.is_closing:
            await self.terminals.close(session, session.end or End.STOPPED)
            session = None
        if session is not None and not session.is_alive():
            await self.terminals.clear_away(session)
            await self.deaths.bury(session, death)
            session = None
        if session is not None:
            self.terminals.watch(session)
        elif await self.terminals.has_unrecorded(identity):
            socket = self.root.tmux_socket(identity)
            raise SessionBlocked(
                f"a tmux server that there is no record of listens on {socket};"
                f" it is ended by: peerwake stop {identity.personality}"
            )
        return session

    async def _take_over(self, session: Session, place: Place) -> Session:
        """Finish the start of a session that is there; what was typed into it says that its client was up already.

        It may stand in the composer yet, or the client works on it: neither is the end of a boot.
        """
        if await self.terminals.was_told(session):
            place.give_back()
            return await self._greet(session)
        return await self._bring_up(session, place)

    async def _greet(self, session: Session) -> Session:
        """Tell a client that is up what it is told first; from then on it gets its messages.

        Only then is the wish that it obeys fulfilled: until that moment the flag holds what the next one is told.
        """
        await self._close_if_unwanted(session)
        try:
            is_told = await self.initial.hand_over(session)
        except NotTold as error:
            raise SessionBlocked(str(error)) from error
        if not is_told:
            raise await self._died(session, "before it had taken what it is told first")
        await anyio.to_thread.run_sync(self.planner.consume, session)
        return await anyio.to_thread.run_sync(lambda: self.sessions.update(session, is_ready=True))

    async def _bring_up(self, session: Session, place: Place) -> Session:
        """Bring a started session to its ready input line; raises SessionBlocked or WakeFailed."""
        await self._close_if_unwanted(session)
        # A client that waits for something takes no place from those that have to load.
        boot: Boot = await self.terminals.boot(session, place.give_back)
        place.give_back()
        seconds = f"{self.launcher.clock.wall() - session.woke_at:.3f}"
        dialogs = ",".join(boot.dialogs) or None
        self.logs.lifecycle.write("boot", identity=session.identity, end=boot.end, seconds=seconds, dialogs=dialogs)
        match boot.end:
            case BootEnd.READY:
                await self._await_tools(session)
                return await self._greet(session)
            case BootEnd.BLOCKED:
                raise SessionBlocked(boot.excerpt)
            case BootEnd.DIED:
                raise await self._died(session, "while it started", boot.excerpt)
            case BootEnd.REFUSED:
                await self.terminals.close(session, End.STOPPED)
                refusal = WakeFailed(f"the client refused to start; its screen said: {last_words(boot.excerpt)}")
                is_fresh = session.mode is Mode.FRESH
                raise await self._failed_start(session.identity, refusal, is_counted=is_fresh)
            case _:
                assert_never(boot.end)

    async def _await_tools(self, session: Session) -> None:
        """Let a client connect to our tools before it is told anything; a resumed conversation knows them already."""
        if session.mode is Mode.RESUME:
            return
        runtime = self.table.get(session.identity.runtime)
        if runtime.mcp_files and not await self.arrivals.wait(session, runtime):
            self.logs.lifecycle.write("no-tools", identity=session.identity)

    async def _close_if_unwanted(self, session: Session) -> None:
        """A stop came while the wake was on its way: close at once, and say so."""
        if self.resolver.unwakeable(session.identity) is not None:
            await self.terminals.close(session, End.STOPPED)
            self.resolver.refuse_unwakeable(session.identity)

    async def _died(self, session: Session, when: str, screen: str = "") -> WakeFailed:
        """See a client out that died before it was ready; raises AlreadyWaking or Refused when somebody ended it."""
        await self.see_out(session)
        if await anyio.to_thread.run_sync(self._was_ended, session):
            self.resolver.refuse_unwakeable(session.identity)
            raise AlreadyWaking(f"somebody ended the session of {session.identity} while it was coming up")
        reason = f"the client exited {when}; its last words were: {last_words(screen)}"
        self.logs.lifecycle.write("wake-failed", identity=session.identity, code=WakeFailed.code, reason=reason)
        return WakeFailed(f"the client exited {when}; its screen said: {screen[-600:].strip()}")

    def _was_ended(self, session: Session) -> bool:
        found = self.sessions.find(session.identity, session.fence)
        return found is not None and found.is_closing

    async def see_out(self, session: Session) -> None:
        """The client is gone: let the exit hook write its line, see that nothing is left, bury it as that line says."""
        if session.tmux is not None:
            with anyio.move_on_after(EXIT_HOOK_SECONDS):
                await wait_dead(session.tmux)
            await anyio.to_thread.run_sync(write_for_hook, self.root, self.logs, session)
        await self.terminals.clear_away(session)
        current = await anyio.to_thread.run_sync(self.sessions.find, session.identity, session.fence)
        await self.deaths.bury(current or session, "session-gone")

    async def _launch(self, profile: Profile, runtime: Runtime, plan: Plan, task: str | None) -> Session:
        """Start the client as planned; raises WakeFailed, or NoAnswer, which is no failure of the client."""
        identity, start = Identity(runtime.name, profile.name), plan.start
        try:
            session = await self.launcher.start(profile, runtime, plan, task=task)
        except NoAnswer:
            raise
        except PeerwakeError as error:
            raise await self._failed_start(identity, error, is_counted=start.mode is Mode.FRESH) from error
        self.terminals.watch(session)
        tmux = session.tmux and session.tmux.pid
        self.logs.lifecycle.write(
            "wake", identity=identity, mode=start.mode, why=start.reason, tmux=tmux, obstacle=start.obstacle
        )
        return session

    async def _failed_start(self, identity: Identity, error: PeerwakeError, *, is_counted: bool = True) -> WakeFailed:
        """Log a start that did not come to a session; one that was to resume is not counted, as a fresh one follows."""
        self.logs.lifecycle.write("wake-failed", identity=identity, code=error.code, reason=error)
        if is_counted:
            await self.deaths.count(identity, str(error))
        return WakeFailed(str(error))

    @asynccontextmanager
    async def locked(self, identity: Identity) -> AsyncIterator[None]:
        """Hold the wake lock of an identity; raises AlreadyWaking when that takes longer than a second."""
        lock = FileLock(self.root.flag(identity, "wake.lock"), timeout=0, thread_local=False, mode=0o600)
        async with AsyncExitStack() as stack:
            with anyio.move_on_after(LOCK_SECONDS):
                while True:
                    try:
                        lock.acquire(timeout=0)
                        stack.callback(lock.release)
                        break
                    except Timeout:
                        await anyio.sleep(LOCK_POLL_SECONDS)
            if not lock.is_locked:
                raise AlreadyWaking(f"{identity} is being woken by somebody else")
            yield
