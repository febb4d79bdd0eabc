"""The lock of one pane: held by who delivers to it, and by the control client that carries out what was asked."""

import fcntl
import json
import os
import signal
from pathlib import Path
from typing import Final

import anyio

from transport.files import LockHeld
from transport.process import ProcessId, identify, terminate

TRIES: Final = 40
PAUSE_SECONDS: Final = 0.005
NOTE_BYTES: Final = 1_000


async def acquire(path: Path) -> int:
    """Take the lock and return its descriptor, which keeps it; raises LockHeld while its owner lives.

    A control client whose owner was killed may stay for ever: tmux does not end one that it cannot
    write to. The lock file names it, and it is ended here.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        for _ in range(TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError:
                _end_orphan(path, descriptor)
            await anyio.sleep(PAUSE_SECONDS)
        raise LockHeld(f"{path} is held although its owner is dead; its control client does not end")
    except BaseException:
        os.close(descriptor)
        raise


def note(descriptor: int, client: int) -> None:
    """Write down who holds the lock: this process and its control client."""
    pids = {"owner": os.getpid(), "client": client}
    found = {name: identify(pid) for name, pid in pids.items()}
    known = {name: [process.pid, process.started] for name, process in found.items() if process is not None}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(known).encode(), 0)


def _end_orphan(path: Path, descriptor: int) -> None:
    try:
        known = json.loads(os.pread(descriptor, NOTE_BYTES, 0) or b"{}")
        owner, client = ProcessId(*known["owner"]), ProcessId(*known["client"])
    except (ValueError, KeyError, TypeError):
        owner, client = None, None
    if owner is None or client is None:
        raise LockHeld(f"{path} is held by another process")
    if owner.is_alive():
        raise LockHeld(f"{path} is held by process {owner.pid}")
    terminate(client, signal.SIGKILL)
