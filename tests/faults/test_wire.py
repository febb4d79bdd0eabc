"""What the answers of a transport tell a sender of the machine."""

import pytest

from tests.faults.books import Told
from tests.faults.wire import CommandLine
from tests.live.world import TOP, World
from transport.clock import SystemClock
from transport.paths import Root
from transport.spool.store import SpoolStore

ARGUMENTS = {"personality": "alice", "message": "hi", "idempotency_key": "k"}


@pytest.fixture
def line(root: Root) -> CommandLine:
    """The operator's command line, without a server."""
    (root.home / "home").mkdir()
    world = World(root)
    world.create("alice")
    return CommandLine(world, TOP)


def test_what_was_given_up_since_was_accepted(line: CommandLine) -> None:
    """Its notice comes to the sender: nothing is unanswered, however the sender was told."""
    first = line.send(ARGUMENTS)
    with SpoolStore(line.world.root.spool) as store:
        store.bury_all("alice", "alice was removed", SystemClock().wall())
    again = line.send(ARGUMENTS)
    assert (first.told, again.told) == (Told.ACCEPTED, Told.ACCEPTED)
    assert again.structure == {"message_id": first.structure["message_id"], "status": "queued"}
    assert "was given up: alice was removed" in again.note


def test_what_is_refused_is_refused(line: CommandLine) -> None:
    answer = line.send(ARGUMENTS | {"personality": "nobody"})
    assert answer.told is Told.REFUSED
    assert "exit 4: peerwake: there is no peer 'nobody'" in answer.note


def test_what_fails_tells_nothing(line: CommandLine) -> None:
    line.world.root.spool.write_bytes(b"damaged" * 100)
    assert line.send(ARGUMENTS).told is Told.UNKNOWN
