"""A small file system of a test's own: mounted where nobody else sees it, gone when the test's thread ends."""

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
    outcome: list[BaseException] = []

    def run() -> None:
        try:
            _mount(place, mebibytes)
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


def _mount(place: Path, mebibytes: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    steps = (
        lambda: libc.unshare(CLONE_NEWNS),
        lambda: libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None),
        lambda: libc.mount(b"tmpfs", os.fsencode(place), b"tmpfs", 0, f"size={mebibytes}m,mode=0700".encode()),
    )
    for step in steps:
        if step() != 0:
            number = ctypes.get_errno()
            pytest.skip(f"no disk of its own can be mounted here: {os.strerror(number)}")


def fill(path: Path) -> None:
    """Write a file until the disk is full."""
    with path.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 14, 1 << 9, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
