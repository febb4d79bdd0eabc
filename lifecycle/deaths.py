"""What happens when a session dies by itself: retired, logged and counted once, whoever notices it first."""

from dataclasses import dataclass
from typing import Final

import anyio.to_thread

from lifecycle.crashes import Crashes
from lifecycle.flags import Flag, Flags
from lifecycle.limits import Limits
from lifecycle.session import Session
from lifecycle.states import Mode
from lifecycle.terminals import Terminals
from transport.identity import Identity
from transport.logs import Logs

REASON_CHARS: Final = 300


@dataclass(frozen=True, slots=True)
class Deaths:
    """Buries dead sessions and notices crash loops."""

    terminals: Terminals
    crashes: Crashes
    flags: Flags
    limits: Limits
    logs: Logs

    async def bury(self, session: Session, event: str) -> None:
        """Retire a session that is over; one that nobody was ending counts as a death."""
        if not await self.terminals.ended(session) or session.is_closing:
            return
        tmux = None if session.tmux is None else session.tmux.pid
        self.logs.lifecycle.write(event, identity=session.identity, tmux=tmux)
        if session.mode is Mode.RESUME and not session.is_ready:
            return  # what could not be resumed is started fresh, and that start counts
        await self.count(
            session.identity, f"{self.limits.crash_count} deaths in {self.limits.crash_window_seconds:g} s"
        )

    async def count(self, identity: Identity, reason: str) -> None:
        """Count a death or a start that failed; after a run of them nobody wakes this identity any more."""
        if not await anyio.to_thread.run_sync(self.crashes.record, identity):
            return
        await anyio.to_thread.run_sync(self.flags.set, identity, Flag.FAILED, reason[:REASON_CHARS])
        self.logs.lifecycle.write("crash-loop", identity=identity, reason=reason)
