"""The open terminals of live sessions: one pane, one transcript, one control client each, opened on demand."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from lifecycle import canary
from lifecycle.boot import Boot, Booter
from lifecycle.evidence import SessionTranscript
from lifecycle.limits import Limits
from lifecycle.runtimes.base import Reader, Runtime, SessionFacts
from lifecycle.runtimes.table import Table
from lifecycle.session import Session, Sessions
from lifecycle.states import End
from transport.bulkhead import Area, Bulkhead, Compartment, NoAnswer
from transport.clock import Clock
from transport.delivery import HandOver, Pace, Target, deliver, gate
from transport.envelope import Form
from transport.errors import PeerwakeError
from transport.files import LockHeld
from transport.identity import Identity
from transport.logs import Logs
from transport.paths import Root
from transport.process import ProcessId, identify
from transport.screen import read_screen
from transport.tmux.control import ControlClient, TmuxGone, TmuxRefused, TmuxUnknown
from transport.tmux.ending import kill
from transport.tmux.listener import listener
from transport.tmux.pane import Pane
from transport.tmux.program import find_tmux
from transport.tmux.survey import Surveyor
from transport.vocabulary import Hold, Receipt, ScreenState, Stage

GLANCE_SECONDS: Final = 0.25
UNANSWERED: Final = (TmuxUnknown, TmuxRefused, LockHeld, NoAnswer)
"""What says nothing of a session or its files: nothing is concluded from it, look again."""

OnStage = Callable[[Stage], Awaitable[None]]
OnSession = Callable[[Session], None]


@dataclass(slots=True)
class Terminal:
    """What is open of one session: its pane is opened on demand, its transcript found when it exists."""

    session: Session
    runtime: Runtime
    reader: Reader
    facts: SessionFacts
    files: Compartment
    transcript: SessionTranscript
    pane: Pane | None = None
    booter: Booter | None = None


@dataclass(slots=True)
class Terminals:
    """All terminals of this server, by the fence of their session; `bulkhead` keeps the files of each apart."""

    root: Root
    clock: Clock
    limits: Limits
    table: Table
    sessions: Sessions
    logs: Logs
    bulkhead: Bulkhead
    surveyor: Surveyor = field(default_factory=Surveyor)
    _open: dict[str, Terminal] = field(default_factory=dict)
    _unwritten: dict[str, End] = field(default_factory=dict)
    _on_session: OnSession | None = None

    def on_session(self, listener: OnSession) -> None:
        """Call `listener` with each session that starts."""
        self._on_session = listener

    def watch(self, session: Session) -> None:
        """Tell the listener of a session that has started."""
        if self._on_session is not None:
            self._on_session(session)

    async def boot(self, session: Session, on_slow: Callable[[], None] | None = None) -> Boot:
        """Bring a client to its ready input line; `on_slow` is told while that takes long."""
        terminal = await self._terminal(session)
        if terminal.booter is None:
            terminal.booter = Booter(
                self._pane(terminal),
                terminal.runtime,
                terminal.reader,
                terminal.facts,
                partial(self._status, terminal),
                self.clock,
                self.limits,
            )
        return await terminal.booter.run(on_slow)

    async def gate(self, session: Session) -> tuple[Hold | None, str | None]:
        """Return why nothing may be typed now, with the screen's last lines, or None; raises TmuxGone, TmuxUnknown."""
        found = await gate(await self.target(session), self.clock)
        return found.hold, found.reading.excerpt if found.hold in (Hold.ASKS, Hold.UNKNOWN, Hold.BLOCKED) else None

    async def is_idle(self, session: Session) -> bool:
        """Tell whether the client waits for input and does nothing; raises TmuxGone, TmuxUnknown."""
        return await self.occupied(session) is None

    async def occupied(self, session: Session) -> Hold | None:
        """Return what keeps the client from beginning a turn, None when it is idle; raises TmuxGone, TmuxUnknown."""
        target = replace(await self.target(session), takes_input_while_busy=False)
        return (await gate(target, self.clock)).hold

    async def deliver(
        self,
        session: Session,
        text: str,
        message_id: str,
        on_stage: OnStage,
        *,
        stage: Stage = Stage.HELD,
        is_repeated: bool = False,
        since: float | None = None,
    ) -> HandOver:
        """Hand one message over from the stage it reached; raises TmuxGone, TmuxUnknown, TmuxRefused, LockHeld."""
        terminal = await self._terminal(session)
        target = await self.target(session)
        seconds = terminal.runtime.receipt_seconds or self.limits.receipt_seconds
        pace = Pace(receipt_seconds=seconds)
        return await deliver(
            target,
            text,
            message_id,
            stage=stage,
            on_stage=on_stage,
            clock=self.clock,
            pace=pace,
            is_repeated=is_repeated,
            since=since,
            attempts=self.attempts(session),
        )

    async def was_pasted(self, session: Session, message_id: str) -> bool:
        """Tell whether this was the last message pasted into a session, by whatever server."""
        return await self._pane(await self._terminal(session)).times_pasted(message_id) > 0

    async def was_told(self, session: Session) -> bool:
        """Tell whether anything was pasted into a session, by whatever server; raises TmuxUnknown."""
        try:
            return await self._pane(await self._terminal(session)).last_pasted() is not None
        except TmuxGone:
            return False

    def attempts(self, session: Session) -> int:
        """Return how often a message may be typed into a session."""
        return self.table.get(session.identity.runtime).attempts or self.limits.attempts

    def form(self, session: Session) -> Form:
        """Return what body may be typed into a session; any other goes into a file."""
        return self.table.get(session.identity.runtime).form(self.limits.inline_bytes)

    async def opened(self, session: Session) -> tuple[Runtime, Target]:
        """Return a session's runtime and its terminal, for who presses other keys than those of a message."""
        return (await self._terminal(session)).runtime, await self.target(session)

    async def find(self, session: Session, message_id: str) -> Receipt | None:
        """Return the evidence for a message in a session's transcript, also after its end."""
        return await (await self._terminal(session)).transcript.find(message_id)

    async def transcript_sizes(self, session: Session, locate: bool) -> tuple[int, ...]:
        """Return the sizes of a session's transcripts, looking for a new one if `locate`."""
        return await (await self._terminal(session)).transcript.sizes(locate=locate)

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

    async def close(self, session: Session, end: End) -> None:
        """End a session deliberately: no exit line is written, no death is counted; raises TmuxUnknown.

        The intent is written down first, so that the next server ends what this one did not get to. A stop
        needs no room on the disk: its flag is set, and the record of what it ended is tidied up by a tick.
        """
        reference = await self._reference(session)
        try:
            closing = await anyio.to_thread.run_sync(
                lambda: self.sessions.update(session, is_closing=True, end=end, session_ref=reference)
            )
            await self.kill(closing)
            await self._retire(closing)
        except OSError as error:
            if end is not End.STOPPED:
                raise
            self.logs.lifecycle.write("record-stays", identity=session.identity, reason=error)
            self._unwritten[session.fence] = end
            await self.kill(session)
        self.logs.lifecycle.write("close", identity=session.identity, why=end, tmux=session.tmux and session.tmux.pid)

    async def kill(self, session: Session) -> None:
        """End a session's processes, deliberately: that leaves no line; raises TmuxUnknown if they survive."""
        if session.tmux is not None:
            await anyio.to_thread.run_sync(canary.dismiss, self.root, session.identity, session.tmux.pid)
            await self.clear_away(session)

    async def clear_away(self, session: Session) -> None:
        """End what its own death has left of a session; the canary writes a line unless somebody else has."""
        if session.tmux is not None:
            await kill(self.root.tmux_socket(session.identity), session.tmux, pane=session.pane, clock=self.clock)

    async def end_unrecorded(self, identity: Identity) -> None:
        """End whatever tmux server there is in the place of an identity, also without its socket; raises TmuxUnknown.

        What this process knows of its session is kept: its transcript says what was taken.
        """
        socket = self.root.tmux_socket(identity)
        # As it is now: whoever watches its end forgets what has no record.
        known = [terminal.session for terminal in self._open.values() if terminal.session.identity == identity]
        alive = (session.tmux for session in known if session.tmux is not None and session.tmux.is_alive())
        server = listener(socket) or next(alive, None)
        if server is not None:
            await anyio.to_thread.run_sync(canary.dismiss, self.root, identity, server.pid)
            await kill(socket, server, clock=self.clock)
            self.logs.lifecycle.write("close", identity=identity, tmux=server.pid, record="none")
        for session in known:
            if server is not None and session.tmux == server:
                await self._remember(session)
            await self.forget(session)

    async def _remember(self, session: Session) -> None:
        last = replace(session, is_closing=True, end=End.STOPPED, session_ref=await self._reference(session))
        try:
            await anyio.to_thread.run_sync(self.sessions.remember, last)
        except OSError as error:
            self.logs.lifecycle.write("record-lost", identity=session.identity, reason=error)

    async def has_unrecorded(self, identity: Identity) -> bool:
        """Tell whether a tmux server that nobody has a record of is in the place of an identity.

        One without any pane is what the launcher of a killed server was too late with: it is ended.
        """
        socket = self.root.tmux_socket(identity)
        if listener(socket) is None:
            return False
        try:
            if (await self.surveyor.survey(socket)).panes:
                return True
        except TmuxGone:
            pass  # it has no session, or is gone by now
        except (PeerwakeError, OSError):
            return True
        await self.end_unrecorded(identity)
        return False

    async def ended(self, session: Session) -> bool:
        """A session is over: keep its record as the last one; False if that was done already, or it was no death."""
        if (end := self._unwritten.get(session.fence)) is not None:
            await self._retire(replace(session, is_closing=True, end=end))
            return False
        return await self._retire(replace(session, session_ref=await self._reference(session)))

    async def _retire(self, last: Session) -> bool:
        is_first = await anyio.to_thread.run_sync(self.sessions.retire, last)
        self._unwritten.pop(last.fence, None)
        await self.forget(last)
        return is_first

    async def _reference(self, session: Session) -> str | None:
        """Return what resumes a conversation, asked while it can still be found out; files that hang keep nobody."""
        found = None
        try:
            terminal = await self._terminal(session)
            reader, facts = terminal.reader, terminal.facts
            found = await terminal.files.run(facts.place, partial(reader.refer, facts))
        except (PeerwakeError, OSError) as error:
            # A session ends also when nothing is known of its runtime any more.
            self.logs.lifecycle.write("no-reference", identity=session.identity, reason=error)
        return found or session.session_ref

    async def forget(self, session: Session) -> None:
        """Close what is open of a session; the session itself is left alone."""
        terminal = self._open.pop(session.fence, None)
        if terminal is not None and terminal.pane is not None:
            with anyio.CancelScope(shield=True):
                await terminal.pane.aclose()

    async def release_unused(self) -> None:
        """Close the control clients that nobody has used for a while."""
        oldest = self.clock.monotonic() - self.limits.control_idle_seconds
        panes = [terminal.pane for terminal in self._open.values()]
        for pane in [pane for pane in panes if pane is not None and pane.control.is_unused_since(oldest)]:
            await pane.aclose()

    async def complete(self, session: Session) -> Session | None:
        """Complete the record of a session whose server was killed while it started it.

        Where that did not get as far as a running agent, nothing of it is left, and None is returned.
        Raises TmuxUnknown.
        """
        socket = self.root.tmux_socket(session.identity)
        server = listener(socket)
        found = None if server is None else await self._agent(socket)
        if server is not None and found is not None:
            pane_id, agent = found
            return await anyio.to_thread.run_sync(
                lambda: self.sessions.update(session, tmux=server, pane=agent, pane_id=pane_id)
            )
        if server is not None:
            await anyio.to_thread.run_sync(canary.dismiss, self.root, session.identity, server.pid)
            await kill(socket, server, clock=self.clock)
        await anyio.to_thread.run_sync(self.sessions.discard, session)
        return None

    async def _agent(self, socket: Path) -> tuple[str, ProcessId] | None:
        """Return a server's first pane and its process, whatever its session is called by now; None if it is dead."""
        try:
            survey = await self.surveyor.survey(socket)
        except TmuxGone:
            return None
        first = min(survey.panes, key=lambda pane: int(pane.pane_id[1:]), default=None)
        agent = None if first is None or first.dead else identify(first.pid)
        return None if first is None or agent is None else (first.pane_id, agent)

    async def aclose(self) -> None:
        """Close everything that is open; sessions live on."""
        for terminal in tuple(self._open.values()):
            await self.forget(terminal.session)

    async def _terminal(self, session: Session) -> Terminal:
        terminal = self._open.get(session.fence)
        if terminal is None:
            cwd = Path(session.cwd)
            directory = self.bulkhead.of(Area.DIRECTORY, session.identity)
            runtime = await directory.run(cwd, partial(self.table.for_peer, session.identity.runtime, cwd))
            reader = self.table.reader(runtime)
            facts = SessionFacts(
                session_id=session.session_id,
                cwd=cwd,
                woke_at=session.woke_at,
                env=session.client_env,
                pane_pid=None if session.pane is None else session.pane.pid,
                session_ref=session.session_ref,
            )
            files = self.bulkhead.of(Area.TRANSCRIPT, session.identity)
            locate, left = partial(reader.locate, facts), partial(reader.left, facts)
            transcript = SessionTranscript(locate, reader.parse, self.clock, files, facts.place, left)
            opened = Terminal(session, runtime, reader, facts, files, transcript)
            terminal = self._open.setdefault(session.fence, opened)
        return terminal

    async def _status(self, terminal: Terminal) -> ScreenState | None:
        """Return what a client says that it is doing, None when that cannot be told, or its files give no answer."""
        facts = terminal.facts
        try:
            return await terminal.files.run(facts.place, partial(terminal.reader.status, facts))
        except NoAnswer:
            return None

    def _pane(self, terminal: Terminal) -> Pane:
        if terminal.pane is None:
            session = terminal.session
            assert session.tmux is not None
            control = ControlClient(
                tmux=find_tmux(),
                socket=self.root.tmux_socket(session.identity),
                session=str(session.identity),
                pane=session.pane_id or None,
                server=session.tmux,
                clock=self.clock,
                lock=self.root.flag(session.identity, "pane.lock"),
            )
            terminal.pane = Pane(control, session.pane_id, self.clock)
        return terminal.pane

    async def target(self, session: Session) -> Target:
        """Return a session's terminal as deliveries see it; who types there holds `pane.exclusive`."""
        terminal = await self._terminal(session)
        runtime = terminal.runtime
        return Target(
            pane=self._pane(terminal),
            rules=runtime.screen,
            transcript=terminal.transcript,
            status=partial(self._status, terminal) if terminal.reader.has_status else None,
            submit_keys=runtime.submit,
            has_composer=runtime.has_composer,
            takes_input_while_busy=runtime.takes_input_while_busy,
            human_quiet_seconds=self.limits.human_quiet_seconds,
        )
