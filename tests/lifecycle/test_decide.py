"""What is decided about one identity: a table over all that can occur, and what may never be decided."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.decide import Action, Activity, Presence, Seen, Wish, decide
from lifecycle.limits import Limits

LIMITS = Limits()
NOW = 100_000.0
LONG_AGO = NOW - LIMITS.idle_seconds
UNFINISHED = (Presence.ALIVE, Presence.STARTING, Presence.CLOSING)
DEAD = (Presence.SERVER_DEAD, Presence.SESSION_GONE)
ENDING = frozenset({Action.FINISH_CLOSE, Action.REAP, Action.RENEW})


def alive(**facts: Any) -> Seen:
    """A live, watched, ready session that has long been proven idle."""
    known = {"activity": Activity.IDLE, "quiet_since": LONG_AGO, "is_watched": True}
    return Seen(Presence.ALIVE, **(known | facts))


def unknown(**facts: Any) -> Seen:
    return alive(activity=Activity.UNKNOWN, unknown_since=NOW - LIMITS.wedged_seconds, **facts)


NONE = Seen(Presence.NONE)
CASES: list[tuple[str, Seen, Action]] = [
    ("nothing at all", NONE, Action.NOTHING),
    ("a message for a sleeper", replace(NONE, waiting=1), Action.DRAIN),
    ("its drain runs", replace(NONE, waiting=1, is_draining=True), Action.NOTHING),
    ("a message for a stopped peer", replace(NONE, waiting=1, is_stopped=True), Action.NOTHING),
    ("what a stopped peer had in flight", replace(NONE, waiting=1, has_lease=True, is_stopped=True), Action.SETTLE),
    ("what a failed peer had in flight", replace(NONE, waiting=1, has_lease=True, is_failed=True), Action.SETTLE),
    ("that is being settled", replace(NONE, has_lease=True, is_stopped=True, is_draining=True), Action.NOTHING),
    ("a message for a crash loop", replace(NONE, waiting=1, is_failed=True), Action.NOTHING),
    ("a renewal without a session", replace(NONE, wish=Wish.NEXT), Action.RENEW),
    ("of a stopped peer", replace(NONE, wish=Wish.NEXT, is_stopped=True), Action.NOTHING),
    ("of a crash loop", replace(NONE, wish=Wish.NEXT, is_failed=True), Action.NOTHING),
    ("left behind by a start", Seen(Presence.STARTING), Action.ADOPT),
    ("and stopped meanwhile", Seen(Presence.STARTING, is_stopped=True), Action.FINISH_CLOSE),
    ("half closed", Seen(Presence.CLOSING), Action.FINISH_CLOSE),
    ("half closed by a stop", Seen(Presence.CLOSING, is_stopped=True, is_watched=True), Action.FINISH_CLOSE),
    ("half closed and to be renewed", Seen(Presence.CLOSING, wish=Wish.THIS), Action.FINISH_CLOSE),
    ("dead", Seen(Presence.SERVER_DEAD), Action.BURY),
    ("dead and stopped", Seen(Presence.SERVER_DEAD, is_stopped=True, wish=Wish.THIS), Action.BURY),
    ("dead and failed", Seen(Presence.SERVER_DEAD, is_failed=True, wish=Wish.THIS), Action.BURY),
    ("dead with messages", Seen(Presence.SERVER_DEAD, waiting=3), Action.BURY),
    ("dead and to be renewed", Seen(Presence.SERVER_DEAD, wish=Wish.NEXT), Action.RENEW),
    ("dead and named by its renewal", Seen(Presence.SERVER_DEAD, wish=Wish.AFTER_TURN), Action.RENEW),
    ("its agent is dead", Seen(Presence.SESSION_GONE), Action.BURY),
    ("and somebody sees it out", Seen(Presence.SESSION_GONE, is_watched=True), Action.NOTHING),
    ("an unreadable record", Seen(Presence.UNKNOWN), Action.NOTHING),
    ("with messages", Seen(Presence.UNKNOWN, waiting=1), Action.DRAIN),
    ("of a stopped peer with messages", Seen(Presence.UNKNOWN, waiting=1, is_stopped=True), Action.NOTHING),
    ("to be renewed", Seen(Presence.UNKNOWN, wish=Wish.NEXT), Action.NOTHING),
    ("of another server", alive(is_watched=False), Action.ADOPT),
    ("a stop that was not finished", alive(is_stopped=True), Action.FINISH_CLOSE),
    ("a hard restart that was not finished", alive(wish=Wish.THIS, activity=Activity.BUSY), Action.RENEW),
    ("in a crash loop", alive(wish=Wish.THIS, is_failed=True, activity=Activity.BUSY), Action.NOTHING),
    ("that is to wait for the turn's end", alive(wish=Wish.AFTER_TURN, activity=Activity.BUSY), Action.NOTHING),
    ("which has come", alive(wish=Wish.AFTER_TURN, activity=Activity.QUIET), Action.RENEW),
    ("but something is handed over", alive(wish=Wish.AFTER_TURN, is_draining=True), Action.NOTHING),
    ("for the next session", alive(wish=Wish.NEXT, activity=Activity.BUSY), Action.NOTHING),
    ("a task without a drain", alive(is_task=True), Action.DRAIN),
    ("a task at work", alive(is_task=True, is_draining=True), Action.NOTHING),
    ("messages for a live session", alive(waiting=1), Action.DRAIN),
    ("being handed over", alive(waiting=1, is_draining=True), Action.NOTHING),
    ("proven idle", alive(), Action.REAP),
    ("also in a crash loop", alive(is_failed=True), Action.REAP),
    ("not for long enough", alive(quiet_since=LONG_AGO + 0.1), Action.NOTHING),
    ("nobody knows for how long", alive(quiet_since=None), Action.NOTHING),
    ("only quiet", alive(activity=Activity.QUIET), Action.NOTHING),
    ("answered by a person while it booted", alive(is_ready=False), Action.BRING_UP),
    ("just now", alive(is_ready=False, activity=Activity.QUIET), Action.BRING_UP),
    ("its drain brings it up", alive(is_ready=False, is_draining=True), Action.NOTHING),
    ("a task's drain does", alive(is_ready=False, is_task=True, is_draining=True), Action.NOTHING),
    ("nobody does in a crash loop", alive(is_ready=False, is_failed=True), Action.NOTHING),
    ("not ready yet", alive(is_ready=False, activity=Activity.BLOCKED), Action.NOTHING),
    ("busy", alive(activity=Activity.BUSY), Action.NOTHING),
    ("active", alive(activity=Activity.ACTIVE), Action.NOTHING),
    ("blocked", alive(activity=Activity.BLOCKED), Action.NOTHING),
    ("idle in the way of a worker's tasks", alive(is_in_the_way=True, waiting=2, is_draining=True), Action.REAP),
    (
        "attached in their way",
        alive(is_in_the_way=True, waiting=2, is_draining=True, activity=Activity.ATTACHED),
        Action.NOTHING,
    ),
    ("a draft", alive(activity=Activity.DRAFT), Action.NOTHING),
    ("attached", alive(activity=Activity.ATTACHED), Action.NOTHING),
    ("wedged", unknown(), Action.REPORT_WEDGED),
    ("and reported", unknown(is_wedge_reported=True), Action.NOTHING),
    ("wedged with its drain at work", unknown(waiting=1, is_draining=True), Action.REPORT_WEDGED),
    ("unknown while it boots", unknown(is_ready=False), Action.NOTHING),
    (
        "and long after that",
        replace(unknown(is_ready=False), unknown_since=NOW - LIMITS.boot_seconds),
        Action.REPORT_WEDGED,
    ),
    ("unknown since just now", replace(unknown(), unknown_since=NOW - 1), Action.NOTHING),
]


@pytest.mark.parametrize(("seen", "action"), [(seen, action) for _, seen, action in CASES], ids=[c[0] for c in CASES])
def test_each_case(seen: Seen, action: Action) -> None:
    assert decide(seen, NOW, LIMITS) is action
    assert decide(replace(seen, is_foreign=True), NOW, LIMITS) is Action.NOTHING


def everything() -> Iterator[Seen]:
    """Every combination of presence, wish and activity with every switch, at both ends of each duration."""
    switches = ("is_stopped", "is_failed", "is_ready", "is_watched", "is_task", "has_lease", "is_draining")
    durations = ((None, None), (LONG_AGO, LONG_AGO), (NOW, NOW))
    for presence, wish, activity, waiting, reported, (quiet, lost) in product(
        Presence, Wish, Activity, (0, 2), (False, True), durations
    ):
        if presence is not Presence.ALIVE and (activity is not Activity.UNKNOWN or reported):
            continue
        for values in product((False, True), repeat=len(switches)):
            yield Seen(
                presence,
                wish=wish,
                activity=activity,
                waiting=waiting,
                is_wedge_reported=reported,
                quiet_since=quiet,
                unknown_since=lost,
                **dict(zip(switches, values, strict=True)),
            )


def check(seen: Seen, action: Action) -> None:
    """What holds in every state."""
    is_dead = seen.presence in DEAD
    if seen.is_stopped:
        assert action in (Action.NOTHING, Action.FINISH_CLOSE, Action.BURY, Action.SETTLE)
        assert action is not Action.FINISH_CLOSE or seen.presence in UNFINISHED
    if action is Action.REAP:
        assert (seen.presence, seen.activity) == (Presence.ALIVE, Activity.IDLE)
        assert seen.quiet_since is not None and NOW - seen.quiet_since >= LIMITS.idle_seconds
        assert not seen.is_task and seen.is_ready
        assert seen.is_in_the_way or not (seen.waiting or seen.is_draining)
    if action is Action.BURY:
        assert is_dead
    if action is Action.BRING_UP:
        assert (seen.presence, seen.is_watched) == (Presence.ALIVE, True)
        assert seen.activity in (Activity.IDLE, Activity.QUIET)
        assert not (seen.is_ready or seen.is_draining or seen.is_task or seen.is_failed)
    if seen.presence is Presence.UNKNOWN or (seen.activity is Activity.UNKNOWN and not seen.is_stopped):
        assert action is not Action.REAP
        is_wished = seen.wish is Wish.THIS and seen.presence is Presence.ALIVE
        assert action not in ENDING or is_dead or is_wished or seen.presence in (Presence.CLOSING, Presence.NONE)
    if action is Action.RENEW:
        assert seen.wish is not Wish.NONE and not seen.is_failed
        is_at_rest = seen.activity in (Activity.IDLE, Activity.QUIET)
        assert seen.presence is not Presence.ALIVE or seen.wish is Wish.THIS or is_at_rest
    if action is Action.DRAIN:
        assert not seen.is_draining and (seen.waiting or seen.is_task)
        assert not seen.is_failed or seen.is_task
    if seen.activity in (Activity.ATTACHED, Activity.BLOCKED, Activity.BUSY, Activity.DRAFT):
        is_meant = seen.is_stopped or seen.wish is Wish.THIS or seen.presence is not Presence.ALIVE
        assert is_meant or action not in ENDING
    if action is Action.SETTLE:
        assert seen.has_lease and seen.presence is Presence.NONE


def test_in_no_state_is_anything_forbidden_done() -> None:
    states = list(everything())
    assert len(states) > 50_000
    for seen in states:
        check(seen, decide(seen, NOW, LIMITS))


def test_a_foreign_service_is_only_looked_at() -> None:
    assert {decide(replace(seen, is_foreign=True), NOW, LIMITS) for seen in everything()} == {Action.NOTHING}


def test_every_action_is_decided_somewhere() -> None:
    assert {decide(seen, NOW, LIMITS) for seen in everything()} == set(Action)


SEEN = st.builds(
    Seen,
    presence=st.sampled_from(Presence),
    is_foreign=st.booleans(),
    is_stopped=st.booleans(),
    is_failed=st.booleans(),
    wish=st.sampled_from(Wish),
    is_ready=st.booleans(),
    is_watched=st.booleans(),
    is_task=st.booleans(),
    activity=st.sampled_from(Activity),
    quiet_since=st.none() | st.floats(0, 2 * NOW),
    unknown_since=st.none() | st.floats(0, 2 * NOW),
    is_wedge_reported=st.booleans(),
    waiting=st.integers(0, 3),
    has_lease=st.booleans(),
    is_draining=st.booleans(),
    is_in_the_way=st.booleans(),
)


@given(SEEN)
@settings(max_examples=500, deadline=None)
def test_at_any_time(seen: Seen) -> None:
    action = decide(seen, NOW, LIMITS)
    assert isinstance(action, Action)
    if seen.is_foreign:
        assert action is Action.NOTHING
    else:
        check(seen, action)


@given(SEEN, st.floats(0, 2 * NOW))
@settings(max_examples=200, deadline=None)
def test_the_same_state_is_decided_the_same_and_later_never_less_than_now(seen: Seen, later: float) -> None:
    """Time alone only ever makes a session idle or wedged."""
    now, then = decide(seen, NOW, LIMITS), decide(seen, NOW + later, LIMITS)
    assert then is now or (now is Action.NOTHING and then in (Action.REAP, Action.REPORT_WEDGED))
