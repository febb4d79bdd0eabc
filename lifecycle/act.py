"""What was decided about one identity is done here, and nothing else."""

from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, assert_never

import anyio.to_thread

from lifecycle.decide import Action, Presence
from lifecycle.deck import Deck
from lifecycle.idle import Idleness
from lifecycle.observe import Observation
from lifecycle.renew import WISHES, Renewer
from lifecycle.requests import Refused
from lifecycle.session import Session
from lifecycle.states import End
from lifecycle.wake import AlreadyWaking
from transport.identity import Identity
from transport.logs import Logs

Work = Callable[[], Awaitable[object]]
DETAIL_CHARS: Final = 300


@dataclass(frozen=True, slots=True)
class Acts:
    """Carries out actions; `aside` runs what takes long in a task of its own, one for each identity."""

    deck: Deck
    logs: Logs
    idleness: Idleness
    renewer: Renewer
    draining: Collection[Identity]
    watched: Collection[Identity]
    kick: Callable[[Identity], None]
    aside: Callable[[str, Identity, Work], None]

    async def act(self, action: Action, at: Observation) -> None:
        """Do what was decided, unless somebody else is at work on the identity."""
        await self._unless_taken(partial(self._act, action, at))

    async def _act(self, action: Action, at: Observation) -> None:
        match action:
            case Action.NOTHING:
                return
            case Action.DRAIN | Action.SETTLE:
                self.kick(at.identity)
            case Action.ADOPT | Action.BURY | Action.FINISH_CLOSE:
                await self._take_over(at)
            case Action.BRING_UP:
                self._bring_up(at.identity)
            case Action.RENEW:
                self.aside("renew", at.identity, partial(self._unless_taken, partial(self._renew, at)))
            case Action.REAP:
                if at.session is not None:
                    await self._reap(at.session, is_in_the_way=at.seen.is_in_the_way)
            case Action.REPORT_WEDGED:
                self._report_wedged(at)
            case _:
                assert_never(action)

    async def _unless_taken(self, work: Work) -> None:
        """Do it; an operator who forbids it and whoever is at work on the identity have the last word."""
        with suppress(Refused, AlreadyWaking):
            await work()

    async def _take_over(self, at: Observation) -> None:
        """Take over what lives, bury what is dead, end what somebody began to end; under the wake lock."""
        seen, identity = at.seen, at.identity
        if seen.presence is Presence.STARTING:
            async with self.deck.waker.locked(identity):
                pass  # whoever is starting it in this very server is done now
            if identity in self.watched and not seen.is_stopped:
                return
        session = await self.deck.waker.adopt(identity)
        if seen.is_stopped or seen.is_failed:
            return
        if session is not None and session.end is End.SELF:
            # Its turn is under way still: the server that was to see its end is gone.
            self.aside(WISHES[End.SELF], identity, partial(self.renewer.end_after_turn, session, End.SELF))
        if seen.waiting or (session is not None and session.task is not None):
            # The task of a worker may be settled already, and then nothing else would end its session.
            self.kick(identity)
        elif session is not None and not session.is_ready:
            self._bring_up(identity)

    def _bring_up(self, identity: Identity) -> None:
        self.aside("bring-up", identity, partial(self._unless_taken, partial(self._wake, identity)))

    async def _wake(self, identity: Identity) -> None:
        await self.deck.waker.wake(identity)
        if await self.deck.spool.depth(identity):
            self.kick(identity)

    async def _renew(self, at: Observation) -> None:
        """Start an identity anew; a session that was to be replaced goes first."""
        session = at.session
        if session is not None and at.seen.presence is Presence.ALIVE:
            async with self.deck.waker.locked(at.identity):
                current = await anyio.to_thread.run_sync(self.deck.sessions.load, at.identity)
                if current is None or current.fence != session.fence:
                    return
                await self.deck.terminals.close(current, End.NEW)
        self.logs.lifecycle.write("renew", identity=at.identity, was=at.seen.presence)
        await self._wake(at.identity)

    async def _reap(self, session: Session, *, is_in_the_way: bool) -> None:
        """Close an idle session: nobody starts, nobody types, and the proof still holds."""
        deck, identity = self.deck, session.identity

        def is_wanted() -> bool:
            return identity in self.draining and not is_in_the_way

        async with deck.waker.locked(identity):
            target = await deck.terminals.target(session)
            async with target.pane.exclusive:
                if is_wanted() or (await deck.spool.depth(identity) and not is_in_the_way):
                    return
                standing = await self.idleness.look(session)
                if not self.idleness.is_idle(standing) or is_wanted():
                    return
                await deck.terminals.close(session, End.IDLE)

    def _report_wedged(self, at: Observation) -> None:
        detail = at.detail[:DETAIL_CHARS] or "its terminal gives no answer"
        self.deck.board.set_wedged(at.identity, f"nobody can tell what it does: {detail}")
        self.logs.lifecycle.write("wedged", identity=at.identity, reason=detail)
