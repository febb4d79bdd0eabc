"""The spool for any process, one thread at a time, blocking: each call is one transaction on disk."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Concatenate, Final, ParamSpec, Self, TypeVar

from transport.identity import Identity
from transport.message import Message
from transport.spool import accept, letters, notices, settle, upkeep, views
from transport.spool.faults import SpoolFailed, SpoolUncertain, translated
from transport.spool.handle import hold
from transport.spool.records import Accepted, Buried, Handled, Lease, QueueView, Record, Which
from transport.spool.schema import STEPS, open_database
from transport.spool.turnstile import Turnstile
from transport.vocabulary import Stage

BUSY_SECONDS: Final = 5.0

P = ParamSpec("P")
T = TypeVar("T")


class SpoolStore:
    """The queue in `state/spool.db`.

    A write returns after its fsync, or raises and has changed nothing: SpoolFull, SpoolFailed,
    SpoolBusy (another process held the lock for `busy_seconds`), SpoolCorrupt. Only SpoolUncertain
    leaves it open. Opening raises SpoolTooNew, SpoolCorrupt, SpoolFailed, SpoolFull, SpoolBusy.
    """

    def __init__(self, path: Path, *, busy_seconds: float = BUSY_SECONDS, thorough: bool = False) -> None:
        self.path = path
        self._busy_seconds = busy_seconds
        with translated(path):
            self._turnstile = Turnstile(path.with_suffix(".lock"))
            try:
                with self._turnstile.held(busy_seconds):
                    self._handle = hold(path)
                    try:
                        self._db = open_database(path, STEPS, handle=self._handle, thorough=thorough)
                        self._version = self._data_version()
                    except BaseException:
                        self._handle.release()
                        raise
            except BaseException:
                self._turnstile.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the last one to close it folds the log into it."""
        self._db.close()
        self._handle.release()
        self._turnstile.close()

    def enqueue(self, message: Message, *, cap: int, hop_limit: int) -> Accepted:
        """Accept a message: it is on disk when this returns. Raises SpoolCapped, HopLimitReached.

        The first message of the same sender and idempotency key within 24 h is returned in its stead.
        """
        return self.write(accept.enqueue, message, cap, hop_limit)

    def lease(self, recipient: Identity, fence: str, now: float) -> Lease | None:
        """Lease the head of a queue; None when it is empty, its head must wait, or one is leased already."""
        return self.write(settle.lease, recipient, fence, now)

    def stage(self, message_id: str, reached: Stage, now: float, *, fence: str | None = None) -> None:
        """Write how far the hand-over of a leased message went; raises MessageUnknown, LeaseLost."""
        self.write(settle.stage, message_id, reached, now, fence)

    def consume(self, message_id: str, evidence: str, now: float, *, fence: str | None = None) -> bool:
        """Settle a message whose receipt was seen; False if it was settled so before.

        Raises MessageUnknown, LeaseLost, MessageSettled.
        """
        return self.write(settle.consume, message_id, evidence, now, fence)

    def release(
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
        return self.write(settle.release, message_id, reason, now, due, attempted, fence)

    def bury(self, message_id: str, reason: str, now: float, *, fence: str | None = None) -> Buried:
        """Make a dead letter and queue the notice to its sender, in one transaction.

        Raises MessageUnknown, LeaseLost, MessageSettled.
        """
        return self.write(settle.bury, message_id, reason, now, fence)

    def expire(self, now: float, ttl: float, *, wall: float | None = None) -> list[Buried]:
        """Bury every message that has been waiting for more than `ttl` seconds; `wall` is the clock's, if not `now`."""
        return _all_of(lambda: self.write(settle.expire_some, now, ttl, now if wall is None else wall))

    def retry(self, message_id: str, now: float) -> None:
        """Put a dead letter to the tail of its queue with fresh attempts; raises MessageUnknown, MessageSettled."""
        self.write(settle.retry, message_id, now)

    def drop(self, message_id: str, now: float) -> Buried:
        """Remove a dead letter or a waiting message for good; raises MessageUnknown, MessageSettled."""
        return self.write(settle.drop, message_id, now)

    def retry_these(self, message_ids: Sequence[str], now: float) -> Handled:
        """Queue dead letters again, in the order of their acceptance; what is not dead is refused."""
        return self.write(letters.retry_these, message_ids, now)

    def drop_these(self, message_ids: Sequence[str], now: float) -> Handled:
        """Remove dead letters and waiting messages for good; what is being delivered or settled is refused."""
        return self.write(letters.drop_these, message_ids, now)

    def retry_all(self, which: Which, now: float) -> Handled:
        """Queue all these dead letters again, in the order of their acceptance."""
        return Handled(tuple(_all_of(lambda: self.write(letters.retry_some, which, now))))

    def drop_all(self, which: Which, now: float) -> Handled:
        """Remove all these dead letters for good."""
        return Handled(tuple(_all_of(lambda: self.write(letters.drop_some, which, now))))

    def rename(self, old: str, new: str, now: float, moved: tuple[str, str] | None = None) -> int:
        """Move what waits for a peer or is dead to another name; returns how many.

        `moved` is the peer's directory before and after, for attached files. Raises MessageSettled.
        """
        return self.write(upkeep.rename, old, new, now, moved)

    def bury_all(self, name: str, reason: str, now: float) -> list[Buried]:
        """Make a dead letter of every message that waits for a peer, and queue the notices to their senders."""
        return _all_of(lambda: self.write(upkeep.bury_some, name, reason, now))

    def disown(self, name: str) -> None:
        """See that no later peer of this name is the sender of what a removed one has sent."""
        for sender in self.read(upkeep.senders, name):
            _all_of(partial(self.write, upkeep.disown_some, sender))

    def purge(self, older_than: float, now: float) -> int:
        """Delete the oldest messages consumed or dropped before wall time `older_than`; returns how many, 0 at last."""
        return self.write(upkeep.purge, older_than, now)

    def purgeable(self, older_than: float, now: float) -> list[tuple[str, Identity]]:
        """Return the ids and recipients of the messages that `purge` would delete now."""
        return self.read(upkeep.purgeable, older_than, now)

    def tell_waiting(self, recipient: Identity, reason: str, now: float) -> list[Message]:
        """Queue one notice for each sender with messages waiting for `recipient`; returns them."""
        return self.write(notices.tell_waiting, recipient, reason, now)

    def leased(self, recipient: Identity) -> Lease | None:
        """Return the lease of a recipient."""
        return self.read(views.leased, recipient)

    def all_leased(self) -> list[Lease]:
        """Return every lease, oldest message first."""
        return self.read(views.all_leased)

    def waiting(self) -> dict[Identity, int]:
        """Return the depth of every queue that is not empty."""
        return self.read(views.waiting)

    def depth(self, recipient: Identity) -> int:
        """Return how many messages to a recipient are not settled."""
        return self.read(views.depth, recipient)

    def queue(self, recipient: Identity, now: float) -> QueueView:
        """Return the queue of one identity at wall time `now`."""
        return self.read(views.queue, recipient, now)

    def queues(self, now: float) -> dict[Identity, QueueView]:
        """Return every queue with messages or dead letters, as they stand at one moment."""
        return self.read(views.queues, now)

    def next_due(self, recipient: Identity) -> float | None:
        """Return the wall time from which the head can be leased; None when there is none or it is leased."""
        return self.read(views.next_due, recipient)

    def head_topic(self, recipient: Identity) -> str | None:
        """Return the topic of the first message that is not settled, None when it has none."""
        return self.read(views.head_topic, recipient)

    def repeated(self, sender: Identity, key: str, now: float) -> Accepted | None:
        """Return the message of a sender that was accepted under this key in the 24 h before, None if there is none."""
        return self.read(accept.repeated, sender, key, now)

    def message(self, message_id: str) -> Record | None:
        """Return everything known of a message with its history, None when no message has this id."""
        return self.read(views.message, message_id)

    def dead(self, recipient: Identity | None = None, limit: int = 100) -> list[Record]:
        """Return the newest dead letters of a recipient, or of all, without body and history."""
        return self.read(views.dead, recipient, limit)

    def letters(self, which: Which, limit: int) -> tuple[list[Record], int]:
        """Return the newest of some dead letters without body and history, and how many there are in all."""
        return self.read(letters.listed, which, limit)

    def sent_since(self, message_id: str) -> bool:
        """Return whether the recipient of a message has sent any since this one was last handed over."""
        return self.read(views.sent_since, message_id)

    def replied_since(self, message_id: str) -> bool:
        """Return whether one of these is a reply to it, or went to its sender in whatever runtime."""
        return self.read(views.replied_since, message_id)

    def changed_elsewhere(self) -> bool:
        """Return whether another process (or connection) has written since the last time this was asked."""
        with translated(self.path):
            before, self._version = self._version, self._data_version()
        return before != self._version

    def write(self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function` on the database as one transaction, alone in it over all processes."""
        with translated(self.path):
            self._turnstile.enter(self._busy_seconds)
            try:
                return self._transact(function, *args, **kwargs)
            finally:
                self._turnstile.leave()

    def read(self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function` on one snapshot of the database, beside any writer."""
        with translated(self.path):
            return snapshot(self._db, function, *args, **kwargs)

    @contextmanager
    def held(self, seconds: float) -> Iterator[None]:
        """Hold the lock of writers, waiting at most `seconds` for it; raises SpoolBusy."""
        with translated(self.path), self._turnstile.held(seconds):
            yield

    def transact(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Commit what `function` does, or nothing of it; the caller holds the lock of writers."""
        with translated(self.path):
            return self._transact(function, *args, **kwargs)

    def _transact(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        self._check_place()
        self._db.execute("BEGIN IMMEDIATE")
        try:
            result = function(self._db, *args, **kwargs)
        except BaseException:
            self._roll_back()
            raise
        self._commit()
        return result

    def _check_place(self) -> None:
        """Refuse to write into a file that nobody will find again."""
        try:
            found = self.path.stat()
            is_there = (found.st_dev, found.st_ino) == self._handle.inode
        except FileNotFoundError:
            is_there = False
        if not is_there:
            raise SpoolFailed(
                f"{self.path} was moved or deleted while in use; nothing was stored;"
                " put it back, or restart peerwake to begin an empty one"
            )

    def _commit(self) -> None:
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            if error.sqlite_errorname.startswith("SQLITE_IOERR"):
                self._forget(error)
            raise

    def _forget(self, cause: sqlite3.Error) -> None:
        """Overwrite the frames of a commit that failed, lest recovery after a crash finds them whole."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(f"PRAGMA user_version = {len(STEPS)}")
            self._db.execute("COMMIT")
        except sqlite3.Error:
            self._roll_back()
            raise SpoolUncertain(
                f"{self.path}: the disk failed during the commit ({cause}); whether it was stored is unknown;"
                " mend the disk, look with: peerwake queue; or repeat with the same idempotency key"
            ) from cause

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _data_version(self) -> int:
        return views.data_version(self._db)


def _all_of(some: Callable[[], Sequence[T]]) -> list[T]:
    """Return what `some` does until there is nothing left to do; other writers get their turn in between."""
    done: list[T] = []
    while batch := some():
        done += batch
    return done


def snapshot(
    db: sqlite3.Connection,
    function: Callable[Concatenate[sqlite3.Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run a function that only reads on one snapshot."""
    db.execute("BEGIN")
    try:
        return function(db, *args, **kwargs)
    finally:
        # Where a read failed SQLite itself has ended the transaction.
        if db.in_transaction:
            db.execute("COMMIT")
