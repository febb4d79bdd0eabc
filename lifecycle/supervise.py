"""The one supervisor of a host: adopts sessions, notices deaths, keeps a drain for each waiting identity."""

import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup, TaskStatus

from lifecycle import canary
from lifecycle.canary import Ensured
from lifecycle.deck import Deck
from lifecycle.drain import Drain
from lifecycle.ephemeral import EphemeralDrain
from lifecycle.exitcause import write_for_hook
from lifecycle.panelogs import PaneLogs
from lifecycle.session import Session, SessionUnreadable
from transport.errors import PeerwakeError
from transport.identity import Identity
from transport.logs import Logs
from transport.process import ProcessId, terminate
from transport.tmux.control import TmuxGone
from transport.tmux.server import wait_dead
from transport.vocabulary import Hold, WakePolicy

OTHERS_POLL_SECONDS: Final = 0.25
NUDGES: Final = (0.03, 0.1, 0.3, 1.0, 2.0)
SHORTEST_BACKOFF_SECONDS: Final = 0.1


@dataclass(slots=True)
class Supervisor:
    """Runs the drains; every method is called on the event loop."""

    deck: Deck
    logs: Logs
    tasks: TaskGroup | None = None
    drains: dict[Identity, Drain | EphemeralDrain] = field(default_factory=dict)
    watched: dict[Identity, ProcessId] = field(default_factory=dict)
    again: set[Identity] = field(default_factory=set)

    @property
    def is_running(self) -> bool:
        return self.tasks is not None

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Adopt what is there, then supervise until cancelled; ready when all sessions are adopted."""
        async with anyio.create_task_group() as tasks:
            self.tasks = tasks
            self.deck.terminals.on_session(self.watch)
            try:
                await self._adopt()
                await self._guarded("drain", None, self._drain_waiting)
                task_status.started()
                tasks.start_soon(self._notice_others)
                await self._tick_for_ever()
            finally:
                self.tasks = None

    def kick(self, identity: Identity) -> None:
        """A message waits for this identity: see that its drain runs and looks."""
        if self.tasks is None:
            return
        drain = self.drains.get(identity)
        if drain is not None:
            self.again.add(identity)
            drain.poke()
            return
        try:
            drain = self.drains[identity] = self._new_drain(identity)
        except PeerwakeError as error:  # the message is accepted; the next tick looks again
            self.logs.lifecycle.write("drain-failed", identity=identity, reason=error)
            return
        self.tasks.start_soon(self._run_drain, identity, drain)

    def _new_drain(self, identity: Identity) -> Drain | EphemeralDrain:
        profile = self.deck.resolver.registry.get(identity.personality)
        is_ephemeral = profile is not None and profile.wake_policy is WakePolicy.EPHEMERAL
        return EphemeralDrain(self.deck, identity) if is_ephemeral else Drain(self.deck, identity)

    async def _run_drain(self, identity: Identity, drain: Drain | EphemeralDrain) -> None:
        deck, failures = self.deck, 0
        try:
            while True:
                self.again.discard(identity)
                try:
                    await drain.run()
                    failures = 0
                except Exception as error:  # the boundary of one drain: the others go on, the log has the fault
                    fault = f"{type(error).__name__}: {error}"[:500]
                    self.logs.lifecycle.write("drain-failed", identity=identity, reason=fault)
                    deck.board.update(identity, hold=Hold.UNKNOWN, detail=fault)
                    pause = max(deck.limits.backoff_seconds, SHORTEST_BACKOFF_SECONDS) * 2.0 ** min(failures, 10)
                    failures += 1
                    await deck.clock.sleep(min(pause, deck.limits.tick_seconds))
                    self.again.add(identity)
                if identity not in self.again:
                    return
        finally:
            deck.board.clear(identity)
            del self.drains[identity]

    async def _guarded(self, what: str, identity: Identity | None, work: Callable[[], Awaitable[object]]) -> None:
        """Do something whose failure must not end the server: it leaves a line, and the next tick tries again."""
        try:
            await work()
        except Exception as error:  # the boundary of one concern
            fault = f"{type(error).__name__}: {error}"[:500]
            self.logs.lifecycle.write(f"{what}-failed", identity=identity, reason=fault)

    def watch(self, session: Session) -> None:
        """Notice the death of a session's tmux server at once."""
        if self.tasks is None or session.tmux is None or self.watched.get(session.identity) == session.tmux:
            return
        self.watched[session.identity] = session.tmux
        identity, start = session.identity, self.tasks.start_soon
        start(self._guarded, "watch", identity, partial(self._watch, session, session.tmux))
        if session.pane is not None:
            start(self._guarded, "see-out", identity, partial(self._see_out, session, session.tmux, session.pane))

    async def _see_out(self, session: Session, tmux: ProcessId, agent: ProcessId) -> None:
        """See that the tmux server ends with its agent.

        tmux 3.3a loses a SIGCHLD now and then (measured: one death in thirty): the dead agent stays a
        zombie and its hook never runs, until another SIGCHLD comes.
        """
        await wait_dead(agent)
        for pause in NUDGES:
            await self.deck.clock.sleep(pause)
            if not terminate(tmux, signal.SIGCHLD):
                return
        while tmux.is_alive() and not await self._end_if_dead(session):
            await self.deck.clock.sleep(NUDGES[-1])

    async def _end_if_dead(self, session: Session) -> bool:
        """End a tmux server whose pane is certainly dead; False while that is unknown."""
        try:
            await self.deck.terminals.look(session)
        except TmuxGone:
            root = self.deck.terminals.root
            if await anyio.to_thread.run_sync(write_for_hook, root, self.logs, session):
                self.logs.lifecycle.write("hook-silent", identity=session.identity)
            await self.deck.terminals.kill(session)
            return True
        except PeerwakeError as error:
            self.logs.lifecycle.write("agent-dead", identity=session.identity, tmux="unknown", reason=error)
        return False

    async def _watch(self, session: Session, tmux: ProcessId) -> None:
        identity = session.identity
        try:
            await wait_dead(tmux)
        finally:
            # Also when it could not be waited for: the next tick takes it over again.
            if self.watched.get(identity) == tmux:
                del self.watched[identity]
        current = await anyio.to_thread.run_sync(self._load, identity)
        if current is None or current.fence != session.fence or current.is_closing:
            await self.deck.terminals.forget(session)
            return
        await self.deck.deaths.bury(current, "session-gone")
        if drain := self.drains.get(identity):
            drain.poke()

    def _load(self, identity: Identity) -> Session | None:
        try:
            return self.deck.sessions.load(identity)
        except SessionUnreadable:
            return None

    async def _adopt(self) -> None:
        """Take over every session that is not watched: at the start all of them, later what was unknown then."""
        for identity in await anyio.to_thread.run_sync(self.deck.sessions.identities):
            if identity not in self.watched:
                await self._guarded("adopt", identity, partial(self._adopt_one, identity))
        await self._ensure_canary()

    async def _ensure_canary(self) -> None:
        """See that somebody outside this server writes down what kills a tmux server."""
        servers = dict(self.watched)
        result = await anyio.to_thread.run_sync(canary.ensure_all, self.deck.terminals.root, servers)
        if result is not Ensured.ALREADY:
            self.logs.lifecycle.write("canary", result=result, servers=len(servers))
        # The hook and the canary write to it as well, and they never rotate.
        await anyio.to_thread.run_sync(self.logs.exits.rotate)

    async def _trim_pane_logs(self) -> None:
        logs = PaneLogs(self.deck.terminals.root)
        failures = await anyio.to_thread.run_sync(logs.trim, tuple(self.watched), self.deck.clock.wall())
        if failures:
            self.logs.lifecycle.write("pane-logs", failures=failures)

    async def _adopt_one(self, identity: Identity) -> None:
        session = await self.deck.waker.adopt(identity)
        if session is not None and session.task is not None:
            # Its task may be settled already, and then nothing else would end it.
            self.kick(identity)

    async def _drain_waiting(self) -> None:
        for identity in await self.deck.spool.waiting():
            self.kick(identity)

    async def _notice_others(self) -> None:
        """Messages spooled by other processes come without a kick: look when the database changed."""
        while True:
            await self.deck.clock.sleep(OTHERS_POLL_SECONDS)
            await self._guarded("notice", None, self._look_at_others)

    async def _look_at_others(self) -> None:
        await self.deck.terminals.release_unused()
        if await self.deck.spool.changed_elsewhere():
            await self._drain_waiting()

    async def _tick_for_ever(self) -> None:
        while True:
            await self.deck.clock.sleep(self.deck.limits.tick_seconds)
            await self._guarded("tick", None, self._tick)

    async def _tick(self) -> None:
        await self._adopt()
        await self._guarded("pane-logs", None, self._trim_pane_logs)
        now = self.deck.clock.wall()
        for dead in await self.deck.spool.expire(now, self.deck.limits.message_ttl_seconds):
            self.deck.settler.buried(dead)
        await self._drain_waiting()
