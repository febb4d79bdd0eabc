"""The lock of one pane: held by who delivers to it, and by the control client that carries out what was asked."""

import fcntl
import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from transport.files import LockHeld
from transport.process import ProcessId, ProcessUnknown, identify, terminate
from transport.tmux.orphans import clients_holding

TRIES: Final = 140
TRIES_TO_LEAVE: Final = 100
PAUSE_SECONDS: Final = 0.005
NOTE_BYTES: Final = 1_000


async def acquire(path: Path) -> int:
    """Take the lock and return its descriptor, which keeps it; raises LockHeld while its owner lives.

    A control client whose owner was killed leaves by itself, or stays for ever: tmux does not end one that it cannot
    write to. The lock file names it, and it is killed here after half a second (a server of tmux up to 3.6 crashes
    when a client is killed in its attach); if its owner was killed before it could write that down, it is found by
    the lock file that it has open.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        for number in range(TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _write(descriptor, {"owner": os.getpid()})
                return descriptor
            except BlockingIOError:
                await _end_orphan(path, descriptor, is_overdue=number >= TRIES_TO_LEAVE)
            await anyio.sleep(PAUSE_SECONDS)
        raise LockHeld(f"{path} is held although its owner is dead; its control client does not end")
    except BaseException:
        os.close(descriptor)
        raise


def note(descriptor: int, client: int) -> None:
    """Write down who holds the lock: this process and its control client."""
    _write(descriptor, {"owner": os.getpid(), "client": client})


def _write(descriptor: int, pids: dict[str, int]) -> None:
    known = {}
    for name, pid in pids.items():
        with suppress(ProcessUnknown):  # whoever finds the lock held looks for its holder then
            if (process := identify(pid)) is not None:
                known[name] = [process.pid, process.started]
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(known).encode(), 0)


async def _end_orphan(path: Path, descriptor: int, *, is_overdue: bool) -> None:
    """End the control client of a dead owner that is overdue; raises LockHeld if the owner lives or is not known."""
    said = os.pread(descriptor, NOTE_BYTES, 0)
    try:
        known = json.loads(said or b"{}")
        owner = ProcessId(*known["owner"])
        client = ProcessId(*known["client"]) if "client" in known else None
    except (ValueError, KeyError, TypeError) as error:
        raise LockHeld(f"{path} is held by another process") from error
    if owner.is_alive():
        raise LockHeld(f"{path} is held by process {owner.pid}")
    if not is_overdue:
        return
    clients = [client] if client is not None else await anyio.to_thread.run_sync(clients_holding, path)
    # Another process may have taken the lock in between: then it is no orphan that holds it.
    if os.pread(descriptor, NOTE_BYTES, 0) == said:
        for each in clients:
            terminate(each, signal.SIGKILL)
