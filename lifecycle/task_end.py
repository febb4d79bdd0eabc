"""How a task of an ephemeral worker ends: answered, done, tried again, or put back as if never begun."""

from dataclasses import dataclass

import anyio.to_thread

from lifecycle.deck import Deck
from lifecycle.flags import Flag
from lifecycle.session import Session, SessionUnreadable
from lifecycle.states import End
from transport.errors import PeerwakeError
from transport.identity import OPERATOR, SYSTEM, Identity
from transport.spool.records import Lease
from transport.vocabulary import Hold, Stage


@dataclass(frozen=True, slots=True)
class TaskEnd:
    """Looks for what the worker left behind before anything is repeated."""

    deck: Deck
    identity: Identity

    async def say_done(self) -> bool:
        """The worker says that its task is done; False when its session was not handed one. Raises SessionUnreadable.

        It is on disk when this returns, whether or not a drain is at work on the identity.
        """
        lease = await self._in_hand()
        if lease is None:
            return False
        await anyio.to_thread.run_sync(self.deck.flags.set, self.identity, Flag.ARMED, lease.message.id)
        return True

    async def repeated(self) -> None:
        """The worker sent with a key what it had sent before: nothing new is in the spool, and it counts as sent.

        On disk when this returns; what fails is logged.
        """
        try:
            if (lease := await self._in_hand()) is not None:
                await anyio.to_thread.run_sync(self.deck.flags.set, self.identity, Flag.REPEATED, _attempt(lease))
        except PeerwakeError as error:
            self.deck.settler.logs.lifecycle.write("repeat-not-noted", identity=self.identity, reason=error)

    async def _in_hand(self) -> Lease | None:
        """Return the task that the live session was handed, None if it was handed none."""
        session = await anyio.to_thread.run_sync(self.deck.sessions.live, self.identity)
        if session is None or session.task is None:
            return None
        lease = await self.deck.spool.leased(self.identity)
        if lease is None or lease.stage is Stage.HELD or session.task != lease.message.id:
            return None
        return lease

    def says_done(self, lease: Lease) -> bool:
        """Tell whether the worker said that this task is done."""
        return self.deck.flags.text(self.identity, Flag.ARMED) == lease.message.id

    async def is_armed(self, lease: Lease) -> bool:
        """Tell whether the worker has sent anything since it was handed its task, or said that it is done."""
        if self.says_done(lease) or self.deck.flags.text(self.identity, Flag.REPEATED) == _attempt(lease):
            return True
        return await self.deck.spool.sent_since(lease.message.id)

    async def is_answered(self, lease: Lease) -> bool:
        """Tell whether the task has its reply, or the worker said that it is done.

        Where nobody can be replied to (the operator, a sender that was removed) whatever it sent is the reply.
        """
        sender = lease.message.sender
        is_known = self.deck.resolver.registry.get(sender.personality) is not None
        if is_known and sender not in (OPERATOR, SYSTEM):
            return self.says_done(lease) or await self.deck.spool.replied_since(lease.message.id)
        return await self.is_armed(lease)

    async def finish(self, lease: Lease, evidence: str) -> None:
        """Settle a task that was answered or is done."""
        await self.deck.settler.consumed(lease, evidence)
        await anyio.to_thread.run_sync(self._clear_flags)

    def _clear_flags(self) -> None:
        for flag in (Flag.ARMED, Flag.REPEATED):
            self.deck.flags.clear(self.identity, flag)

    async def give_up(self, session: Session, lease: Lease, reason: str, attempts: int | None = None) -> None:
        """Close the session; its task is tried again, unless the worker answered in the last moment."""
        await self.deck.terminals.close(session, End.TASK)
        if await self.is_armed(lease):
            await self.finish(lease, "reply, in the last moment")
        else:
            await self.deck.settler.failed(lease, reason, attempts=attempts)

    async def bury(self, session: Session, lease: Lease, reason: str) -> None:
        """Close the session; no attempt will ever get this task into a terminal."""
        await self.deck.terminals.close(session, End.TASK)
        await self.deck.settler.bury(lease, reason)

    async def ended(self, lease: Lease) -> None:
        """The session is gone: its task is done if it has its reply, else it is tried again."""
        settler = self.deck.settler
        if await self.is_answered(lease):
            await self.finish(lease, "reply, after the session's end")
        elif (refusal := self.deck.resolver.unwakeable(self.identity)) is Hold.STOPPED:
            await settler.returned(lease, refusal)
        elif await anyio.to_thread.run_sync(self._was_ended, lease):
            await settler.returned(lease, Hold.EPHEMERAL)
        else:
            await settler.failed(lease, "the worker died before it replied")

    def _was_ended(self, lease: Lease) -> bool:
        """Tell whether somebody else ended the task's session deliberately: that is no failed attempt."""
        try:
            last = self.deck.sessions.last(self.identity)
        except SessionUnreadable:
            return False
        return last is not None and last.task == lease.message.id and last.end not in (None, End.TASK)


def _attempt(lease: Lease) -> str:
    """Return a name that no other attempt at a task has."""
    return f"{lease.message.id} {lease.leased_at}"
