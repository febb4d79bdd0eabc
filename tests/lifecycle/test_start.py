"""Fresh or resume, as a table and as properties that hold for every combination."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.runtimes.base import CannotResume
from lifecycle.start import Last, Start, StartFacts, choose_start
from lifecycle.states import End, Mode, StartReason
from transport.vocabulary import Intelligence, WakePolicy

REAPED = Last(End.IDLE, "ref", ("release",))


def facts(**changes: object) -> StartFacts:
    plain = {
        "is_renewed": False,
        "is_refreshed": False,
        "asked": None,
        "wake_policy": WakePolicy.WARM,
        "intelligence": Intelligence.ARTIFICIAL,
        "last": REAPED,
        "topic": "release",
    }
    return StartFacts(**(plain | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({}, Start(Mode.RESUME, StartReason.TOPIC, "ref")),
        ({"topic": " RELEASE "}, Start(Mode.RESUME, StartReason.TOPIC, "ref")),
        ({"topic": "another"}, Start(Mode.FRESH, StartReason.NEW_TOPIC)),
        ({"topic": None}, Start(Mode.FRESH, StartReason.NO_TOPIC)),
        ({"is_renewed": True, "asked": Mode.RESUME}, Start(Mode.FRESH, StartReason.NEW)),
        ({"is_refreshed": True, "asked": Mode.RESUME}, Start(Mode.FRESH, StartReason.REFRESH)),
        ({"asked": Mode.FRESH}, Start(Mode.FRESH, StartReason.ASKED)),
        ({"asked": Mode.RESUME, "topic": None}, Start(Mode.RESUME, StartReason.ASKED, "ref")),
        ({"asked": Mode.RESUME, "last": Last(None, "ref")}, Start(Mode.RESUME, StartReason.ASKED, "ref")),
        ({"asked": Mode.RESUME, "last": None}, Start(Mode.FRESH, StartReason.FIRST)),
        ({"wake_policy": WakePolicy.EPHEMERAL}, Start(Mode.FRESH, StartReason.EPHEMERAL)),
        ({"intelligence": Intelligence.NATURAL, "topic": None}, Start(Mode.RESUME, StartReason.NATURAL, "ref")),
        ({"last": None}, Start(Mode.FRESH, StartReason.FIRST)),
        ({"last": Last(None, "ref", ("release",))}, Start(Mode.FRESH, StartReason.CRASH)),
        ({"last": Last(End.SELF, "ref", ("release",))}, Start(Mode.FRESH, StartReason.ENDED)),
        ({"last": Last(End.STOPPED, "ref", ("release",))}, Start(Mode.RESUME, StartReason.TOPIC, "ref")),
        (
            {"last": Last(End.IDLE, "ref", ("release",), "gone")},
            Start(Mode.FRESH, StartReason.CANNOT_RESUME, None, "gone"),
        ),
    ],
)
def test_the_table(changes: dict[str, object], start: Start) -> None:
    assert choose_start(facts(**changes)) == start


@pytest.mark.parametrize("last", [Last(End.IDLE, "ref", (), "it is gone"), Last(End.IDLE, None), Last(None, None)])
def test_a_resume_that_was_asked_for_and_cannot_be_is_loud(last: Last) -> None:
    with pytest.raises(CannotResume):
        choose_start(facts(asked=Mode.RESUME, last=last))


TOPICS = st.none() | st.sampled_from(("", "release", "Release ", "other"))
LASTS = st.none() | st.builds(
    Last,
    end=st.none() | st.sampled_from(End),
    reference=st.none() | st.just("ref"),
    topics=st.lists(st.sampled_from(("release", "other")), max_size=2).map(tuple),
    obstacle=st.none() | st.just("gone"),
)
FACTS = st.builds(
    StartFacts,
    is_renewed=st.booleans(),
    is_refreshed=st.booleans(),
    asked=st.none() | st.sampled_from(Mode),
    wake_policy=st.sampled_from(WakePolicy),
    intelligence=st.sampled_from(Intelligence),
    last=LASTS,
    topic=TOPICS,
)


@given(FACTS)
def test_every_combination_is_decided(seen: StartFacts) -> None:
    try:
        start = choose_start(seen)
    except CannotResume:
        assert seen.asked is Mode.RESUME
        assert not (seen.is_renewed or seen.is_refreshed)
        return
    is_flagged = seen.is_renewed or seen.is_refreshed
    if is_flagged or seen.asked is Mode.FRESH or seen.last is None:
        assert start.mode is Mode.FRESH
    if start.mode is Mode.RESUME:
        assert seen.last is not None
        assert start.reference == seen.last.reference is not None
        assert seen.last.obstacle is None
    elif seen.asked is Mode.RESUME:
        assert is_flagged or seen.last is None
    if seen.wake_policy is WakePolicy.EPHEMERAL and seen.asked is None:
        assert start.mode is Mode.FRESH
    if seen.last is not None and seen.last.end is None and seen.asked is None:
        assert start.mode is Mode.FRESH or seen.intelligence is Intelligence.NATURAL
