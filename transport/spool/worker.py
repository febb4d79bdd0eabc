"""A thread that does blocking work for an event loop, in the order it was asked, many jobs at a time."""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar, TypeVarTuple

import anyio

from transport.spool.faults import SpoolBusy, SpoolClosed

BATCH: Final = 128

C = TypeVar("C")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(slots=True, eq=False)
class Job:
    """One call to make in the thread; begun or abandoned, never both.

    One with a `then` is done though its caller has left, and `then` is told its result on the event loop.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    future: asyncio.Future[Any]
    due: float
    then: Callable[[Any], None] | None = None
    is_begun: bool = False
    is_abandoned: bool = False

    @property
    def is_awaited(self) -> bool:
        return not self.is_abandoned and (self.then is not None or not self.future.cancelled())

    @property
    def is_open(self) -> bool:
        """Not answered, or to be begun though its caller has left: it may yet be too late for it."""
        return not self.future.done() or (self.is_awaited and not self.is_begun)


@dataclass(frozen=True, slots=True)
class Failed:
    """The outcome of a job that raised."""

    error: Exception


class Worker(ABC, Generic[C]):
    """Jobs on a context (a database) that lives in a thread of its own.

    A job not begun `patience` seconds after it was asked for fails with SpoolBusy and is never done.
    A caller that is cancelled finds its job done, or never begun; nothing in between. With `then` it
    is begun in any case, unless it was too late for that.
    """

    def __init__(self, name: str, patience: float) -> None:
        self._patience = patience
        self._fresh: list[Job] = []
        self._inbox: SimpleQueue[list[Job] | None] = SimpleQueue()
        self._claims = threading.Lock()
        self._asked: deque[Job] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._is_open = False

    @abstractmethod
    def open(self) -> C:
        """Build the context, in the thread."""

    @abstractmethod
    def shut(self, context: C) -> None:
        """Take the context down, in the thread."""

    @abstractmethod
    def serve(self, context: C, jobs: list[Job]) -> None:
        """Do the jobs (and more that wait), and deliver their outcomes, in the thread."""

    async def start(self) -> None:
        """Start the thread and wait until the context is there; raises what building it raised."""
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._ended = asyncio.Event()
        self._thread.start()
        with anyio.CancelScope(shield=True):
            try:
                await self._ready
            except BaseException:
                self._thread.join()
                raise
        self._is_open = True

    async def stop(self) -> None:
        """Finish what was asked for before, then end the thread."""
        if not self._is_open:
            return
        self._is_open = False
        self._hand_over()
        self._inbox.put(None)
        with anyio.CancelScope(shield=True):
            await self._ended.wait()
            self._thread.join()
        if self._timer is not None:
            self._timer.cancel()

    async def submit(self, function: Callable[[Any, *Ts], T], *args: *Ts, then: Callable[[T], None] | None = None) -> T:
        """Have `function(context, *args)` called in the thread; return or raise what it does."""
        if not self._is_open:
            raise SpoolClosed("the spool is closed; nothing was stored; repeat when the server runs again")
        future: asyncio.Future[T] = self._loop.create_future()
        job = Job(function, args, future, self._loop.time() + self._patience, then)
        self._asked.append(job)
        if self._timer is None:
            self._timer = self._loop.call_at(job.due, self._abandon)
        if not self._fresh:
            self._loop.call_soon(self._hand_over)
        self._fresh.append(job)
        return await future

    def more(self) -> list[Job]:
        """Return what else waits now."""
        jobs: list[Job] = []
        with suppress(Empty):
            while len(jobs) < BATCH:
                group = self._inbox.get_nowait()
                if group is None:
                    self._inbox.put(None)
                    break
                jobs += group
        return jobs

    def begin(self, jobs: Sequence[Job]) -> list[Job]:
        """Return those of the jobs that somebody still waits for; from now on they are done, come what may."""
        with self._claims:
            begun = [job for job in jobs if job.is_awaited]
            for job in begun:
                job.is_begun = True
        return begun

    def is_awaited(self, jobs: Sequence[Job]) -> bool:
        """Return whether somebody waits for any of the jobs."""
        return any(job.is_awaited for job in jobs)

    def deliver(self, jobs: Sequence[Job], outcomes: Sequence[object]) -> None:
        """Hand the outcomes to the callers, all at once."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._deliver, jobs, outcomes)

    def _run(self) -> None:
        try:
            context = self.open()
        except Exception as error:
            self._loop.call_soon_threadsafe(self._ready.set_exception, error)
            return
        self._loop.call_soon_threadsafe(self._ready.set_result, None)
        try:
            while (jobs := self._inbox.get()) is not None:
                self._serve(context, jobs)
        finally:
            try:
                self.shut(context)
            finally:
                with suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._ended.set)

    def _serve(self, context: C, jobs: list[Job]) -> None:
        """Do some jobs; a failure that nobody foresaw is that of those who asked, and the thread goes on."""
        try:
            self.serve(context, jobs)
        except Exception as error:
            begun = self.begin(jobs)
            self.deliver(begun, [Failed(error)] * len(begun))

    def _hand_over(self) -> None:
        """Pass on what was asked for during one turn of the event loop, so that it is done together."""
        fresh, self._fresh = self._fresh, []
        for start in range(0, len(fresh), BATCH):
            self._inbox.put(fresh[start : start + BATCH])

    def _deliver(self, jobs: Sequence[Job], outcomes: Sequence[object]) -> None:
        for job, outcome in zip(jobs, outcomes, strict=True):
            self._settle(job, _told(job.then, outcome) if job.then is not None else outcome)
        while self._asked and not self._asked[0].is_open:
            self._asked.popleft()

    def _settle(self, job: Job, outcome: object) -> None:
        if job.future.done():
            return
        if isinstance(outcome, Failed):
            job.future.set_exception(outcome.error)
        else:
            job.future.set_result(outcome)

    def _abandon(self) -> None:
        """Fail the jobs that were not begun in time, and come back for the next one."""
        now = self._loop.time()
        with self._claims:
            late = [job for job in self._asked if job.due <= now and job.is_awaited and not job.is_begun]
            for job in late:
                job.is_abandoned = True
        error = SpoolBusy(
            f"the spool did not get to this in {self._patience:g} s; nothing was stored;"
            " another process may hold it, or the disk hangs: see peerwake doctor, then repeat"
        )
        for job in late:
            self._settle(job, Failed(error))
        self._asked = deque(job for job in self._asked if job.is_open)
        later = [job.due for job in self._asked if job.due > now]
        due = min(later) if later else now + self._patience
        self._timer = self._loop.call_at(due, self._abandon) if self._asked else None


def _told(then: Callable[[Any], None], outcome: object) -> object:
    """Return the outcome when `then` was told of it, or its failure: one that fails must not keep the others."""
    try:
        if not isinstance(outcome, Failed):
            then(outcome)
    except Exception as error:
        return Failed(error)
    return outcome
