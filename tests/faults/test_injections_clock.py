"""A wall clock that jumps in the server: nothing is given up too early, nothing waits for hours."""

import json

import pytest

from tests.faults.injections.arena import Arena, arena
from tests.faults.injections.sabotage import Page, Slot, page_of
from tests.live.world import until

pytestmark = pytest.mark.live

HOUR = 3_600_000
BUSY = [{"match": "work", "busy_seconds": 6, "say": "done"}]


def jump(here: Arena, hours: float) -> Page:
    """Move the server's wall clock and see that it has moved."""
    page = page_of(here.world)
    assert page is not None and page[Slot.LOADED] == 1
    page[Slot.WALL] = int(hours * HOUR)
    return page


@pytest.mark.parametrize("hours", [30, -30])
def test_what_the_client_or_the_queue_holds_is_not_given_up(hours: int) -> None:
    """One message is in the client's own queue, two wait behind it, each younger than its time to live."""
    with arena(is_sabotaged=True) as here:
        (here.field.peers[0].cwd / "scripted.json").write_text(json.dumps(BUSY))
        here.send("work")
        for number in range(3):
            here.send(f"after {number}")
        until(lambda: here.records("queued"), 20, "a message in the client's own queue")
        jump(here, hours)
        here.settle()
        assert here.world.json("queue", "--dead")["dead"] == []


def test_a_backoff_does_not_last_until_the_clock_is_there_again() -> None:
    with arena(is_sabotaged=True, backoff_seconds=2, backoff_max_seconds=5) as here:
        assert here.world.run("stop", "alice").returncode == 0
        assert here.world.run("start", "alice").returncode == 0
        script = here.field.peers[0].cwd / "scripted.json"
        script.write_text(json.dumps({"boot": {"exit": 1}}))
        here.send("wait")
        until(lambda: "attempt-failed" in here.world.log("delivery"), 30, "a failed wake")
        jump(here, -6)
        script.write_text("[]")
        here.settle()
