"""A draft that somebody else takes away is missed, one that its author deletes is not."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest

from tests.faults.books import Sitting
from tests.faults.fault import Field
from tests.faults.injections.arena import Arena, arena
from tests.faults.injections.person import Typist, attach
from tests.faults.vigil import Vigil
from tests.live.world import until

pytestmark = pytest.mark.live


@contextmanager
def at_the_keys(here: Arena, text: str) -> Iterator[tuple[Typist, Sitting]]:
    """Have somebody type a draft that a vigil sees stand there; alice is a peer of the second of its fields."""
    fields = [Field(here.world, [], here.field.trace, here.field.expects), here.field]
    vigil, person = Vigil(fields), attach(here.alice)
    assert person is not None
    vigil.start()
    try:
        sitting = here.field.expects.sits("scripted-alice", text)
        typist = Typist(here.field, here.alice, person, Random(1), text)
        typist.begin()
        until(lambda: here.alice.composer() == text, 20, "the draft")
        until(lambda: sitting.was_seen, 20, "a look at the draft")
        yield typist, sitting
    finally:
        if person.is_attached:
            person.close()
        vigil.stop()


def test_a_draft_that_somebody_else_takes_away_is_missed() -> None:
    with arena() as here, at_the_keys(here, "draft0a1b2c") as (_, sitting):
        here.alice.tmux("send-keys", "-t", here.alice.pane, "C-u")
        until(lambda: sitting.gone is not None, 20, "the end of the draft")
        assert sitting.gone == "" and sitting.is_judged


def test_a_draft_that_its_author_deletes_is_not_missed() -> None:
    with arena() as here, at_the_keys(here, "draft0a1b2c") as (typist, sitting):
        sitting.takes_back = time.time()
        typist.finish()
        typist.delete()
        until(lambda: here.alice.composer() == "", 20, "an empty input line")
        second = here.field.expects.sits("scripted-alice", "draft3d4e5f")
        here.alice.tmux("send-keys", "-t", here.alice.pane, "-l", second.text)
        until(lambda: second.was_seen, 20, "a later look")
        assert sitting.gone is None
        here.alice.tmux("send-keys", "-t", here.alice.pane, "C-u")
