"""What is left of a world that was shut down in order: processes, sockets, locks, half-written files."""

import fcntl
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.faults.books import Broken
from tests.faults.processes import Role, of_role, processes
from tests.live.world import World, until
from transport.process import terminate

END_SECONDS: Final = 45.0
TIDY_SECONDS: Final = 15.0


def shut_down(world: World) -> Iterator[Broken]:
    """Stop the peers, then the servers, start and stop one more, and name what is left."""
    done = world.run("stop", "--all")
    if done.returncode:
        yield Broken("shutdown", f"peerwake stop: exit {done.returncode}: {done.stderr[-500:]}")
    yield from _end_servers(world)
    world.serve()
    with suppress(AssertionError):  # what is left then is named below
        until(lambda: not list(world.root.home.rglob("*.tmp")), TIDY_SECONDS, "a tick's tidying")
    yield from _end_servers(world)
    try:
        until(lambda: not list(processes(world)), END_SECONDS, "the end of every process")
    except AssertionError:
        for role, process, words in processes(world):
            shown = words.decode(errors="replace").replace("\0", " ")
            yield Broken("orphan", f"{role} {process.pid}: {shown[:300]}")
    yield from _files(world.root.home)


def _end_servers(world: World) -> Iterator[Broken]:
    """End our own servers and those that bridges have started."""
    left = of_role(world, Role.SERVER)
    for server in left:
        terminate(server)
    try:
        until(lambda: not any(server.is_alive() for server in left), END_SECONDS, "the end of the servers")
    except AssertionError:
        for server in left:
            if terminate(server, signal.SIGKILL):
                yield Broken("shutdown", f"server {server.pid} did not end on SIGTERM in {END_SECONDS:g} s")
    for child in world.servers:
        child.wait(END_SECONDS)
    world.servers.clear()


def _files(home: Path) -> Iterator[Broken]:
    for directory, _, names in os.walk(home):
        for name in names:
            path = Path(directory, name)
            yield from _file(path)


def _file(path: Path) -> Iterator[Broken]:
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISSOCK(kind):
        yield Broken("socket left", str(path))
    elif path.name.endswith(".tmp"):
        yield Broken("temporary file left", str(path))
    elif path.name.endswith(".lock") and _is_held(path):
        yield Broken("lock held", str(path))


def _is_held(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
