"""Loaded by every Python given this directory: lets a server's files and clock fail as a page of memory says."""

import mmap
import os
import struct
import sys
from pathlib import Path

PAGE = os.environ.get("FAULTS_PAGE")
FSYNC, REPLACE, ERRNO, HITS, WALL, MONOTONIC, LOADED, CLOCKS = range(8)


def _install(path: str) -> None:
    from transport import files
    from transport.clock import SystemClock

    with Path(path).open("r+b") as file:
        page = mmap.mmap(file.fileno(), 4096)

    def get(slot: int) -> int:
        return int(struct.unpack_from("q", page, slot * 8)[0])

    def put(slot: int, value: int) -> None:
        struct.pack_into("q", page, slot * 8, value)

    def fail(slot: int) -> None:
        if get(slot) > 0:
            put(slot, get(slot) - 1)
            put(HITS, get(HITS) + 1)
            raise OSError(get(ERRNO), os.strerror(get(ERRNO)))

    fsync, replace, wall, monotonic = files.fsync, files.replace, SystemClock.wall, SystemClock.monotonic

    def failing_fsync(descriptor: int) -> None:
        fail(FSYNC)
        fsync(descriptor)

    def failing_replace(source: object, target: object) -> None:
        fail(REPLACE)
        replace(source, target)  # type: ignore[arg-type]

    def jumping_wall(clock: SystemClock) -> float:
        put(CLOCKS, get(CLOCKS) + 1)
        return wall(clock) + get(WALL) / 1000

    files.fsync, files.replace = failing_fsync, failing_replace
    SystemClock.wall = jumping_wall  # type: ignore[method-assign]
    SystemClock.monotonic = lambda self: monotonic(self) + get(MONOTONIC) / 1000  # type: ignore[method-assign]
    put(LOADED, get(LOADED) + 1)


if PAGE and "serve" in sys.orig_argv:
    _install(PAGE)
