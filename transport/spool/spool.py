"""The spool of a server: asynchronous, off the event loop, with one fsync for all who wait."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar, TypeVarTuple

from transport.identity import Identity
from transport.message import Message
from transport.spool import accept, letters, notices, settle, upkeep, views
from transport.spool.records import Accepted, Buried, Handled, Lease, QueueView, Record, Which
from transport.spool.trace import Trace
from transport.spool.writer import Reader, Writer
from transport.vocabulary import Stage

PATIENCE_SECONDS: Final = 10.0

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Spool:
    """The queue in `state/spool.db`, used as `async with Spool(path) as spool`.

    What writes returns after its fsync, or raises and has changed nothing: SpoolFull, SpoolFailed,
    SpoolBusy (not begun within `patience` seconds), SpoolCorrupt, SpoolClosed; only SpoolUncertain
    leaves it open. A caller cancelled in a write finds it done or not done, never half: after a
    cancelled `lease` ask `leased`. Entering raises SpoolTooNew, SpoolCorrupt and the others.
    """

    def __init__(self, path: Path, *, patience: float = PATIENCE_SECONDS) -> None:
        self.path = path
        self._writer = Writer(path, patience)
        self._reader = Reader(path, patience)
        self._trace = Trace(path.with_name(f"{path.name}-wal"))
        self._version = 0

    async def __aenter__(self) -> Self:
        await self._writer.start()
        try:
            await self._reader.start()
            self._version = await self._writer.submit(views.data_version)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        await self._reader.stop()
        await self._writer.stop()

    async def enqueue(self, message: Message, *, cap: int, hop_limit: int) -> Accepted:
        """Accept a message: it is on disk when this returns. Raises SpoolCapped, HopLimitReached.

        The first message of the same sender and idempotency key within 24 h is returned in its stead.
        """
        return await self._writer.submit(accept.enqueue, message, cap, hop_limit)

    async def post(self, message: Message, *, cap: int, hop_limit: int, then: Callable[[Accepted], None]) -> Accepted:
        """Accept a message like `enqueue`, though its caller may leave; `then` hears of it once it is on disk."""
        return await self._writer.submit(accept.enqueue, message, cap, hop_limit, then=then)

    async def lease(self, recipient: Identity, fence: str, now: float) -> Lease | None:
        """Lease the head of a queue; None when it is empty, its head must wait, or one is leased already."""
        return await self._writer.submit(settle.lease, recipient, fence, now)

    async def stage(self, message_id: str, reached: Stage, now: float, *, fence: str | None = None) -> None:
        """Write how far the hand-over of a leased message went; raises MessageUnknown, LeaseLost."""
        await self._writer.submit(settle.stage, message_id, reached, now, fence)

    async def consume(self, message_id: str, evidence: str, now: float, *, fence: str | None = None) -> bool:
        """Settle a message whose receipt was seen; False if it was settled so before.

        Raises MessageUnknown, LeaseLost, MessageSettled.
        """
        return await self._writer.submit(settle.consume, message_id, evidence, now, fence)

    async def release(
        self,
        message_id: str,
        reason: str,
        now: float,
        *,
        not_before: float | None = None,
        attempted: bool,
        fence: str | None = None,
    ) -> int:
        """Put a leased message back to the head of its queue; returns its attempts so far.

        Raises MessageUnknown, LeaseLost.
        """
        due = now if not_before is None else not_before
        return await self._writer.submit(settle.release, message_id, reason, now, due, attempted, fence)

    async def bury(self, message_id: str, reason: str, now: float, *, fence: str | None = None) -> Buried:
        """Make a dead letter and queue the notice to its sender, in one transaction.

        Raises MessageUnknown, LeaseLost, MessageSettled.
        """
        return await self._writer.submit(settle.bury, message_id, reason, now, fence)

    async def expire(self, now: float, ttl: float, *, wall: float | None = None) -> list[Buried]:
        """Bury every message that has been waiting for more than `ttl` seconds; `wall` is the clock's, if not `now`."""
        return await self._in_batches(settle.expire_some, now, ttl, now if wall is None else wall)

    async def tell_waiting(self, recipient: Identity, reason: str, now: float) -> list[Message]:
        """Queue one notice for each sender with messages waiting for `recipient`; returns them."""
        return await self._writer.submit(notices.tell_waiting, recipient, reason, now)

    async def retry(self, message_id: str, now: float) -> None:
        """Put a dead letter to the tail of its queue with fresh attempts; raises MessageUnknown, MessageSettled."""
        await self._writer.submit(settle.retry, message_id, now)

    async def drop(self, message_id: str, now: float) -> Buried:
        """Remove a dead letter or a waiting message for good; raises MessageUnknown, MessageSettled."""
        return await self._writer.submit(settle.drop, message_id, now)

    async def retry_these(self, message_ids: Sequence[str], now: float) -> Handled:
        """Queue dead letters again, in the order of their acceptance; what is not dead is refused."""
        return await self._writer.submit(letters.retry_these, message_ids, now)

    async def drop_these(self, message_ids: Sequence[str], now: float) -> Handled:
        """Remove dead letters and waiting messages for good; what is being delivered or settled is refused."""
        return await self._writer.submit(letters.drop_these, message_ids, now)

    async def retry_all(self, which: Which, now: float) -> Handled:
        """Queue all these dead letters again, in the order of their acceptance."""
        return Handled(tuple(await self._in_batches(letters.retry_some, which, now)))

    async def drop_all(self, which: Which, now: float) -> Handled:
        """Remove all these dead letters for good."""
        return Handled(tuple(await self._in_batches(letters.drop_some, which, now)))

    async def _in_batches(self, some: Callable[[Any, *Ts], Sequence[T]], *args: *Ts) -> list[T]:
        """Do it to a batch at a time, so that other writers need not wait for all of them."""
        done: list[T] = []
        while batch := await self._writer.submit(some, *args):
            done += batch
        return done

    async def rename(self, old: str, new: str, now: float, moved: tuple[str, str] | None = None) -> int:
        """Move what waits for a peer or is dead to another name; returns how many.

        `moved` is the peer's directory before and after, for attached files. Raises MessageSettled.
        """
        return await self._writer.submit(upkeep.rename, old, new, now, moved)

    async def bury_all(self, name: str, reason: str, now: float) -> list[Buried]:
        """Make a dead letter of every message that waits for a peer, and queue the notices to their senders."""
        return await self._in_batches(upkeep.bury_some, name, reason, now)

    async def disown(self, name: str) -> None:
        """See that no later peer of this name is the sender of what a removed one has sent."""
        for sender in await self._reader.submit(upkeep.senders, name):
            await self._in_batches(upkeep.disown_some, sender)

    async def purge(self, older_than: float, now: float) -> int:
        """Delete the oldest messages consumed or dropped before wall time `older_than`; returns how many, 0 at last."""
        return await self._writer.submit(upkeep.purge, older_than, now)

    async def purgeable(self, older_than: float, now: float) -> list[tuple[str, Identity]]:
        """Return the ids and recipients of the messages that `purge` would delete now."""
        return await self._reader.submit(upkeep.purgeable, older_than, now)

    async def leased(self, recipient: Identity) -> Lease | None:
        """Return the lease of a recipient."""
        return await self._reader.submit(views.leased, recipient)

    async def all_leased(self) -> list[Lease]:
        """Return every lease, oldest message first."""
        return await self._reader.submit(views.all_leased)

    async def waiting(self) -> dict[Identity, int]:
        """Return the depth of every queue that is not empty."""
        return await self._reader.submit(views.waiting)

    async def depth(self, recipient: Identity) -> int:
        """Return how many messages to a recipient are not settled."""
        return await self._reader.submit(views.depth, recipient)

    async def queue(self, recipient: Identity, now: float) -> QueueView:
        """Return the queue of one identity at wall time `now`."""
        return await self._reader.submit(views.queue, recipient, now)

    async def queues(self, now: float) -> dict[Identity, QueueView]:
        """Return every queue with messages or dead letters, as they stand at one moment."""
        return await self._reader.submit(views.queues, now)

    async def next_due(self, recipient: Identity) -> float | None:
        """Return the wall time from which the head can be leased; None when there is none or it is leased."""
        return await self._reader.submit(views.next_due, recipient)

    async def head_topic(self, recipient: Identity) -> str | None:
        """Return the topic of the first message that is not settled, None when it has none."""
        return await self._reader.submit(views.head_topic, recipient)

    async def repeated(self, sender: Identity, key: str, now: float) -> Accepted | None:
        """Return the message of a sender that was accepted under this key in the 24 h before, None if there is none."""
        return await self._reader.submit(accept.repeated, sender, key, now)

    async def message(self, message_id: str) -> Record | None:
        """Return everything known of a message with its history, None when no message has this id."""
        return await self._reader.submit(views.message, message_id)

    async def dead(self, recipient: Identity | None = None, limit: int = 100) -> list[Record]:
        """Return the newest dead letters of a recipient, or of all, without body and history."""
        return await self._reader.submit(views.dead, recipient, limit)

    async def letters(self, which: Which, limit: int) -> tuple[list[Record], int]:
        """Return the newest of some dead letters without body and history, and how many there are in all."""
        return await self._reader.submit(letters.listed, which, limit)

    async def sent_since(self, message_id: str) -> bool:
        """Return whether the recipient of a message has sent any since this one was last handed over."""
        return await self._reader.submit(views.sent_since, message_id)

    async def replied_since(self, message_id: str) -> bool:
        """Return whether one of these is a reply to it, or went to its sender in whatever runtime."""
        return await self._reader.submit(views.replied_since, message_id)

    async def changed_elsewhere(self) -> bool:
        """Return whether another process has written since the last time this was asked."""
        if not self._trace.may_have_changed():
            return False
        try:
            now = await self._writer.submit(views.data_version)
        except BaseException:
            self._trace.forget()
            raise
        before, self._version = self._version, now
        return before != now
