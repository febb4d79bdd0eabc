"""A memory cgroup of a test's own, of either version."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

TOP = Path("/sys/fs/cgroup")


@contextmanager
def memory_cgroup(name: str, size: int) -> Iterator[Path]:
    """Yield a cgroup whose processes may use so many bytes together; skips where none can be made."""
    is_second = (TOP / "cgroup.controllers").exists()
    place = (TOP if is_second else TOP / "memory") / name
    limits = (
        ("memory.max", "memory.swap.max") if is_second else ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
    )
    try:
        place.mkdir()
        (place / limits[0]).write_text(str(size))
    except OSError as error:
        with suppress(OSError):
            place.rmdir()
        pytest.skip(f"no memory cgroup can be made here: {error.strerror}")
    with suppress(OSError):
        (place / limits[1]).write_text("0" if is_second else str(size))
    try:
        yield place
    finally:
        for pid in (place / "cgroup.procs").read_text().split():
            with suppress(OSError):
                (place.parent / "cgroup.procs").write_text(pid)
        place.rmdir()


def joining(place: Path) -> tuple[str, ...]:
    """Return the words before a command line that put it into a cgroup."""
    return ("/bin/sh", "-c", f'echo $$ >{place / "cgroup.procs"}; exec "$@"', f"join-{os.getpid()}")
