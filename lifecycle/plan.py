"""What the next session of an identity is made of, gathered from flags and the record of the last one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lifecycle.flags import Flag, Flags, FlagUnusable
from lifecycle.renewal import Renewal, Renewals
from lifecycle.runtimes.base import Runtime, SessionFacts
from lifecycle.runtimes.table import Table
from lifecycle.session import Session, Sessions, SessionUnreadable
from lifecycle.start import Last, Start, StartFacts, choose_start
from lifecycle.states import Mode
from transport.identity import Identity
from transport.logs import Logs
from transport.profile import Profile

WISHES: Final = (Flag.NEW, Flag.REFRESH)


@dataclass(frozen=True, slots=True)
class Plan:
    """A decided start; `seed` is what a fresh session is told first, `topics` those that a resumed one had.

    `obeyed` are the flags that it obeys, each as its file was: one that is set anew meanwhile is another wish.
    """

    start: Start
    seed: str | None = None
    topics: tuple[str, ...] = ()
    obeyed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Planner:
    """Reads what decides a start; its methods block."""

    flags: Flags
    renewals: Renewals
    sessions: Sessions
    table: Table
    logs: Logs

    def plan(self, profile: Profile, runtime: Runtime, asked: Mode | None, topic: str | None) -> Plan:
        """Return how the next session starts; raises CannotResume when that was asked for and cannot be."""
        identity = Identity(runtime.name, profile.name)
        # Before they are read: what is written from now on is not obeyed yet.
        marks = {str(flag): self.flags.mark(identity, flag) for flag in WISHES}
        renewal = self._renewal(identity)
        last = self._last(identity)
        start = choose_start(
            StartFacts(
                is_renewed=renewal is not None,
                is_refreshed=self.flags.is_set(identity, Flag.REFRESH),
                asked=asked,
                wake_policy=profile.wake_policy,
                intelligence=profile.intelligence,
                last=None if last is None else self._facts(last, runtime),
                topic=topic,
            )
        )
        topics = last.topics if last is not None and start.mode is Mode.RESUME else ()
        obeyed = {flag: mark for flag, mark in marks.items() if mark is not None}
        return Plan(start, None if renewal is None else renewal.seed, topics, obeyed)

    def consume(self, session: Session) -> None:
        """Clear the flags that a session has obeyed; what cannot be cleared is logged and obeyed again."""
        identity = session.identity
        for flag in WISHES:
            try:
                if flag in session.obeys and self.flags.mark(identity, flag) == session.obeys[flag]:
                    self.flags.clear(identity, flag)
            except FlagUnusable as error:
                self.logs.lifecycle.write("flag-stays", identity=identity, flag=flag, reason=error)

    def _renewal(self, identity: Identity) -> Renewal | None:
        try:
            return self.renewals.load(identity)
        except FlagUnusable as error:
            self.logs.lifecycle.write("seed-unreadable", identity=identity, reason=error)
            return Renewal()

    def _last(self, identity: Identity) -> Session | None:
        try:
            return self.sessions.last(identity)
        except SessionUnreadable as error:
            self.logs.lifecycle.write("last-unreadable", identity=identity, reason=error)
            return None

    def _facts(self, last: Session, runtime: Runtime) -> Last:
        return Last(last.end, last.session_ref, last.topics, self._obstacle(last, runtime))

    def _obstacle(self, last: Session, runtime: Runtime) -> str | None:
        """Return why a conversation cannot be resumed, as far as that can be told without starting the client."""
        if not runtime.resume_argv:
            return f"the runtime {runtime.name} cannot resume a conversation"
        if last.session_ref is None or runtime.reader is None:
            return None
        facts = SessionFacts(
            session_id=last.session_id,
            cwd=Path(last.cwd),
            woke_at=last.woke_at,
            env=last.client_env,
            session_ref=last.session_ref,
        )
        try:
            found = self.table.reader(runtime).locate(facts)
            is_empty = found is not None and found.stat().st_size == 0
        except OSError as error:
            return f"its conversation {last.session_ref} cannot be read: {error.strerror}"
        if found is None:
            return f"its conversation {last.session_ref} is not there: nothing was said in it, or it was removed"
        return f"its conversation {last.session_ref} is empty" if is_empty else None
