"""The watcher in the process of the test, where what it asks of the system can fail."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lifecycle import canary, watcher
from lifecycle.deathwatch import boot_id
from lifecycle.watcher import Watcher
from transport.files import locked
from transport.identity import Identity
from transport.paths import Root
from transport.process import ProcessId, identify, start_detached, terminate

pytestmark = pytest.mark.live
ALICE = Identity("scripted", "alice")
FAILURES = 3


@pytest.fixture
def dead(root: Root) -> ProcessId:
    """A process that has been killed, with a file that asks for its watch."""
    with start_detached(["/bin/sleep", "600"], env={}, cwd=Path("/")) as sleeper:
        process = identify(sleeper.pid)
        assert process is not None
        terminate(process)
        sleeper.wait(10)
    canary.directory(root).mkdir()
    text = f"{process.pid}\n{process.started}\n{boot_id()}\n"
    canary.watch_file(root, ALICE, process.pid).write_text(text)
    return process


def failing(function: Callable[..., int], error: int, but: int) -> Callable[..., int]:
    """Return a function that fails some times before it does what it does, but not for this process."""
    failures = [OSError(error, os.strerror(error)) for _ in range(FAILURES)]

    def call(*arguments: object) -> int:
        if failures and but not in arguments:
            raise failures.pop()
        return function(*arguments)

    return call


@pytest.mark.parametrize(("what", "error"), [("fork", errno.EAGAIN), ("pidfd_open", errno.EMFILE)])
def test_a_watcher_without_room_for_a_process_or_a_descriptor_takes_its_snapshot_later(
    root: Root, dead: ProcessId, monkeypatch: pytest.MonkeyPatch, what: str, error: int
) -> None:
    monkeypatch.setattr(watcher, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(os, what, failing(getattr(os, what), error, dead.pid))
    with locked(canary.lock(root)):
        Watcher(str(root.home), os.open(canary.lock(root), os.O_RDWR | os.O_CLOEXEC)).run()
    (line,) = (root.logs / "exits.log").read_text().splitlines()
    assert f"identity=scripted-alice server_pid={dead.pid}" in line
    assert (root.logs / line.rpartition("forensics=")[2].split()[0]).exists()
