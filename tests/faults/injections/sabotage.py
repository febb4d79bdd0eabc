"""Files, database and clock of a server that fail when told: a page of memory shared with it says how."""

import errno
import mmap
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from random import Random

from lifecycle.environment import launch_env_path
from tests.faults.fault import Field, Heal
from tests.live.world import TOP, World

HERE = Path(__file__).parent
VARIABLE = "FAULTS_PAGE"
PASSED = (VARIABLE, "PYTHONPATH", "LD_PRELOAD")


class Slot(IntEnum):
    """Places of 8 bytes in the page, as `site/sitecustomize.py` and `disk.c` know them; times are milliseconds."""

    FSYNC = 0
    REPLACE = 1
    ERRNO = 2
    HITS = 3
    WALL = 4
    MONOTONIC = 5
    LOADED = 6
    CLOCKS = 7
    SQL_FSYNC = 16
    SQL_WRITE = 17
    SQL_ERRNO = 18
    SQL_HITS = 19
    SQL_DELAY = 20
    SQL_DELAYED = 21


class Page:
    """The shared memory of one world."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 4096)

    def __getitem__(self, slot: Slot) -> int:
        return int(struct.unpack_from("q", self._map, slot * 8)[0])

    def __setitem__(self, slot: Slot, value: int) -> None:
        struct.pack_into("q", self._map, slot * 8, value)


def has_library() -> bool:
    """Tell whether the database can be made to fail here: that takes a C compiler and Linux."""
    return _compiler() is not None and Path("/proc/self/fd").exists()


def _compiler() -> str | None:
    return shutil.which("gcc") or shutil.which("cc")


def _build(place: Path) -> Path:
    built = place / "disk.so"
    argv = [str(_compiler()), "-shared", "-fPIC", "-O1", "-o", str(built), str(HERE / "disk.c"), "-ldl"]
    subprocess.run(argv, check=True)
    return built


@contextmanager
def sabotaged(world: World) -> Iterator[Page]:
    """Have every server that `world` starts from now on obey a page; it is gone in the end."""
    with tempfile.TemporaryDirectory(prefix="pwp-", dir="/tmp") as name:
        place = Path(name)
        (place / "page").write_bytes(bytes(4096))
        world.extra[VARIABLE] = str(place / "page")
        world.extra["PYTHONPATH"] = f"{HERE / 'site'}:{TOP}"
        if has_library():
            world.extra["LD_PRELOAD"] = str(_build(place))
        yield Page(place / "page")


def sabotage_bridges(world: World, cwd: Path) -> None:
    """Have the servers that a peer's bridges start obey the page too: its sessions get no environment of ours."""
    place = launch_env_path(cwd, "scripted")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("".join(f"{name}={world.extra[name]}\n" for name in PASSED if name in world.extra))
    place.chmod(0o600)


def page_of(world: World) -> Page | None:
    """Return the page of a sabotaged world, None for any other."""
    name = world.extra.get(VARIABLE)
    return Page(Path(name)) if name else None


@dataclass(frozen=True, slots=True)
class Fails:
    """The next calls of one kind fail in the servers; healed, none does."""

    name: str
    slot: Slot
    number: Slot
    errors: tuple[int, ...] = (errno.EIO, errno.ENOSPC)
    most: int = 6
    weight: float = 1.0

    def strike(self, field: Field, random: Random) -> Heal | None:
        page, count, error = page_of(field.world), random.randint(1, self.most), random.choice(self.errors)
        if page is None or (self.slot >= Slot.SQL_FSYNC and not has_library()):
            return None
        page[self.number] = error
        page[self.slot] = max(page[self.slot], 0) + count
        field.trace(f"{self.name}: {count} times {errno.errorcode[error]}")

        def heal() -> int:
            # Those of strikes that are not yet healed stay.
            left = min(max(page[self.slot], 0), count)
            page[self.slot] -= left
            return count - left

        return heal


@dataclass(frozen=True, slots=True)
class Slow:
    """Each flush of the spool takes long."""

    name: str = "slow disk"
    weight: float = 0.5

    def strike(self, field: Field, random: Random) -> Heal | None:
        page, delay = page_of(field.world), random.randint(20, 400)
        if page is None or not has_library():
            return None
        page[Slot.SQL_DELAY] += delay
        before = page[Slot.SQL_DELAYED]
        field.trace(f"{self.name}: {delay} ms")

        def heal() -> int:
            page[Slot.SQL_DELAY] -= delay
            return page[Slot.SQL_DELAYED] - before

        return heal


FAILURES = (
    Fails("fsync fails", Slot.FSYNC, Slot.ERRNO),
    Fails("rename fails", Slot.REPLACE, Slot.ERRNO),
    Fails("flush of the spool fails", Slot.SQL_FSYNC, Slot.SQL_ERRNO),
    Fails("write of the spool fails", Slot.SQL_WRITE, Slot.SQL_ERRNO),
    Slow(),
)
