"""What every drain of a host shares, and the text a message becomes."""

import errno
from dataclasses import dataclass, field
from typing import Final

from lifecycle.board import Board
from lifecycle.deaths import Deaths
from lifecycle.flags import Flags
from lifecycle.inbox import body_file
from lifecycle.limits import Limits
from lifecycle.resolve import Resolver
from lifecycle.session import Session, Sessions
from lifecycle.settle import Settler
from lifecycle.terminals import Terminals
from lifecycle.wake import Waker
from transport.clock import Clock
from transport.delivery import HandOver
from transport.envelope import render
from transport.identity import SYSTEM, Identity
from transport.message import Message
from transport.spool.records import Lease
from transport.spool.spool import Spool
from transport.vocabulary import Intelligence, Stage

PASSING: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.ETIMEDOUT})


def passes(error: Exception) -> bool:
    """Tell whether an error is of the whole machine or of the peer's file system: other messages would fare alike."""
    return isinstance(error, OSError) and error.errno in PASSING


@dataclass(frozen=True, slots=True)
class Deck:
    """What every drain of a host shares."""

    spool: Spool
    board: Board
    resolver: Resolver
    sessions: Sessions
    terminals: Terminals
    waker: Waker
    settler: Settler
    flags: Flags
    clock: Clock
    limits: Limits
    deaths: Deaths

    async def text(self, session: Session, message: Message) -> str:
        """Return the envelope of a message; a body that cannot be typed is put into a file first. Raises OSError."""
        form = self.waker.table.get(session.identity.runtime).form(self.limits.inline_bytes)
        file = await body_file(self.terminals.bulkhead, session, message, form)
        return render(message, intelligence=self._intelligence(message.sender), body_file=file, form=form)

    def _intelligence(self, sender: Identity) -> Intelligence:
        profile = self.resolver.registry.get(sender.personality)
        if profile is not None:
            return profile.intelligence
        return Intelligence.ABSENT if sender == SYSTEM or sender.is_gone else Intelligence.NATURAL


@dataclass(slots=True)
class Progress:
    """Writes each stage of one hand-over to the spool before the step it names; `was_typed` is said of it alone."""

    deck: Deck
    lease: Lease
    stage: Stage = field(init=False)
    was_typed: bool = False

    def __post_init__(self) -> None:
        self.stage = self.lease.stage

    async def deliver(self, session: Session, text: str) -> HandOver:
        """Hand the message over from the stage it reached; raises as `Terminals.deliver`."""
        # Each lease of a task has a session of its own: what an earlier one took is no evidence for this one.
        was_typed = self.was_typed or (self.lease.was_typed and session.task is None)
        return await self.deck.terminals.deliver(
            session,
            text,
            self.lease.message.id,
            self.reach,
            stage=self.stage,
            is_repeated=was_typed,
            since=self.lease.leased_at,
        )

    async def reach(self, stage: Stage) -> None:
        """Record that the hand-over is about to reach a stage."""
        lease, deck = self.lease, self.deck
        await deck.spool.stage(lease.message.id, stage, deck.clock.wall(), fence=lease.fence)
        self.stage = stage
        self.was_typed = self.was_typed or stage is Stage.PASTING
