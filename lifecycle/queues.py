"""What waits for whom and why, what is in hand, what was given up; and what operators do about it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from lifecycle.board import Board
from lifecycle.hold import Around, detail_of, why_it_waits
from lifecycle.reports import report, whole
from lifecycle.requests import Letters, MessageReport, NoSuchMessage, QueueRow, Selection
from lifecycle.resolve import Resolver
from transport.clock import Clock, iso
from transport.identity import Identity, parse_identity
from transport.logs import Logs
from transport.profile import Profile, host, tenant
from transport.registry import Registry
from transport.spool.records import AHEAD_SECONDS, Handled, QueueView, Record, Which
from transport.spool.spool import Spool
from transport.vocabulary import MessageState, WakePolicy

DROPPED: Final = "an operator dropped it"


@dataclass(frozen=True, slots=True)
class Queues:
    """The queues of one host; `kick` tells a drain that there is something for it."""

    registry: Registry
    resolver: Resolver
    spool: Spool
    board: Board
    logs: Logs
    clock: Clock
    kick: Callable[[Identity], None]
    is_supervised: Callable[[], bool]
    is_live: Callable[[Identity], bool]

    async def rows(self, personality: str | None) -> tuple[QueueRow, ...]:
        """Return the queues of one peer, or all that are not empty; raises UnknownPeer.

        A peer that was removed still has those that are not empty.
        """
        now = self.clock.wall()
        views = await self.spool.queues(now)
        if personality is not None:
            declared = self._declared(personality, any(each.personality == personality for each in views))
            own = {each: view for each, view in views.items() if each.personality == personality}
            for identity in declared:
                if identity not in own:
                    own[identity] = await self.spool.queue(identity, now)
            views = {each: own[each] for each in dict.fromkeys((*declared, *own))}
        return tuple(self._row(identity, view, now) for identity, view in views.items())

    def _declared(self, personality: str, is_left: bool) -> tuple[Identity, ...]:
        profile = self.registry.get(personality)
        if profile is None and is_left:
            return ()
        return self.resolver.profile(personality).identities

    def _row(self, identity: Identity, view: QueueView, now: float) -> QueueRow:
        profile = self.registry.get(identity.personality)
        status = self.board.status(identity)
        around = Around(
            refusal=self.resolver.unwakeable(identity),
            is_supervised=self.is_supervised(),
            is_ephemeral=profile is not None and profile.wake_policy is WakePolicy.EPHEMERAL,
            is_live=self.is_live(identity),
        )
        hold = why_it_waits(view, status, around, now)
        return QueueRow(
            identity=str(identity),
            host=profile.host if profile else host(),
            tenant_id=profile.tenant_id if profile else tenant(),
            depth=view.depth,
            in_flight=view.in_flight,
            head_age_seconds=view.head_age_seconds,
            last_receipt_at=None if view.last_receipt_at is None else iso(view.last_receipt_at),
            dead=view.dead,
            hold=hold,
            detail=detail_of(hold, view, status),
        )

    async def _record(self, message_id: str) -> Record:
        """Return one message with its body and history; raises NoSuchMessage."""
        record = await self.spool.message(message_id)
        if record is None:
            raise NoSuchMessage(f"there is no message {message_id!r:.60}; settled messages are kept for some days")
        return record

    async def message(self, message_id: str) -> MessageReport:
        """Return one message's history; raises NoSuchMessage."""
        return self._report(await self._record(message_id))

    async def show(self, message_id: str) -> dict[str, Any]:
        """Return one message as a document, with its body; raises NoSuchMessage."""
        record = await self._record(message_id)
        return whole(record, self._whose(record))

    async def letters(self, selection: Selection, limit: int) -> Letters:
        """Return the newest dead letters of one peer or of all, and how many there are; raises UnknownPeer."""
        records, total = await self.spool.letters(await self._which(selection), limit)
        return Letters(tuple(self._report(record) for record in records), total)

    async def retry(self, selection: Selection) -> Handled:
        """Queue dead letters again, in the order of their acceptance; raises UnknownPeer."""
        now = self.clock.wall()
        if selection.message_ids:
            handled = await self.spool.retry_these(selection.message_ids, now)
        else:
            handled = await self.spool.retry_all(await self._which(selection), now)
        for each in handled.done:
            self.logs.delivery.write("retried", identity=each.recipient, id=each.message_id, sender=each.sender)
        for identity in {each.recipient for each in handled.done}:
            self.kick(identity)
        return handled

    async def drop(self, selection: Selection) -> Handled:
        """Give dead letters, or messages that wait, up for good; raises UnknownPeer."""
        now = self.clock.wall()
        if selection.message_ids:
            handled = await self.spool.drop_these(selection.message_ids, now)
        else:
            handled = await self.spool.drop_all(await self._which(selection), now)
        for each in handled.done:
            self.logs.delivery.write("dropped", identity=each.recipient, id=each.message_id, sender=each.sender)
            self.board.settle(each.recipient, each.message_id, MessageState.DEAD, DROPPED)
        for identity in {each.sender for each in handled.done}:
            self.kick(identity)
        return handled

    async def _which(self, selection: Selection) -> Which:
        now = self.clock.wall()
        until = now - selection.older_seconds
        # Of any age are also those that were given up by a clock that has been set back since.
        or_after = math.inf if selection.older_seconds else now + AHEAD_SECONDS
        if selection.personality is None:
            return Which(None, until, or_after)
        rows = await self.rows(selection.personality)
        return Which(tuple(parse_identity(row.identity) for row in rows), until, or_after)

    def _report(self, record: Record) -> MessageReport:
        return report(record, self._whose(record))

    def _whose(self, record: Record) -> Profile | None:
        return self.registry.get(record.message.recipient.personality)
