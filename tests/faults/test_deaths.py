"""The rules of sessions find what is wrong: each book here has one fault, or none."""

from dataclasses import replace

import pytest

from tests.faults.audit import audit
from tests.faults.books import LATE_SECONDS, Books, Sitting
from tests.faults.sightings import FULL_SECONDS, Life, Line, Sightings, Span
from tests.faults.test_books import ALICE, WORKER, balanced, found, sent, taken

KILLED, CLOSED = Line("session-exit", ALICE, 100, "SIGKILL"), Line("close", ALICE, 100, "idle")


def books(*lines: Line, identity: str = ALICE, gone_at: float | None = 50.0) -> Books:
    """Balanced books, and one session: tmux server 100, client 101."""
    made = balanced()
    made.ephemeral = {WORKER}
    made.seen = Sightings(lives=[Life(identity, 100, 101, gone_at)], lines=lines)
    return made


def test_a_session_that_lives_needs_no_line() -> None:
    assert found(books(gone_at=None)) == []


@pytest.mark.parametrize("victim", [100, 101])
@pytest.mark.parametrize("line", [KILLED, Line("server-exit", ALICE, 100, "SIGKILL")])
def test_a_session_that_was_killed_has_one_line(line: Line, victim: int) -> None:
    made = books(line)
    made.seen.blows = {victim: "killed"}
    assert found(made) == []
    made.seen.lines = ()
    assert found(made) == ["no line"]
    made.seen.lines = (line, KILLED)
    assert found(made) == ["two lines"]


def test_a_pid_that_comes_again_is_another_server() -> None:
    first, second = (replace(KILLED, started=started) for started in ("5", "6"))
    made = books(first, second)
    made.seen.blows = {101: "agent killed"}
    assert found(made) == []
    made.seen.lines = (first, second, second)
    assert found(made) == ["two lines"]


@pytest.mark.parametrize("struck", [101, 102])
def test_a_blow_at_one_of_the_sessions_that_had_a_pid_explains_its_line(struck: int) -> None:
    made = books(KILLED)
    made.seen.lives.append(Life(ALICE, 100, 102, 90.0))
    made.seen.blows = {struck: "agent killed"}
    assert found(made) == []
    made.seen.blows = {}
    assert found(made) == ["died of nothing"]


def test_a_line_of_another_session_is_none() -> None:
    made = books(Line("session-exit", ALICE, 99, "SIGKILL"))
    made.seen.blows = {101: "agent killed"}
    assert found(made) == ["no line"]


@pytest.mark.parametrize("why", ["SIGKILL", "SIGHUP", "exit:129", "unknown"])
def test_a_session_that_nothing_struck_does_not_die(why: str) -> None:
    assert found(books(Line("session-exit", ALICE, 100, why))) == ["died of nothing"]
    assert found(books(Line("session-exit", WORKER, 100, why), identity=WORKER)) == []


def test_a_client_may_leave_by_itself() -> None:
    assert found(books(Line("session-exit", ALICE, 100, "exit:0"))) == []


@pytest.mark.parametrize(
    ("sitting", "why", "is_asked_for"),
    [
        (Sitting("draft71", 49.0), "exit:1", True),
        (Sitting("draft71", 30.0, ended=50.0 - LATE_SECONDS), "exit:1", True),
        (Sitting("draft71", 30.0, ended=49.9 - LATE_SECONDS), "exit:1", False),
        (Sitting("draft71", 50.1), "exit:1", False),
        (Sitting("draft72", 49.0), "exit:1", False),
        (Sitting("draft71", 49.0), "exit:2", False),
        (Sitting("draft71", 49.0), "SIGKILL", False),
    ],
)
def test_a_person_who_types_may_say_no_to_what_a_client_asks_at_its_start(
    sitting: Sitting, why: str, is_asked_for: bool
) -> None:
    made = books(Line("session-exit", ALICE, 100, why))
    made.sittings = {ALICE: [sitting]}
    assert found(made) == ([] if is_asked_for else ["died of nothing"])
    made.sittings = {WORKER: [sitting]}
    assert found(made) == ["died of nothing"]


def test_a_session_that_ends_in_silence() -> None:
    assert found(books()) == ["no line"]
    assert found(books(identity=WORKER)) == []


def test_a_full_disk_takes_no_line() -> None:
    made = books()
    made.seen.full_at = [50.0 + FULL_SECONDS - 1]
    assert found(made) == []
    made.seen.full_at = [50.0 + FULL_SECONDS + 1]
    assert found(made) == ["no line"]


@pytest.mark.parametrize("why", ["stopped", "new", "task", "removed", ""])
def test_a_session_is_closed_for_a_reason(why: str) -> None:
    made = books(Line("close", ALICE, 100, why))
    assert found(made) == ["closed for no reason"]
    made.seen.flags = {ALICE: frozenset({why})}
    assert found(made) == ([] if why in ("stopped", "new") else ["closed for no reason"])


def test_a_client_that_comes_up_is_closed_when_it_may_not_be_woken_any_more() -> None:
    made = books(Line("close", ALICE, 100, "stopped"))
    made.seen.flags = {ALICE: frozenset({"failed"})}
    assert found(made) == []
    made.seen.lines = (Line("close", ALICE, 100, "new"),)
    assert found(made) == ["closed for no reason"]


def test_an_idle_session_is_closed() -> None:
    assert found(books(CLOSED)) == []


def stopped(began: float, ended: float) -> Books:
    made = balanced()
    made.seen = Sightings(stops=[Span(ALICE, began, ended)])
    return made


def test_a_stopped_peer_takes_nothing() -> None:
    assert found(stopped(10.5, 11.5)) == ["taken while stopped"]
    assert found(stopped(11.5, 11.9)) == []


def test_another_peer_takes_what_it_likes() -> None:
    made = stopped(0.5, 100.0)
    made.seen.stops[0].identity = WORKER
    assert found(made) == []


def test_nothing_is_accepted_for_a_stopped_peer() -> None:
    made = balanced()
    made.seen = Sightings(flagged=[Span(ALICE, 0.9, 1.6)])
    assert found(made) == ["accepted while stopped"]
    made.seen.flagged = [Span(ALICE, 1.1, 1.6), Span(ALICE, 0.9, 1.4), Span(WORKER, 0.9, 1.6)]
    assert found(made) == []


def test_nothing_is_accepted_for_a_peer_that_dies_again_and_again() -> None:
    made = balanced()
    made.seen = Sightings(failed=[Span(ALICE, 0.9, 1.6)])
    assert found(made) == ["accepted while failed"]
    made.seen.failed = [Span(ALICE, 1.1, 1.6), Span(ALICE, 0.9, 1.4), Span(WORKER, 0.9, 1.6)]
    assert found(made) == []


def test_what_waits_at_a_peer_that_dies_again_and_again_may_still_be_taken() -> None:
    made = balanced()
    made.seen = Sightings(failed=[Span(ALICE, 10.5, 13.5)])
    assert found(made) == []


def test_what_was_sent_before_the_stop_waits_and_is_taken_after_it() -> None:
    made = Books([sent(1)], [taken(1, at=30.0)], seen=Sightings(stops=[Span(ALICE, 2.0, 29.0)]))
    assert audit(made) == []
