"""What there is of each identity now: one listing of the state directory, and a look at those with something in it."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final

import anyio
import anyio.to_thread

from lifecycle.board import Board
from lifecycle.decide import Activity, Presence, Seen, Wish
from lifecycle.flags import Flag
from lifecycle.hold import activity_of
from lifecycle.idle import Idleness, Size, Standing, size_of
from lifecycle.presence import presence_of, wish_of
from lifecycle.renewal import Renewal, Renewals
from lifecycle.resolve import Resolver
from lifecycle.session import Session, Sessions, SessionUnreadable
from transport.errors import PeerwakeError
from transport.identity import Identity, parse_identity
from transport.logs import Logs
from transport.paths import Root
from transport.process import ProcessId
from transport.spool.spool import Spool
from transport.vocabulary import WakePolicy

SESSION: Final = "session"
AT_ONCE: Final = 8
PLACE_SECONDS: Final = 0.5
LISTED: Final = (SESSION, Flag.NEW, Flag.STOPPED, Flag.FAILED)


@dataclass(frozen=True, slots=True)
class Observation:
    """One identity: what was seen of it, and the session that was seen."""

    identity: Identity
    seen: Seen
    session: Session | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """What this server is doing: the identities with a drain, those whose session's death it awaits."""

    draining: Collection[Identity]
    watched: Collection[Identity]


@dataclass(slots=True)
class Records:
    """What the files say of some identities; of those in `failures` not everything can be read."""

    stopped: set[Identity] = field(default_factory=set)
    failed: set[Identity] = field(default_factory=set)
    sessions: dict[Identity, tuple[Presence, Session | None]] = field(default_factory=dict)
    panes: dict[Identity, Size] = field(default_factory=dict)
    renewals: dict[Identity, Renewal] = field(default_factory=dict)
    failures: dict[Identity, PeerwakeError] = field(default_factory=dict)
    unreadable: set[Identity] = field(default_factory=set)


@dataclass(slots=True)
class Observer:
    """Looks at the identities that have a session, a renewal or a message; sleeping ones cost nothing."""

    root: Root
    sessions: Sessions
    resolver: Resolver
    spool: Spool
    board: Board
    idleness: Idleness
    logs: Logs
    running: Callable[[], Running]
    _told: dict[Identity, str] = field(default_factory=dict)
    _faults: dict[Identity, str] = field(default_factory=dict)

    async def survey(self, only: Collection[Identity] | None = None) -> list[Observation]:
        """Return one observation for each identity (of these) that there may be something to do about."""
        waiting = await self.spool.waiting()
        records: Records = await anyio.to_thread.run_sync(read_records, self.root, self.sessions, waiting)
        self._report(records.failures)
        held = records.stopped | records.failed
        leased = {lease.message.recipient for lease in await self.spool.all_leased()} if held & set(waiting) else set()
        live = [session for _, session in records.sessions.values() if session is not None]
        order = [session.identity for session in self.idleness.begin(live, records.panes)]
        found = {*records.sessions, *records.renewals, *waiting} - records.unreadable
        observed: list[Observation] = []
        places = anyio.CapacityLimiter(AT_ONCE)

        async def observe(identity: Identity) -> None:
            try:
                async with _for_a_while(places):
                    seen = await self._observe(identity, records, waiting.get(identity, 0), identity in leased)
                    observed.append(seen)
                self._faults.pop(identity, None)
            except Exception as error:  # the boundary of one of many: nothing is decided about it now
                fault = f"{type(error).__name__}: {error}"[:500]
                if self._faults.get(identity) != fault:
                    self.logs.lifecycle.write("observe-failed", identity=identity, reason=fault)
                self._faults[identity] = fault

        async with anyio.create_task_group() as tasks:
            for identity in dict.fromkeys([*order, *sorted(found)]):
                if identity not in found or (only is not None and identity not in only):
                    continue
                tasks.start_soon(observe, identity)
        return observed

    def _report(self, failures: dict[Identity, PeerwakeError]) -> None:
        """Log what cannot be read, once until it changes."""
        for identity, error in failures.items():
            if self._told.get(identity) != str(error):
                self.logs.lifecycle.write("observe-failed", identity=identity, code=error.code, reason=error)
        self._told = {identity: str(error) for identity, error in failures.items()}

    async def _observe(self, identity: Identity, records: Records, waiting: int, has_lease: bool) -> Observation:
        presence, session = records.sessions.get(identity, (Presence.NONE, None))
        running = self.running()
        is_known = session is not None or self.resolver.is_declared(identity)
        seen = Seen(
            presence=presence,
            is_foreign=self.resolver.is_foreign(identity),
            is_stopped=identity in records.stopped,
            is_failed=identity in records.failed,
            wish=wish_of(records.renewals.get(identity), session) if is_known else Wish.NONE,
            is_ready=session is not None and session.is_ready,
            is_watched=identity in running.watched,
            is_task=session is not None and session.task is not None,
            waiting=waiting,
            has_lease=has_lease,
            is_draining=identity in running.draining,
            is_in_the_way=session is not None and session.task is None and self._is_ephemeral(identity),
        )
        is_ours = seen.is_watched and not seen.is_foreign and not seen.is_stopped and not seen.is_task
        if session is None or presence is not Presence.ALIVE or not is_ours:
            return Observation(identity, seen, session)
        standing = await self._standing(session, is_told=seen.is_draining and not seen.is_in_the_way)
        return Observation(identity, self._with(seen, identity, standing), session, standing.detail)

    def _is_ephemeral(self, identity: Identity) -> bool:
        profile = self.resolver.registry.get(identity.personality)
        return profile is not None and profile.wake_policy is WakePolicy.EPHEMERAL

    async def _standing(self, session: Session, *, is_told: bool) -> Standing:
        """Return what a live session does; the drain that works with one knows it already."""
        if not is_told:
            return await self.idleness.assess(session)
        status = self.board.status(session.identity)
        activity = Activity.ACTIVE if status.hold is None else activity_of(status.hold)
        return self.idleness.told(session, activity, status.detail or "")

    def _with(self, seen: Seen, identity: Identity, standing: Standing) -> Seen:
        is_reported = self.board.wedged(identity) is not None
        if is_reported and standing.activity is not Activity.UNKNOWN:
            self.board.set_wedged(identity, None)
            self.logs.lifecycle.write("recovered", identity=identity, activity=standing.activity)
        return replace(
            seen,
            activity=standing.activity,
            quiet_since=standing.quiet_since,
            unknown_since=standing.unknown_since,
            is_wedge_reported=is_reported,
        )


@asynccontextmanager
async def _for_a_while(places: anyio.CapacityLimiter) -> AsyncIterator[None]:
    """Hold a place, for so long at most: those whose files hang keep the others waiting no longer."""
    borrower = object()
    await places.acquire_on_behalf_of(borrower)
    timer = asyncio.get_running_loop().call_later(PLACE_SECONDS, places.release_on_behalf_of, borrower)
    try:
        yield
    finally:
        timer.cancel()
        with suppress(RuntimeError):  # it is given back already
            places.release_on_behalf_of(borrower)


def read_records(root: Root, sessions: Sessions, also: Collection[Identity] = ()) -> Records:
    """Return what the files say of the identities with a record or a renewal, and the flags of all; blocking."""
    names: dict[str, set[str]] = {suffix: set() for suffix in LISTED}
    for name in os.listdir(root.state):
        stem, _, suffix = name.rpartition(".")
        if suffix in names:
            names[suffix].add(stem)
    found = Records()
    concerned = {*map(str, also), *names[SESSION], *names[Flag.NEW]}
    found.stopped = _identities(names[Flag.STOPPED] & concerned)
    found.failed = _identities(names[Flag.FAILED] & concerned)
    renewals = Renewals(root)
    for identity in _identities(names[SESSION]):
        try:
            session = sessions.load(identity)
            found.sessions[identity] = (presence_of(session, ProcessId.is_alive), session)
        except SessionUnreadable as error:
            found.sessions[identity] = (Presence.UNKNOWN, None)
            found.failures[identity] = error
            continue
        if found.sessions[identity][0] is Presence.ALIVE:
            found.panes[identity] = size_of(root.pane_log(identity))
    for identity in _identities(names[Flag.NEW]):
        try:
            renewal = renewals.load(identity)
        except PeerwakeError as error:
            found.failures[identity] = error
            found.unreadable.add(identity)
            continue
        if renewal is not None:
            found.renewals[identity] = renewal
    return found


def _identities(names: set[str]) -> set[Identity]:
    found = set()
    for name in names:
        try:
            found.add(parse_identity(name))
        except PeerwakeError:
            continue
    return found
