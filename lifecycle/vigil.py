"""The watch at each live session: its death is noticed at once, and nothing of it stays behind."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import anyio.to_thread
from anyio.abc import TaskGroup

from lifecycle.deck import Deck
from lifecycle.exitcause import write_for_hook
from lifecycle.session import Session, SessionUnreadable
from lifecycle.wake import AlreadyWaking
from transport.errors import PeerwakeError
from transport.identity import Identity
from transport.logs import Logs
from transport.process import ProcessId
from transport.tmux.control import TmuxGone
from transport.tmux.ending import wait_dead, wait_noticed

LOOK_AGAIN_SECONDS: Final = 2.0


async def guarded(logs: Logs, what: str, identity: Identity | None, work: Callable[[], Awaitable[object]]) -> None:
    """Do something whose failure must not end the server: it leaves a line, and the next tick tries again."""
    try:
        await work()
    except Exception as error:  # the boundary of one concern
        first = innermost(error)
        fault = f"{type(first).__name__}: {first}"[:500]
        logs.lifecycle.write(f"{what}-failed", identity=identity, reason=fault)


def innermost(error: BaseException) -> BaseException:
    """Return the first error that a group of them is about."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@dataclass(slots=True)
class Vigil:
    """Two tasks for each session; `on_end` is told of every one that is over, `tasks` is there while it runs."""

    deck: Deck
    logs: Logs
    on_end: Callable[[Session], None]
    tasks: TaskGroup | None = None
    watched: dict[Identity, ProcessId] = field(default_factory=dict)

    def watch(self, session: Session) -> None:
        """Notice the death of a session's tmux server at once."""
        tmux, identity = session.tmux, session.identity
        if self.tasks is None or tmux is None or self.watched.get(identity) == tmux:
            return
        self.watched[identity] = tmux
        start = self.tasks.start_soon
        start(guarded, self.logs, "watch", identity, partial(self._watch, session, tmux))
        if session.pane is not None:
            start(guarded, self.logs, "see-out", identity, partial(self._see_out, session, tmux, session.pane))

    async def _watch(self, session: Session, tmux: ProcessId) -> None:
        identity = session.identity
        try:
            await wait_dead(tmux)
        finally:
            self._unwatch(identity, tmux)
        while not await self._lay_to_rest(session):
            pass  # whoever holds the lock that long brings it up or ends it, and may be gone before that is done

    async def _lay_to_rest(self, session: Session) -> bool:
        """Leave nothing of a session that is over, then bury it; nobody starts the next one in between.

        False when somebody else was at work on the identity all the time.
        """
        deck = self.deck
        try:
            async with deck.waker.locked(session.identity):
                current = await anyio.to_thread.run_sync(self._load, session.identity)
                if current is None or current.fence != session.fence or current.is_closing:
                    await deck.terminals.forget(session)
                    return True
                # While there is a record, whoever comes after a kill looks for what is left.
                await deck.terminals.clear_away(current)
                await deck.deaths.bury(current, "session-gone")
        except AlreadyWaking:
            return False
        self.on_end(current)
        return True

    async def _see_out(self, session: Session, tmux: ProcessId, agent: ProcessId) -> None:
        """See that the tmux server ends with its agent."""
        try:
            if await wait_noticed(tmux, agent):
                return
            told: set[str] = set()
            while tmux.is_alive() and not await self._end_if_dead(session, told):
                await self.deck.clock.sleep(LOOK_AGAIN_SECONDS)
        except BaseException:
            # Nobody sees it out any more: the next tick does.
            self._unwatch(session.identity, tmux)
            raise

    def _unwatch(self, identity: Identity, tmux: ProcessId) -> None:
        if self.watched.get(identity) == tmux:
            del self.watched[identity]
            self.deck.board.set_wedged(identity, None)

    async def _end_if_dead(self, session: Session, told: set[str]) -> bool:
        """End a tmux server whose pane is certainly dead; False while that is unknown, each reason logged once."""
        try:
            await self.deck.terminals.look(session)
        except TmuxGone:
            root = self.deck.terminals.root
            if await anyio.to_thread.run_sync(write_for_hook, root, self.logs, session):
                self.logs.lifecycle.write("hook-silent", identity=session.identity)
            await self.deck.terminals.clear_away(session)
            return True
        except PeerwakeError as error:
            if str(error) not in told:
                self.logs.lifecycle.write("agent-dead", identity=session.identity, tmux="unknown", reason=error)
            told.add(str(error))
        return False

    def _load(self, identity: Identity) -> Session | None:
        try:
            return self.deck.sessions.load(identity)
        except SessionUnreadable:
            return None
