"""A file system of a test's own, small or dead: mounted where nobody else sees it, gone when the test's thread ends."""

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

CLONE_NEWNS = 0x00020000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18


def on_a_small_disk(place: Path, mebibytes: int, work: Callable[[], None]) -> None:
    """Run `work` in a thread, with its processes, where `place` is a disk of this size; skips without the right to."""
    _elsewhere(place, b"tmpfs", f"size={mebibytes}m,mode=0700", work)


def on_a_dead_mount(place: Path, work: Callable[[], None]) -> None:
    """Run `work` where `place` is mounted and nobody serves it: every call on it waits in the kernel; else skip."""
    try:
        served = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        pytest.skip(f"no file system can be served from here: {error.strerror}")
    try:
        _elsewhere(place, b"fuse", f"fd={served},rootmode=40000,user_id=0,group_id=0", work)
    finally:
        # Whoever still waits is told that there is no connection.
        os.close(served)


def _elsewhere(place: Path, kind: bytes, options: str, work: Callable[[], None]) -> None:
    outcome: list[BaseException] = []

    def run() -> None:
        try:
            _mount(place, kind, options)
            work()
        except BaseException as error:  # handed over to the test's own thread
            outcome.append(error)

    if os.geteuid() != 0 or not hasattr(os, "pidfd_open"):
        pytest.skip("only root on Linux can mount a disk of its own")
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    for error in outcome:
        raise error


def _mount(place: Path, kind: bytes, options: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    steps = (
        lambda: libc.unshare(CLONE_NEWNS),
        lambda: libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None),
        lambda: libc.mount(kind, os.fsencode(place), kind, 0, options.encode()),
    )
    for step in steps:
        if step() != 0:
            number = ctypes.get_errno()
            pytest.skip(f"no file system of its own can be mounted here: {os.strerror(number)}")


def fill(path: Path) -> None:
    """Write a file until the disk is full."""
    with path.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 14, 1 << 9, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
