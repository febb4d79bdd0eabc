"""Files and directories whose opening waits in the kernel until a test lets go of them: a path that does not answer."""

import ctypes
import os
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CLOSED_AT_EXEC = 0x1
NON_BLOCKING = 0x2
BEFORE_THE_CONTENT = 0x4
ADD = 0x1
OPENING = 0x10000
DIRECTORIES_TOO = 0x40000000
HERE = -100
EVENT = struct.Struct("=IBBHQii")
PATIENCE = 120.0


class Held:
    """Paths that nobody can open now (fanotify(7)); a look at them with stat goes through."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        self._opened: list[int] = []
        self._mutex = threading.Lock()

    @property
    def waiting(self) -> int:
        """How many have come to open one of them and wait, or are through by now."""
        with self._mutex:
            while self._descriptor is not None:
                try:
                    data = os.read(self._descriptor, 4096)
                except BlockingIOError:
                    break
                for start in range(0, len(data), EVENT.size):
                    self._opened.append(EVENT.unpack_from(data, start)[5])
            return len(self._opened)

    def release(self) -> None:
        """Let everybody open everything from now on."""
        with self._mutex:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def close(self) -> None:
        self.release()
        for opened in self._opened:
            os.close(opened)


@contextmanager
def held(*paths: Path) -> Iterator[Held]:
    """Hold paths, which exist; a product that is broken is let go after two minutes, so that its test fails."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("only root on Linux can hold up who opens a file")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fanotify_mark.argtypes = (ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p)
    descriptor = libc.fanotify_init(BEFORE_THE_CONTENT | CLOSED_AT_EXEC | NON_BLOCKING, os.O_RDONLY | os.O_CLOEXEC)
    if descriptor < 0:
        pytest.skip(f"nobody can be held up here: {os.strerror(ctypes.get_errno())}")
    made, gave_up = Held(descriptor), threading.Event()

    def give_up() -> None:
        gave_up.set()
        made.release()

    watchdog = threading.Timer(PATIENCE, give_up)
    watchdog.daemon = True
    watchdog.start()
    try:
        for path in paths:
            if libc.fanotify_mark(descriptor, ADD, OPENING | DIRECTORIES_TOO, HERE, os.fsencode(path)) != 0:
                pytest.skip(f"{path} cannot be held: {os.strerror(ctypes.get_errno())}")
        yield made
        assert not gave_up.is_set(), f"somebody waited for {paths} for {PATIENCE:g} s"
    finally:
        watchdog.cancel()
        made.close()
