"""The server's side of the canary: what it is to watch, and that there is one (see `lifecycle.watcher`)."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Final

from lifecycle.deathwatch import boot_id
from transport.errors import PeerwakeError
from transport.files import LockHeld, locked, replace
from transport.identity import Identity
from transport.paths import Root
from transport.process import ProcessId, start_detached
from transport.scope import manager_environment, scope_command

WATCHER: Final = Path(__file__).with_name("watcher.py")
START_SECONDS: Final = 10.0
SPARED_SECONDS: Final = 60.0


class Ensured(StrEnum):
    """What came of an `ensure`."""

    SPAWNED = "spawned"
    ALREADY = "already"
    SKIPPED = "skipped"
    FAILED = "failed"


def directory(root: Root) -> Path:
    """Where the files are that tell the watcher what to watch."""
    return root.state / "canary"


def lock(root: Root) -> Path:
    """The file that the watcher holds locked for its lifetime."""
    return root.state / "canary.lock"


def watch_file(root: Root, identity: Identity, pid: int) -> Path:
    """The file of one server: its text says which process, emptied its death is accounted for."""
    return directory(root) / f"{identity}.{pid}"


def ensure(root: Root, identity: Identity, process: ProcessId, *, scope: bool = False) -> Ensured:
    """See that the death of a new tmux server will be recorded; blocking, never raises, may be repeated."""
    return ensure_all(root, {identity: process}, scope=scope, are_new=True)


def ensure_all(
    root: Root, servers: Mapping[Identity, ProcessId], *, scope: bool = False, are_new: bool = False
) -> Ensured:
    """See that these are watched and that the watcher runs when anything is to be watched; never raises.

    Of those that are not new, one that is dead by now is left alone: its end was accounted for. With `scope`
    the watcher gets a systemd scope of its own where there is a user manager: it is to outlive our unit.
    """
    try:
        if not root.logs.is_dir():
            return Ensured.SKIPPED
        directory(root).mkdir(mode=0o700, exist_ok=True)
        added = [_add(root, each, process) for each, process in servers.items() if are_new or process.is_alive()]
        if not servers and not _has_files(root):
            return Ensured.ALREADY
        return _spawn_unless_running(root, poke=any(added), scope=scope)
    except Exception:  # the boundary: observing a session never fails it, the caller counts the result
        return Ensured.FAILED


def dismiss(root: Root, identity: Identity, pid: int) -> None:
    """A deliberate teardown follows: the death of this server is accounted for, watched or not yet; never raises.

    An earlier one of this identity may still have its line to come.
    """
    path = watch_file(root, identity, pid)
    # The empty file keeps a concurrent `ensure` from having it watched again.
    with suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600))
        os.utime(path)


def watches(root: Root) -> list[Path]:
    """Return the files of the servers that are or were to be watched; emptied ones are accounted for."""
    try:
        return sorted(directory(root) / name for name in os.listdir(directory(root)) if not name.startswith("."))
    except OSError:
        return []


def is_accounted(root: Root, identity: Identity, pid: int) -> bool:
    """Tell whether the end of a server is accounted for: its hook ran, it was dismissed, or it has its line."""
    try:
        return watch_file(root, identity, pid).stat().st_size == 0
    except OSError:
        return False


def is_running(root: Root) -> bool:
    """Tell whether a watcher holds the lock; raises OSError."""
    if not lock(root).exists():
        return False
    try:
        with locked(lock(root)):
            return False
    except LockHeld:
        return True


def _add(root: Root, identity: Identity, process: ProcessId) -> bool:
    """Write a watch file unless there is one; tells whether there is something new to watch."""
    path = watch_file(root, identity, process.pid)
    text = f"{process.pid}\n{process.started}\n{boot_id()}\n"
    try:
        found = path.read_text("utf-8")
        spared = not found and time.time() - path.stat().st_mtime < SPARED_SECONDS
        if found == text or spared:
            return False
    except FileNotFoundError:
        found = None
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    temporary.write_text(text, "utf-8")
    try:
        temporary.chmod(0o600)
        # A link never replaces: the exit hook may have accounted for this death just now.
        if found is None:
            with suppress(FileExistsError):
                os.link(temporary, path)
        elif process.is_alive():
            replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _has_files(root: Root) -> bool:
    return any(name != ".poke" for name in os.listdir(directory(root)))


def _spawn_unless_running(root: Root, *, poke: bool, scope: bool) -> Ensured:
    """The lock is taken here and handed down, so that no moment is without an owner."""
    try:
        with locked(lock(root)) as descriptor:
            prefix = scope_command(description="peerwake canary") if scope else []
            started = bool(prefix) and _spawn(root, descriptor, prefix)
            return Ensured.SPAWNED if started or _spawn(root, descriptor, []) else Ensured.FAILED
    except LockHeld:
        if poke:
            _poke(root)
        return Ensured.ALREADY


def _spawn(root: Root, descriptor: int, prefix: list[str]) -> bool:
    """Start the watcher; tells whether it detached itself."""
    argv = [*prefix, sys.executable, "-I", "-S", str(WATCHER), str(root.home), str(descriptor)]
    env = {"PEERWAKE_HOME": str(root.home), **manager_environment()}
    try:
        with start_detached(argv, env=env, cwd=Path("/"), inherit=(descriptor,)) as child:
            try:
                return child.wait(START_SECONDS) == 0
            finally:
                child.kill()
    except (PeerwakeError, subprocess.TimeoutExpired):
        return False


def _poke(root: Root) -> None:
    """Tell the watcher to look at the files; one that is just starting looks anyway."""
    with suppress(OSError):
        descriptor = os.open(directory(root) / ".poke", os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            os.write(descriptor, b"!")
        finally:
            os.close(descriptor)
