"""What happens when a session dies by itself: retired, logged and counted once, whoever notices it first."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import anyio.to_thread

from lifecycle.autopsy import verdicts
from lifecycle.board import Board
from lifecycle.crashes import Crashes
from lifecycle.flags import Flag, Flags
from lifecycle.limits import Limits
from lifecycle.obituaries import Obituaries
from lifecycle.session import Session
from lifecycle.states import Mode
from lifecycle.terminals import Terminals
from transport.errors import PeerwakeError
from transport.identity import Identity
from transport.logs import Logs
from transport.spool.spool import Spool

REASON_CHARS: Final = 300


@dataclass(frozen=True, slots=True)
class Deaths:
    """Buries dead sessions and notices crash loops."""

    terminals: Terminals
    crashes: Crashes
    flags: Flags
    limits: Limits
    logs: Logs
    obituaries: Obituaries
    board: Board
    spool: Spool
    kick: Callable[[Identity], None]

    async def bury(self, session: Session, event: str) -> None:
        """Retire a session that is over; one that nobody was ending is a death, and counts unless it was left."""
        if not await self.terminals.ended(session) or session.is_closing:
            return
        self.obituaries.add(event, session.identity, session.tmux)
        if session.mode is Mode.RESUME and not session.is_ready:
            return  # what could not be resumed is started fresh, and that start counts
        if await self._was_left(session):
            return
        await self.count(
            session.identity, f"{self.limits.crash_count} deaths in {self.limits.crash_window_seconds:g} s"
        )

    async def _was_left(self, session: Session) -> bool:
        """Tell whether a client that was up exited with status 0 and nothing in its hands: no crash, and no loop."""
        if not session.is_ready or session.tmux is None:
            return False
        body = (session.identity, session.tmux)
        try:
            verdict = (await anyio.to_thread.run_sync(verdicts, self.logs.exits.path, {body})).get(body)
            if verdict is None or not verdict.is_clean:
                return False
            if session.task is not None:
                return await self.spool.sent_since(session.task)
            return not await self.spool.depth(session.identity)
        except PeerwakeError:
            return False

    async def count(self, identity: Identity, reason: str) -> None:
        """Count a death or a start that failed; after a run of them nobody wakes this identity any more."""
        if not await anyio.to_thread.run_sync(self.crashes.record, identity):
            return
        is_known = self.flags.is_set(identity, Flag.FAILED)
        await anyio.to_thread.run_sync(self.flags.set, identity, Flag.FAILED, reason[:REASON_CHARS])
        self.logs.lifecycle.write("crash-loop", identity=identity, reason=reason)
        self.board.flags_changed(identity)
        if not is_known:
            await self._tell_senders(identity, reason[:REASON_CHARS])

    async def _tell_senders(self, identity: Identity, reason: str) -> None:
        """Queue one notice for each sender whose messages wait; the messages stay where they are."""
        try:
            notices = await self.spool.tell_waiting(identity, reason, self.obituaries.clock.wall())
        except PeerwakeError as error:
            self.logs.lifecycle.write("tell-senders-failed", identity=identity, reason=error)
            return
        for notice in notices:
            self.kick(notice.recipient)
