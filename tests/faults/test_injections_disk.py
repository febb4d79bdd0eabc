"""A disk that fails or is full: what was accepted survives, what was not is told, a crash changes neither (I1)."""

import errno
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from tests.faults.injections.arena import Arena, arena
from tests.faults.injections.sabotage import Page, Slot, has_library, page_of
from tests.faults.injections.small_disk import DiskFull, with_a_small_disk
from tests.live.control import Control
from tests.live.world import until

pytestmark = pytest.mark.live

needs_library = pytest.mark.skipif(
    not has_library(),
    reason="THE DATABASE CANNOT BE MADE TO FAIL HERE: there is no C compiler, or this is not Linux",
)


def the_page(here: Arena) -> Page:
    page = page_of(here.world)
    assert page is not None and page[Slot.LOADED] >= 1
    return page


def crash_and_restart(here: Arena) -> None:
    """Kill the server, and start one that the page does not touch."""
    server = here.world.servers[-1]
    server.send_signal(signal.SIGKILL)
    server.wait()
    again = here.world.start_server()
    until(lambda: here.world.server_pid() == again.pid, 90, "the next server")


def sent(here: Arena, body: str, key: str | None = None) -> tuple[bool, str]:
    """Send a message once; return whether it was accepted, and its id or the error's code."""
    with Control(here.world.root) as control:
        answer = control.call("send", personality="alice", message=body, wait_seconds=0, idempotency_key=key)
    return (True, answer["result"]["message_id"]) if answer["ok"] else (False, answer["error"]["code"])


@contextmanager
def held_back(here: Arena) -> Iterator[None]:
    """Have something in the input line: messages wait, and nothing is written because of them."""
    here.alice.tmux("send-keys", "-t", here.alice.pane, "x")
    until(lambda: here.alice.composer() == "x", 20, "the draft")
    yield
    here.alice.tmux("send-keys", "-t", here.alice.pane, "BSpace")
    until(lambda: here.world.depth("alice") == 0, 60, "the deliveries")


def bodies(here: Arena) -> list[str]:
    return ["\n".join(text.splitlines()[1:-1]) for text in here.world.prompts("alice")][1:]


@needs_library
@pytest.mark.parametrize("slot", [Slot.SQL_FSYNC, Slot.SQL_WRITE], ids=lambda slot: slot.name)
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_what_was_refused_is_not_there_after_a_crash_and_what_was_accepted_is(slot: Slot, error: int) -> None:
    with arena(is_sabotaged=True) as here:
        page = the_page(here)
        with held_back(here):
            assert sent(here, "one")[0]
            page[Slot.SQL_ERRNO] = error
            # A full disk is tried a second time, each message for itself.
            page[slot] = 9 if (slot, error) == (Slot.SQL_WRITE, errno.ENOSPC) else 1
            is_accepted, code = sent(here, "two")
            assert page[Slot.SQL_HITS] >= 1
            page[slot] = 0
            assert not is_accepted and code in ("spool-failed", "spool-full"), code
            assert sent(here, "three")[0]
            crash_and_restart(here)
        assert bodies(here) == ["one", "three"]


@needs_library
@pytest.mark.parametrize("is_killed", [False, True])
def test_what_is_uncertain_is_called_so_and_repeated_it_is_one_message(is_killed: bool) -> None:
    with arena(is_sabotaged=True) as here:
        page = the_page(here)
        with held_back(here):
            page[Slot.SQL_ERRNO] = errno.EIO
            page[Slot.SQL_FSYNC] = 2
            assert sent(here, "once", "the key") == (False, "spool-uncertain")
            assert page[Slot.SQL_HITS] == 2
            if is_killed:
                crash_and_restart(here)
            first = sent(here, "once", "the key")
            assert first[0] and sent(here, "once", "the key") == first
        assert bodies(here) == ["once"]


def test_a_long_body_whose_file_cannot_be_written_comes_when_it_can() -> None:
    with arena(is_sabotaged=True) as here:
        page = the_page(here)
        for number, slot in enumerate((Slot.FSYNC, Slot.REPLACE), 1):
            page[Slot.ERRNO] = errno.EIO
            page[slot] = 2
            here.send("long " * 4000)
            until(lambda number=number: page[Slot.HITS] == 2 * number, 30, "two failures")
            here.settle()
        inbox = here.field.peers[0].cwd / ".peerwake/inbox"
        assert [path.read_text() for path in inbox.glob("*.txt")] == ["long " * 4000] * 2
        assert list(inbox.glob(".*")) == []


def test_a_disk_that_is_full_for_a_while() -> None:
    home = Path(tempfile.mkdtemp(prefix="pw-", dir="/tmp"))

    def work() -> None:
        with arena(home=home) as here:
            random, fault = Random(1), DiskFull()
            for number in range(4):
                here.send(f"before {number}", 60)
                heal = fault.strike(here.field, random)
                assert heal is not None
                refusals = len(here.refusals)
                for each in range(40):
                    here.send(f"during {each} " + "x" * 5000)
                assert len(here.refusals) > refusals and here.refusals[-1][1] == "spool-full", here.refusals
                heal()
            here.settle()

    try:
        with_a_small_disk(home, work, 24)
    finally:
        shutil.rmtree(home, ignore_errors=True)
