"""The one supervisor of a host: adopts sessions, notices deaths, keeps a drain for each waiting identity."""

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import anyio
from anyio.abc import TaskGroup, TaskStatus

from lifecycle.act import Acts, Work
from lifecycle.decide import Action, Presence, decide
from lifecycle.deck import Deck
from lifecycle.drain import Drain
from lifecycle.ephemeral import EphemeralDrain
from lifecycle.flags import Flag
from lifecycle.idle import Idleness
from lifecycle.observe import Observation, Observer, Running
from lifecycle.renew import Renewer
from lifecycle.renewal import Renewals
from lifecycle.session import Session
from lifecycle.sight import look_at
from lifecycle.upkeep import Upkeep
from lifecycle.vigil import Vigil, guarded
from transport.errors import PeerwakeError
from transport.identity import Identity
from transport.logs import Logs
from transport.process import ProcessId
from transport.vocabulary import Hold, WakePolicy

OTHERS_POLL_SECONDS: Final = 0.25
SHORTEST_BACKOFF_SECONDS: Final = 0.1
AT_ONCE: Final = 8


@dataclass(slots=True)
class Supervisor:
    """Runs the drains and the tick; every method is called on the event loop."""

    deck: Deck
    logs: Logs
    is_verbose: bool = False
    has_news: bool = False
    tasks: TaskGroup | None = None
    drains: dict[Identity, Drain | EphemeralDrain] = field(default_factory=dict)
    again: set[Identity] = field(default_factory=set)
    busy: set[Identity] = field(default_factory=set)
    vigil: Vigil = field(init=False)
    observer: Observer = field(init=False)
    acts: Acts = field(init=False)
    upkeep: Upkeep = field(init=False)

    def __post_init__(self) -> None:
        deck, logs, root = self.deck, self.logs, self.deck.terminals.root
        see, sizes = partial(look_at, deck.terminals), deck.terminals.transcript_sizes
        idleness = Idleness(see, sizes, root.pane_log, deck.board, deck.limits, deck.clock)
        self.vigil = Vigil(deck, logs, self._ended)
        self.observer = Observer(
            root, deck.sessions, deck.resolver, deck.spool, deck.board, idleness, logs, self._running
        )
        renewals = Renewals(root)
        renewer = Renewer(renewals, deck.sessions, deck.terminals, deck.waker, deck.clock, deck.limits, logs)
        watched = self.vigil.watched.keys()
        self.acts = Acts(deck, logs, idleness, renewer, self.drains.keys(), watched, self.kick, self._aside)
        self.upkeep = Upkeep(deck, logs, lambda: self.vigil.watched)

    @property
    def is_running(self) -> bool:
        return self.tasks is not None

    @property
    def watched(self) -> dict[Identity, ProcessId]:
        """The tmux servers of the live sessions."""
        return self.vigil.watched

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Adopt what is there, then supervise until cancelled; ready when all sessions are adopted."""
        async with anyio.create_task_group() as tasks:
            self._enter(tasks)
            try:
                # What waited too long while no server ran is not delivered by this one.
                await guarded(self.logs, "expire", None, self.upkeep.expire)
                await guarded(self.logs, "adopt", None, self.attend)
                await guarded(self.logs, "canary", None, self.upkeep.ensure_canary)
                task_status.started()
                tasks.start_soon(self._notice_others)
                await self._tick_for_ever()
            finally:
                self._enter(None)

    def _enter(self, tasks: TaskGroup | None) -> None:
        obituaries = self.deck.deaths.obituaries
        self.tasks = self.vigil.tasks = obituaries.tasks = tasks
        if tasks is None:
            obituaries.flush()
        else:
            self.deck.terminals.on_session(self.vigil.watch)

    def _running(self) -> Running:
        return Running(self.drains.keys(), self.vigil.watched.keys())

    def kick(self, identity: Identity) -> None:
        """Something about the queue of this identity changed: see that its drain runs and looks at once."""
        if drain := self.drains.get(identity):
            drain.poke()
        self.arrived(identity)

    def arrived(self, identity: Identity) -> None:
        """A message was accepted for this identity: see that its drain runs.

        One that runs is left alone and comes to it in its turn: what it waits for now concerns the message before.
        """
        if self.tasks is None:
            return
        if identity in self.drains:
            self.again.add(identity)
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

    def _renewed(self, identity: Identity, drain: Drain | EphemeralDrain) -> Drain | EphemeralDrain:
        """Return the drain for the wake policy as it is now; the same one while that is unknown or unchanged."""
        try:
            fresh = self._new_drain(identity)
        except PeerwakeError:
            return drain
        return drain if type(fresh) is type(drain) else fresh

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
                drain = self.drains[identity] = self._renewed(identity, drain)
        finally:
            deck.board.clear(identity)
            self.acts.idleness.touch(identity)
            del self.drains[identity]

    def _ended(self, session: Session) -> None:
        """A session died: its drain looks at once, and a renewal that waited for this is not kept waiting.

        What died before it was ready is not started again at once: what ails it may pass until the next tick.
        """
        identity = session.identity
        if drain := self.drains.get(identity):
            drain.poke()
        if self.tasks is not None and session.is_ready and self.deck.flags.is_set(identity, Flag.NEW):
            self.tasks.start_soon(guarded, self.logs, "attend", identity, partial(self.attend, {identity}))

    async def attend(self, only: Collection[Identity] | None = None) -> None:
        """Observe, decide, act: for every identity there may be something to do about, or some of them."""
        observed = await self.observer.survey(only)
        places, now = anyio.CapacityLimiter(AT_ONCE), self.deck.clock.monotonic()
        async with anyio.create_task_group() as tasks:
            for at in observed:
                action = decide(at.seen, now, self.deck.limits)
                if self.is_verbose:
                    self._tell(at, action, now)
                if action is not Action.NOTHING and at.identity not in self.busy:
                    tasks.start_soon(self._act, places, action, at)

    def _tell(self, at: Observation, action: Action, now: float) -> None:
        """Write what a look saw and what comes of it; only where that is asked for."""
        seen = at.seen
        self.logs.lifecycle.write(
            "look",
            identity=at.identity,
            presence=seen.presence,
            activity=seen.activity if seen.presence is Presence.ALIVE else None,
            quiet=None if seen.quiet_since is None else f"{now - seen.quiet_since:.0f}",
            waiting=seen.waiting,
            draining=seen.is_draining or None,
            action=action,
        )

    async def _act(self, places: anyio.CapacityLimiter, action: Action, at: Observation) -> None:
        async with places:
            await guarded(self.logs, action, at.identity, partial(self.acts.act, action, at))

    def _aside(self, what: str, identity: Identity, work: Work) -> None:
        """Do what takes long without holding the tick up; meanwhile nothing else is decided about the identity."""
        if self.tasks is not None and identity not in self.busy:
            self.busy.add(identity)
            self.tasks.start_soon(self._do_aside, what, identity, work)

    async def _do_aside(self, what: str, identity: Identity, work: Work) -> None:
        try:
            await guarded(self.logs, what, identity, work)
        finally:
            self.busy.discard(identity)

    async def _notice_others(self) -> None:
        """Messages spooled by other processes come without a kick: look when the database changed."""
        while True:
            await self.deck.clock.sleep(OTHERS_POLL_SECONDS)
            await guarded(self.logs, "notice", None, self._look_at_others)

    async def _look_at_others(self) -> None:
        await self.deck.terminals.release_unused()
        self.has_news = await self.deck.spool.changed_elsewhere() or self.has_news
        if self.has_news:
            waiting = await self.deck.spool.waiting()
            self.has_news = False
            for identity in waiting:
                if identity in self.drains or self.deck.resolver.is_wakeable(identity):
                    self.kick(identity)

    async def _tick_for_ever(self) -> None:
        while True:
            await self.deck.clock.sleep(self.deck.limits.tick_seconds)
            await self.tick()

    async def tick(self) -> None:
        """Look at everything once; what fails is tried again at the next one."""
        await guarded(self.logs, "tick", None, self.upkeep.run)
        await guarded(self.logs, "tick", None, self.attend)
