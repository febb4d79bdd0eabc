"""Blocking calls on paths that others choose: in threads of their own, with a deadline, holding nobody else up.

A file system may never answer (a server that is gone, a FUSE program that is stopped): a call then stays in the
kernel, and its thread with it. Each owner of paths has a compartment for each use it makes of them: a few calls at
once, and while one hangs no other on the same path is begun. The threads are daemons, unlike those of
`anyio.to_thread`: a server ends whatever hangs. A call costs half of what it costs there (67 and 125 µs, measured).
"""

import asyncio
import errno
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

from transport.errors import PeerwakeError
from transport.identity import Identity
from transport.logs import Log

T = TypeVar("T")
Report = Callable[[object, BaseException | None], None]
Job = tuple[Callable[[], object], Report]

ANSWER_SECONDS: Final = 5.0
AT_ONCE: Final = 4
IDLE_SECONDS: Final = 10.0
LATE_SECONDS: Final = 1.0
MOUNT_REMEDY: Final = "its file system has to answer, or to be unmounted"
THREAD_REMEDY: Final = "it is looked at again; let the server have more threads (TasksMax, ulimit -u)"


class Area(StrEnum):
    """What a path is used for."""

    ATTACHMENT = "attachment"
    CALLER = "caller"
    DIRECTORY = "directory"
    TRANSCRIPT = "transcript"


class NoAnswer(PeerwakeError, TimeoutError):
    """A path gave no answer: what is there is unknown. Nothing is concluded from it; whoever asked looks again."""

    code = "no-answer"

    def __init__(self, path: Path, problem: str, remedy: str = MOUNT_REMEDY) -> None:
        super().__init__(f"{path} {problem}; {remedy}")
        self.path = path
        self.problem = problem
        self.errno = errno.ETIMEDOUT


@dataclass(slots=True, eq=False)
class _Call:
    path: Path
    work: Callable[[], object]
    future: asyncio.Future[Any]
    seconds: float
    began: float = 0.0
    timer: asyncio.TimerHandle | None = None
    has_more_time: bool = False
    is_overdue: bool = False


class Bulkhead:
    """The compartments of one process; used on the event loop. What hangs is told in `log`, once each time."""

    def __init__(self, log: Log, seconds: float = ANSWER_SECONDS) -> None:
        self.log = log
        self.seconds = seconds
        self._compartments: WeakValueDictionary[tuple[Area, Identity | Path], Compartment] = WeakValueDictionary()
        self._idle: deque[_Thread] = deque()

    def of(self, area: Area, owner: Identity | Path) -> "Compartment":
        """Return the compartment of an owner: a peer, or a directory where nobody knows whose it is."""
        found = self._compartments.get((area, owner))
        if found is None:
            found = self._compartments[area, owner] = Compartment(area, owner, self)
        return found

    def submit(self, work: Callable[[], object], report: Report) -> None:
        """Do something in a thread; `report` gets its value or its error there. Raises RuntimeError if none starts."""
        try:
            thread = self._idle.pop()
        except IndexError:
            thread = _Thread(self._idle)
            thread.start()
        thread.jobs.put((work, report))


@dataclass(slots=True, eq=False, weakref_slot=True)
class Compartment:
    """The calls on the paths of one owner: `AT_ONCE` at the same time, those that hang among them."""

    area: Area
    owner: Identity | Path
    bulkhead: Bulkhead
    _running: set[_Call] = field(default_factory=set)
    _waiting: deque[_Call] = field(default_factory=deque)

    async def run(self, path: Path, work: Callable[[], T], seconds: float | None = None) -> T:
        """Return what a blocking call on `path` returns; who is cancelled meanwhile leaves it behind.

        Raises NoAnswer when it takes longer than `seconds`, at once while an earlier call on this path hangs,
        where every place is taken by one that does, or where the system gives no thread.
        """
        return await self.begin(path, work, seconds)

    async def ask(self, path: Path) -> None:
        """Return when a path answers, whatever it says; raises NoAnswer."""
        await self.run(path, partial(_look, path))

    def begin(self, path: Path, work: Callable[[], T], seconds: float | None = None) -> "asyncio.Future[T]":
        """Begin a blocking call like `run` and return its future; raises NoAnswer at once as that does."""
        self._refuse_hanging(path)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        call = _Call(path, work, future, self.bulkhead.seconds if seconds is None else seconds)
        if len(self._running) < AT_ONCE:
            self._start(call)
        else:
            self._waiting.append(call)
        return future

    def _hanging(self) -> list[Path]:
        return [call.path for call in self._running if call.is_overdue]

    def _refuse_hanging(self, path: Path) -> None:
        hanging = self._hanging()
        if path in hanging:
            raise NoAnswer(path, "gives no answer, an earlier look at it still waits for one")
        if len(hanging) >= AT_ONCE:
            raise NoAnswer(path, _crowded_out_by(hanging))

    def _start(self, call: _Call) -> None:
        self._running.add(call)
        loop = call.future.get_loop()
        call.began = loop.time()
        call.timer = loop.call_later(call.seconds, self._expire, call)

        def report(value: object, error: BaseException | None) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._end, call, value, error)

        try:
            self.bulkhead.submit(call.work, report)
        except RuntimeError as error:
            self._running.discard(call)
            call.timer.cancel()
            call.future.set_exception(NoAnswer(call.path, f"is not looked at: {error}", THREAD_REMEDY))

    def _end(self, call: _Call, value: object, error: BaseException | None) -> None:
        self._running.discard(call)
        while self._waiting and len(self._running) < AT_ONCE:
            following = self._waiting.popleft()
            if not following.future.done():
                self._start(following)
        if call.is_overdue and call.path not in self._hanging():
            self._tell("late-answer", call)
        if not call.future.done():
            if error is None:
                call.future.set_result(value)
            else:
                call.future.set_exception(error)
        if call.timer is not None:
            call.timer.cancel()

    def _expire(self, call: _Call) -> None:
        loop = call.future.get_loop()
        if loop.time() - call.began > call.seconds + LATE_SECONDS and not call.has_more_time:
            # This process did not run meanwhile: neither did its threads.
            call.has_more_time = True
            call.timer = loop.call_later(self.bulkhead.seconds, self._expire, call)
            return
        if call.path not in self._hanging():
            self._tell("no-answer", call)
        call.is_overdue = True
        _fail(call, f"gave no answer in {call.seconds:.3g} s")
        if len(hanging := self._hanging()) >= AT_ONCE:
            while self._waiting:
                _fail(self._waiting.popleft(), _crowded_out_by(hanging))

    def _tell(self, event: str, call: _Call) -> None:
        identity = self.owner if isinstance(self.owner, Identity) else None
        seconds = f"{call.future.get_loop().time() - call.began:.1f}"
        self.bulkhead.log.write(event, identity=identity, area=self.area, path=call.path, seconds=seconds)


class _Thread(threading.Thread):
    """Does jobs until there is none for a while; at `idle` from the end of one to the next."""

    def __init__(self, idle: "deque[_Thread]") -> None:
        super().__init__(name="peerwake-paths", daemon=True)
        self.jobs: SimpleQueue[Job] = SimpleQueue()
        self._idle = idle

    def run(self) -> None:
        while True:
            try:
                work, report = self.jobs.get(timeout=IDLE_SECONDS)
            except Empty:
                try:
                    self._idle.remove(self)
                except ValueError:
                    continue  # it was taken a moment ago, and its job is on the way
                return
            value, error = _outcome(work)
            self._idle.append(self)
            report(value, error)
            del work, report, value, error


def _fail(call: _Call, problem: str) -> None:
    if not call.future.done():
        call.future.set_exception(NoAnswer(call.path, problem))


def _crowded_out_by(hanging: list[Path]) -> str:
    return f"is not looked at: {hanging[0]} and {len(hanging) - 1} more give no answer"


def _outcome(work: Callable[[], object]) -> tuple[object, BaseException | None]:
    try:
        return work(), None
    except BaseException as error:  # handed over to who waits for it
        return None, error


def _look(path: Path) -> None:
    with suppress(OSError):
        path.lstat()
