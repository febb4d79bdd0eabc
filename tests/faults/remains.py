"""What is left of a world that was shut down in order: processes, sockets, half-written files; and who holds locks."""

import os
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.faults.books import Broken
from tests.faults.processes import Role, locks, of_role, processes
from tests.live.world import World, until
from transport.process import terminate

END_SECONDS: Final = 45.0
TIDY_SECONDS: Final = 15.0
LOCK_SECONDS: Final = 15.0
LOOK_SECONDS: Final = 0.5


def shut_down(world: World) -> Iterator[Broken]:
    """Stop the peers, then the servers, start and stop one more, and name what is left."""
    yield from _locks(world)
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
            terminate(process, signal.SIGKILL)
    yield from _files(world.root.home)


def _locks(world: World) -> Iterator[Broken]:
    """While everything still runs: who may hold which lock, and nobody that of a wake for long."""
    left, deadline = _strange_locks(world), time.monotonic() + LOCK_SECONDS
    while left and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
        left &= _strange_locks(world)
    for text in sorted(left):
        yield Broken("lock held", text)


def _strange_locks(world: World) -> set[str]:
    return {f"{role} {process.pid}: {path}" for role, process, path in locks(world) if not _may_hold(role, path)}


def _may_hold(role: Role, path: Path) -> bool:
    if role is Role.WATCHER:
        return path.name == "canary.lock"
    if role is Role.CONTROL:
        return path.name.endswith(".pane.lock")
    return role is Role.SERVER and not path.name.endswith(".wake.lock")


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
