"""The open terminals of live sessions: one pane, one transcript, one control client each, opened on demand."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from lifecycle.boot import Boot, Booter
from lifecycle.evidence import SessionTranscript
from lifecycle.limits import Limits
from lifecycle.runtimes.base import Reader, Runtime, SessionFacts
from lifecycle.runtimes.table import Table
from lifecycle.session import Session, Sessions
from transport.clock import Clock
from transport.delivery import HandOver, Pace, Target, deliver, gate
from transport.errors import PeerwakeError
from transport.logs import Logs
from transport.paths import Root
from transport.process import identify, parent
from transport.screen import read_screen
from transport.tmux.control import ControlClient, TmuxGone
from transport.tmux.pane import Pane
from transport.tmux.program import find_tmux
from transport.tmux.server import kill
from transport.tmux.survey import Surveyor
from transport.vocabulary import Hold, Receipt, ScreenState, Stage

GLANCE_SECONDS: Final = 0.25
OnStage = Callable[[Stage], Awaitable[None]]
OnSession = Callable[[Session], None]


@dataclass(slots=True)
class Terminal:
    """What is open of one session: its pane is opened on demand, its transcript found when it exists."""

    session: Session
    runtime: Runtime
    reader: Reader
    facts: SessionFacts
    transcript: SessionTranscript
    pane: Pane | None = None
    booter: Booter | None = None


@dataclass(slots=True)
class Terminals:
    """All terminals of this server, by the fence of their session."""

    root: Root
    clock: Clock
    limits: Limits
    table: Table
    sessions: Sessions
    logs: Logs
    surveyor: Surveyor = field(default_factory=Surveyor)
    _open: dict[str, Terminal] = field(default_factory=dict)
    _on_session: OnSession | None = None

    def on_session(self, listener: OnSession) -> None:
        """Call `listener` with each session that starts."""
        self._on_session = listener

    def watch(self, session: Session) -> None:
        """Tell the listener of a session that has started."""
        if self._on_session is not None:
            self._on_session(session)

    async def boot(self, session: Session) -> Boot:
        """Bring a client to its ready input line."""
        terminal = await self._terminal(session)
        if terminal.booter is None:
            terminal.booter = Booter(
                self._pane(terminal), terminal.runtime, terminal.reader, terminal.facts, self.clock, self.limits
            )
        return await terminal.booter.run()

    async def gate(self, session: Session) -> tuple[Hold | None, str | None]:
        """Return why nothing may be typed now, with the screen's last lines, or None; raises TmuxGone, TmuxUnknown."""
        found = await gate(await self._target(session), self.clock)
        return found.hold, found.reading.excerpt if found.hold in (Hold.ASKS, Hold.UNKNOWN, Hold.BLOCKED) else None

    async def deliver(
        self, session: Session, text: str, message_id: str, on_stage: OnStage, *, stage: Stage = Stage.HELD
    ) -> HandOver:
        """Hand one message over from the stage it reached; raises TmuxGone, TmuxUnknown, TmuxRefused, LockHeld."""
        terminal = await self._terminal(session)
        target = await self._target(session)
        seconds = terminal.runtime.receipt_seconds or self.limits.receipt_seconds
        pace = Pace(receipt_seconds=seconds)
        return await deliver(target, text, message_id, stage=stage, on_stage=on_stage, clock=self.clock, pace=pace)

    async def find(self, session: Session, message_id: str) -> Receipt | None:
        """Return the evidence for a message in a session's transcript, also after its end."""
        return await (await self._terminal(session)).transcript.find(message_id)

    async def look(self, session: Session) -> tuple[ScreenState, tuple[str, ...]]:
        """Return what a session's screen shows; raises TmuxGone, TmuxUnknown."""
        terminal = await self._terminal(session)
        screen = await self._pane(terminal).capture()
        if screen.dead:
            raise TmuxGone(f"the process in pane {session.pane_id} has ended")
        return read_screen(screen, terminal.runtime.screen).state, screen.lines

    async def glance(self, session: Session) -> ScreenState | None:
        """Return what a session's screen shows, None when that cannot be told at once."""
        with anyio.move_on_after(GLANCE_SECONDS):
            try:
                return (await self.look(session))[0]
            except (PeerwakeError, OSError):
                return None
        return None

    async def close(self, session: Session) -> None:
        """End a session deliberately: no exit line is written, no death is counted."""
        await self.ended(session)
        await self.kill(session)
        self.logs.lifecycle.write("close", identity=session.identity, tmux=session.tmux and session.tmux.pid)

    async def kill(self, session: Session) -> None:
        """End what is left of a session's processes; raises TmuxUnknown if they survive."""
        if session.tmux is not None:
            await kill(self.root.tmux_socket(session.identity), session.tmux, pane=session.pane, clock=self.clock)

    async def ended(self, session: Session) -> None:
        """A session died by itself: keep its record as the last one."""
        terminal = await self._terminal(session)
        # What resumes this conversation is written down while it can still be found out.
        reference = await anyio.to_thread.run_sync(terminal.reader.refer, terminal.facts)
        last = replace(session, session_ref=reference or session.session_ref)
        await anyio.to_thread.run_sync(self.sessions.retire, last)
        await self.forget(session)

    async def forget(self, session: Session) -> None:
        """Close what is open of a session; the session itself is left alone."""
        terminal = self._open.pop(session.fence, None)
        if terminal is not None and terminal.pane is not None:
            await terminal.pane.aclose()

    async def release_unused(self) -> None:
        """Close the control clients that nobody has used for a while."""
        oldest = self.clock.monotonic() - self.limits.control_idle_seconds
        for terminal in tuple(self._open.values()):
            pane = terminal.pane
            if pane is not None and not pane.control.is_in_use and pane.control.last_used < oldest:
                await pane.aclose()

    async def adopt_unrecorded(self, session: Session) -> Session | None:
        """Complete the record of a session whose server was killed while it started it; None if there is none.

        Raises TmuxUnknown.
        """
        try:
            survey = await self.surveyor.survey(self.root.tmux_socket(session.identity))
        except TmuxGone:
            return None
        panes = [pane for pane in survey.panes if pane.session == str(session.identity) and not pane.dead]
        if len(panes) != 1:
            return None
        pane = identify(panes[0].pid)
        server = None if pane is None else identify(parent(pane.pid) or 0)
        if pane is None or server is None:
            return None
        return self.sessions.update(session, tmux=server, pane=pane, pane_id=panes[0].pane_id)

    async def aclose(self) -> None:
        """Close everything that is open; sessions live on."""
        for terminal in tuple(self._open.values()):
            await self.forget(terminal.session)

    async def _terminal(self, session: Session) -> Terminal:
        terminal = self._open.get(session.fence)
        if terminal is None:
            cwd = Path(session.cwd)
            runtime = await anyio.to_thread.run_sync(self.table.for_peer, session.identity.runtime, cwd)
            reader = self.table.reader(runtime)
            facts = SessionFacts(
                session_id=session.session_id,
                cwd=cwd,
                woke_at=session.woke_at,
                env=session.client_env,
                pane_pid=None if session.pane is None else session.pane.pid,
                session_ref=session.session_ref,
            )
            transcript = SessionTranscript(partial(reader.locate, facts), reader.parse, self.clock)
            terminal = self._open.setdefault(session.fence, Terminal(session, runtime, reader, facts, transcript))
        return terminal

    def _pane(self, terminal: Terminal) -> Pane:
        if terminal.pane is None:
            session = terminal.session
            assert session.tmux is not None
            control = ControlClient(
                tmux=find_tmux(),
                socket=self.root.tmux_socket(session.identity),
                session=str(session.identity),
                server=session.tmux,
                clock=self.clock,
                lock=self.root.flag(session.identity, "pane.lock"),
            )
            terminal.pane = Pane(control, session.pane_id, self.clock)
        return terminal.pane

    async def _target(self, session: Session) -> Target:
        terminal = await self._terminal(session)
        runtime = terminal.runtime
        return Target(
            pane=self._pane(terminal),
            rules=runtime.screen,
            transcript=terminal.transcript,
            status=partial(anyio.to_thread.run_sync, terminal.reader.status, terminal.facts),
            submit_keys=runtime.submit,
            has_composer=runtime.has_composer,
            takes_input_while_busy=runtime.takes_input_while_busy,
            human_quiet_seconds=self.limits.human_quiet_seconds,
        )
