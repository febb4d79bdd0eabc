"""The two threads of a spool: one commits in groups, one looks."""

import sqlite3
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from transport.errors import PeerwakeError
from transport.spool import accept, views
from transport.spool.accept_many import WORTHWHILE, Asked, enqueue_all
from transport.spool.faults import SpoolBusy, SpoolError, SpoolFull, translated
from transport.spool.schema import connect
from transport.spool.store import SpoolStore, snapshot
from transport.spool.worker import Failed, Job, Worker

LOCK_SECONDS: Final = 0.5

P = ParamSpec("P")
T = TypeVar("T")


class _Unfinished(Exception):
    """A refusal came after its job had written something: the batch is rolled back and split."""


class Writer(Worker[SpoolStore]):
    """Does what waits in one transaction, with one fsync; a job that fails does not fail the others."""

    def __init__(self, path: Path, patience: float) -> None:
        super().__init__("spool-writer", patience)
        self._path = path

    def open(self) -> SpoolStore:
        return SpoolStore(self._path, busy_seconds=self._patience, thorough=True)

    def shut(self, context: SpoolStore) -> None:
        context.close()

    def serve(self, context: SpoolStore, jobs: list[Job]) -> None:
        if all(job.function is views.data_version for job in jobs):
            begun = self.begin(jobs)
            self.deliver(begun, [_outcome(context.read, views.data_version) for _ in begun])
            return
        while self.is_awaited(jobs):
            try:
                begun, outcomes = self._commit(context, jobs)
            except SpoolBusy:
                continue
            self.deliver(begun, outcomes)
            return

    def _commit(self, store: SpoolStore, jobs: list[Job]) -> tuple[list[Job], Sequence[object]]:
        """Return the jobs done and their outcomes; raises SpoolBusy before any was begun."""
        try:
            with store.held(LOCK_SECONDS):
                begun = self.begin([*jobs, *self.more()])
                return begun, together(store, begun)
        except SpoolBusy:
            raise
        except SpoolError as error:
            begun = self.begin(jobs)
            return begun, [Failed(error)] * len(begun)


class Reader(Worker[sqlite3.Connection]):
    """Answers questions on a connection of its own, beside the writer."""

    def __init__(self, path: Path, patience: float) -> None:
        super().__init__("spool-reader", patience)
        self._path = path

    def open(self) -> sqlite3.Connection:
        return connect(self._path, reading=True)

    def shut(self, context: sqlite3.Connection) -> None:
        context.close()

    def serve(self, context: sqlite3.Connection, jobs: list[Job]) -> None:
        begun = self.begin([*jobs, *self.more()])
        self.deliver(begun, [_outcome(self._look, context, job) for job in begun])

    def _look(self, db: sqlite3.Connection, job: Job) -> object:
        with translated(self._path):
            return snapshot(db, job.function, *job.args)


def together(store: SpoolStore, jobs: Sequence[Job]) -> Sequence[object]:
    """Do the jobs in one transaction, or, where one of them spoils it, each in its own; return the outcomes."""
    outcomes = _outcome(store.transact, _attempt_all, jobs)
    if not isinstance(outcomes, Failed):
        return outcomes
    if isinstance(outcomes.error, SpoolError) and not isinstance(outcomes.error, SpoolFull):
        return [outcomes] * len(jobs)
    return [_outcome(store.transact, job.function, *job.args) for job in jobs]


def _attempt_all(db: sqlite3.Connection, jobs: Sequence[Job]) -> Sequence[object]:
    outcomes: list[object] = []
    for function, same in groupby(jobs, lambda job: job.function):
        run = list(same)
        if function is accept.enqueue and len(run) >= WORTHWHILE:
            accepted = enqueue_all(db, [Asked(*job.args) for job in run])
            outcomes += [Failed(one) if isinstance(one, SpoolError) else one for one in accepted]
        else:
            outcomes += [_attempt(db, job) for job in run]
    return outcomes


def _attempt(db: sqlite3.Connection, job: Job) -> object:
    before = db.total_changes
    try:
        return job.function(db, *job.args)
    except PeerwakeError as refusal:
        if db.total_changes != before:
            raise _Unfinished from refusal
        return Failed(refusal)


def _outcome(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | Failed:
    try:
        return function(*args, **kwargs)
    except Exception as error:
        return Failed(error)
