"""What a session is told first is judged: books with one fault each, and books that balance."""

from collections import Counter

import pytest

from tests.faults.audit import audit
from tests.faults.bodies import digest
from tests.faults.books import Books, Taken
from tests.faults.sightings import Sightings
from tests.faults.test_books import ALICE, WORKER, found, sent, taken
from tests.faults.transcripts import read_prompt
from transport.envelope import render
from transport.identity import SYSTEM, parse_identity
from transport.message import accept, check_draft
from transport.vocabulary import Intelligence

TEXT = "You are Alice."


def opening(session: str, place: tuple[float, int], number: int = 9, text: str = TEXT, identity: str = ALICE) -> Taken:
    """Its first prompt, as a session took it."""
    message_id = f"m_{number:020d}"
    return Taken(identity, session, place, 2.0, message_id, "peerwake", digest(text), True, text, is_opening=True)


def books(*prompts: Taken, untold: int = 0) -> Books:
    """Books of alice, who is told something first, with three messages in her first session."""
    messages = [taken(number, place=(1.0, number + 2)) for number in range(3)]
    seen = Sightings(untold=Counter({ALICE: untold}))
    openings = {ALICE: digest(TEXT)}
    return Books([sent(number) for number in range(3)], [*prompts, *messages], openings=openings, seen=seen)


def test_a_session_that_was_told_first_balances() -> None:
    assert audit(books(opening("s1", (1.0, 1)))) == []


def test_each_session_is_told_the_same_with_another_id() -> None:
    made = books(opening("s1", (1.0, 1)), opening("s2", (9.0, 1), 8))
    assert audit(made) == []
    assert made.consumed() == {each.message_id for each in made.sent}


def test_one_that_was_never_told() -> None:
    assert found(books()) == ["not told first"]
    assert found(books(untold=1)) == []
    made = books()
    made.seen.full_at.append(taken(0).at)
    assert found(made) == []


def test_one_that_was_told_twice() -> None:
    assert "doubled" in found(books(opening("s1", (1.0, 0)), opening("s1", (1.0, 1), 8)))
    assert "doubled" in found(books(opening("s1", (1.0, 0)), opening("s1", (1.0, 1))))


def test_one_that_was_told_behind_a_message() -> None:
    assert found(books(opening("s1", (1.0, 3)))) == ["opening too late"]


@pytest.mark.parametrize(
    "prompt", [opening("s1", (1.0, 1), text="You are Bob."), opening("s9", (1.0, 1), identity="x-y")]
)
def test_another_text_or_somebody_who_is_told_nothing(prompt: Taken) -> None:
    assert "another opening" in found(books(prompt))


def test_a_workers_task_and_what_it_is_told_first_are_not_two_tasks() -> None:
    told = opening("s1", (1.0, 1), identity=WORKER)
    made = Books(taken=[told, taken(0, identity=WORKER, place=(1.0, 2))], ephemeral={WORKER})
    assert "merged" not in found(made)


def test_it_is_known_by_its_sender_and_topic() -> None:
    def read(topic: str) -> Taken:
        message = accept(check_draft(TEXT, topic=topic), SYSTEM, parse_identity(ALICE), hops=0, now=1.0)
        text = render(message, intelligence=Intelligence.ABSENT)
        return read_prompt(ALICE, "s1", (1.0, 1), 2.0, text)

    told, other = read("initial-prompt"), read("seed")
    assert (told.is_opening, told.notice_of, told.digest) == (True, None, digest(TEXT))
    assert (other.is_opening, other.notice_of) == (False, "")
