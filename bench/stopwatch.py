"""Inside a server that is profiled: how long its steps take, and which code its threads spend processor time in."""

import functools
import importlib
import inspect
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final

from bench.machine import TOP

SAMPLE_SECONDS: Final = 0.001
SWITCH_SECONDS: Final = 0.00005
"""So short that a thread is seen in what it does, and not only where it lets go of the interpreter."""
THREAD_CLOCK: Final = 6
"""What makes the number of a thread the number of its clock; see clock_getcpuclockid(3)."""


SHORT: Final = re.compile(rf"^.*/site-packages/|^.*/lib/python3\.\d+/|^{re.escape(str(TOP))}/")


@dataclass(slots=True)
class _Open:
    """One step under way, and how much of it went to steps inside it."""

    inside: float = 0.0


_under: ContextVar[_Open | None] = ContextVar("_under", default=None)


@dataclass(slots=True)
class Stopwatch:
    """Times calls: `laps` holds name, start, and the seconds without those of the steps inside."""

    laps: list[tuple[str, float, float]] = field(default_factory=list)

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        """Time one step; what is timed inside it counts there and not here."""
        outer, mine = _under.get(), _Open()
        token = _under.set(mine)
        began = time.monotonic()
        try:
            yield
        finally:
            took = time.monotonic() - began
            _under.reset(token)
            if outer is not None:
                outer.inside += took
            self.laps.append((name, began, max(0.0, took - mine.inside)))

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the call, timed as a step."""
        if inspect.iscoroutinefunction(call):

            @functools.wraps(call)
            async def timed_task(*args: object, **kwargs: object) -> object:
                with self.lap(name):
                    return await call(*args, **kwargs)

            return timed_task

        @functools.wraps(call)
        def timed(*args: object, **kwargs: object) -> object:
            with self.lap(name):
                return call(*args, **kwargs)

        return timed

    def watch(self, place: str) -> None:
        """Time every call of `module:name` or `module:Class.name`; raises AttributeError for what is not there."""
        module, _, path = place.partition(":")
        owner: Any = importlib.import_module(module)
        *outer, name = path.split(".")
        for each in outer:
            owner = getattr(owner, each)
        setattr(owner, name, self.wrap(place, getattr(owner, name)))


@dataclass(slots=True)
class Sampler:
    """Gives the processor time of each thread, since the look before, to the code that the thread is in now (Linux)."""

    samples: list[tuple[float, float, int]] = field(default_factory=list)
    stacks: dict[tuple[str, ...], int] = field(default_factory=dict)
    _used: dict[int, float] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Sample while the block runs."""
        before = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        thread = threading.Thread(target=self._run, name="sampler")
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
            sys.setswitchinterval(before)

    def _run(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            threads = {thread.ident: thread for thread in threading.enumerate()}
            for ident, frame in sys._current_frames().items():
                thread = threads.get(ident)
                if thread is not None and thread.native_id is not None and thread is not threading.current_thread():
                    self._take(thread.native_id, frame)

    def _take(self, native: int, frame: FrameType) -> None:
        try:
            now = time.clock_gettime((~native << 3) | THREAD_CLOCK)
        except OSError:
            return
        used = now - self._used.get(native, now)
        self._used[native] = now
        if used > 0:
            stack = tuple(_names(frame))
            self.samples.append((time.monotonic(), used, self.stacks.setdefault(stack, len(self.stacks))))


def _names(frame: FrameType | None) -> Iterator[str]:
    """Yield the functions of a stack, the innermost first."""
    while frame is not None:
        code = frame.f_code
        yield f"{SHORT.sub('', code.co_filename)}:{code.co_qualname}"
        frame = frame.f_back
