"""The auditor finds what is wrong: books with one fault each, and books that balance."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from tests.faults.audit import audit
from tests.faults.bodies import KINDS, compose, digest, to_arrive
from tests.faults.books import LATE_SECONDS, Books, Pressed, Reply, Sent, Sitting, Taken, Told
from tests.faults.plan import actor
from tests.faults.transcripts import read_prompt
from transport.envelope import render
from transport.identity import Identity
from transport.message import accept, check_draft

ALICE, WORKER, VIA = "scripted-alice", "scripted-worker", "scripted-via"
WRONG_PLACE = "typed where it must not be"
IDS = [f"m_{number:020d}" for number in range(6)]


def sent(number: int, **changes: object) -> Sent:
    """Message `number`, sent from second `number` on and accepted half a second later."""
    made = Sent(
        f"via-{number}",
        VIA,
        ALICE,
        digest(f"body {number}"),
        float(number),
        number + 0.5,
        Told.ACCEPTED,
        IDS[number],
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def taken(number: int, **changes: object) -> Taken:
    """Message `number` as alice took it, ten seconds after it was sent."""
    place, at = (1.0, number), number + 10.0
    made = Taken(ALICE, "s1", place, at, IDS[number], "via", digest(f"body {number}"), True, f"body {number}")
    return replace(made, **changes)  # type: ignore[arg-type]


def balanced(count: int = 3) -> Books:
    return Books([sent(number) for number in range(count)], [taken(number) for number in range(count)])


def found(books: Books) -> list[str]:
    return [broken.rule for broken in audit(books)]


def notice(number: int, **changes: object) -> Taken:
    """The notice about message `number`, as its sender took it."""
    text = f"Your message {IDS[number]} to alice (scripted) was given up: why."
    mine = taken(5, identity=VIA, sender="peerwake", digest=digest(text), text=text, notice_of=IDS[number])
    return replace(mine, **changes)  # type: ignore[arg-type]


def test_balanced_books_have_nothing_broken() -> None:
    assert found(balanced()) == []
    assert balanced().open() == []


def test_a_lost_message() -> None:
    books = balanced()
    del books.taken[1]
    assert found(books) == ["lost"]
    assert [each.message_id for each in books.open()] == [IDS[1]]


def test_a_dead_letter_with_its_notice_is_not_lost() -> None:
    books = balanced()
    books.taken[1] = notice(1)
    assert found(books) == []


def test_a_notice_that_somebody_else_got_is_none() -> None:
    books = balanced()
    books.taken[1] = notice(1, identity=ALICE)
    assert found(books) == ["lost", "notice astray"]


def test_an_operators_dead_letter_is_listed() -> None:
    books = balanced()
    del books.taken[1]
    books.letters = {IDS[1]}
    assert found(books) == []


def test_a_message_given_up_that_was_taken() -> None:
    books = balanced()
    books.taken.append(notice(1))
    assert found(books) == ["consumed and given up"]


def test_a_message_of_which_its_notice_says_that_it_may_have_been_taken() -> None:
    books = balanced()
    text = notice(1).text.replace("why", "it may have been taken: the record of its session is lost")
    books.taken.append(notice(1, text=text, digest=digest(text)))
    assert found(books) == []


@pytest.mark.parametrize("session", ["s1", "s2"])
def test_a_doubled_message(session: str) -> None:
    books = balanced()
    books.taken.append(taken(1, session=session, place=(2.0, 1)))
    assert found(books) == ["doubled"]


def test_a_send_that_became_two_messages() -> None:
    books = balanced()
    books.taken.append(taken(1, message_id=IDS[5], place=(1.0, 9)))
    assert sorted(found(books)) == ["doubled", "second message"]


def test_a_repetition_that_was_told_of_another_message() -> None:
    books = balanced()
    books.sent.append(sent(1, mark="via-1 again", message_id=IDS[5]))
    books.taken.append(taken(1, message_id=IDS[5], place=(1.0, 9)))
    assert "doubled" in found(books)


def test_reordered_messages() -> None:
    books = balanced()
    books.taken[0] = taken(0, place=(1.0, 7))
    assert set(found(books)) == {"reordered"}


def test_messages_that_were_sent_at_the_same_time_have_no_order() -> None:
    books = balanced()
    books.sent[1] = sent(1, began=0.1, ended=2.2)
    books.taken[0] = taken(0, place=(1.0, 1))
    books.taken[1] = taken(1, place=(1.0, 0))
    assert found(books) == []


def test_the_order_spans_sessions() -> None:
    books = balanced()
    books.taken[0] = taken(0, session="s2", place=(9.0, 0))
    assert set(found(books)) == {"reordered"}


def test_merged_messages() -> None:
    books = balanced()
    books.taken[1] = taken(1, is_whole=False)
    assert found(books) == ["merged"]


def test_an_altered_message() -> None:
    books = balanced()
    books.taken[1] = taken(1, digest=digest("body 1 "))
    assert found(books) == ["altered"]


def test_a_misplaced_message() -> None:
    books = balanced()
    books.taken[1] = taken(1, identity="scripted-bob")
    assert found(books) == ["misplaced"]


def test_a_message_signed_by_somebody_else() -> None:
    books = balanced()
    books.taken[1] = taken(1, sender="mallory")
    assert found(books) == ["misattributed"]


def test_a_message_from_nowhere() -> None:
    books = balanced()
    books.taken.append(taken(4))
    assert found(books) == ["from nowhere"]


def test_a_refused_message_that_was_delivered() -> None:
    books = balanced()
    books.sent[1] = sent(1, told=Told.REFUSED, message_id=None)
    assert found(books) == ["refused, but delivered"]


def test_a_refused_message_is_not_waited_for() -> None:
    books = balanced()
    books.sent[1] = sent(1, told=Told.REFUSED, message_id=None)
    del books.taken[1]
    assert found(books) == []


def test_a_sender_that_was_never_answered() -> None:
    books = balanced()
    books.sent[1] = sent(1, told=Told.UNKNOWN, message_id=None)
    assert found(books) == ["unanswered"]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_relay_whose_agent_died_may_or_may_not_be_there(is_there: bool) -> None:
    books = balanced()
    books.sent[1] = sent(1, mark="relay of via", told=Told.UNKNOWN, message_id=None)
    if not is_there:
        del books.taken[1]
    assert found(books) == []


def test_delivered_was_said_too_early() -> None:
    books = balanced()
    books.sent[1] = sent(1, delivered=True)
    assert found(books) == ["delivered without a receipt"]
    books.sent[1] = sent(1, delivered=True, ended=11.001)
    assert found(books) == []


def test_a_submitted_draft() -> None:
    books = balanced()
    books.drafts = {ALICE: ["half a thou"]}
    books.taken[1] = taken(1, is_whole=False, text="half a thou<peer-message…")
    assert sorted(found(books)) == ["draft submitted", "merged"]


def test_a_draft_submitted_alone() -> None:
    books = balanced()
    books.drafts = {ALICE: ["half a thou"]}
    books.taken.append(taken(4, message_id=None, text="half a thou", is_whole=False))
    assert sorted(found(books)) == ["draft submitted", "stray"]


def test_what_a_person_submits_is_a_prompt_once() -> None:
    books = balanced()
    books.typed = {ALICE: ["hello"]}
    books.taken.append(taken(4, message_id=None, text="hello", is_whole=False))
    assert found(books) == []
    books.taken.append(books.taken[-1])
    assert found(books) == ["stray"]


def test_a_key_in_a_dialog() -> None:
    books = balanced()
    books.pressed.append(Pressed(ALICE, "enter"))
    assert found(books) == [WRONG_PLACE]


@pytest.mark.parametrize(
    ("keys", "rules"),
    [
        ("thou", []),
        ("\x7f\x7f", []),
        ("\r", ["typed where it must not be"]),
        ("\x1b[200~", ["typed where it must not be"]),
    ],
)
def test_what_a_person_types_into_a_dialog_is_their_affair(keys: str, rules: list[str]) -> None:
    books = balanced()
    books.sittings = {ALICE: [Sitting("half a thou", began=5.0, ended=9.0)]}
    books.pressed.append(Pressed(ALICE, "key", keys, 7.0))
    assert found(books) == rules


@pytest.mark.parametrize("at", [4.9, 9.1 + LATE_SECONDS])
def test_nobody_types_before_a_person_comes_or_long_after_they_left(at: float) -> None:
    books = balanced()
    books.sittings = {ALICE: [Sitting("1", began=5.0, ended=9.0)]}
    books.pressed.append(Pressed(ALICE, "key", "1", at))
    assert found(books) == [WRONG_PLACE]


def test_a_person_at_another_terminal_excuses_nothing() -> None:
    books = balanced()
    books.sittings = {VIA: [Sitting("1", began=5.0)]}
    books.pressed.append(Pressed(ALICE, "key", "1", 7.0))
    assert found(books) == [WRONG_PLACE]


def test_a_draft_that_somebody_took_away() -> None:
    books = balanced()
    books.sittings = {ALICE: [Sitting("half a thou", began=5.0, was_seen=True)]}
    assert found(books) == []
    books.sittings = {ALICE: [Sitting("half a thou", began=5.0, was_seen=True, gone="")]}
    assert found(books) == ["draft gone"]


def task(number: int, session: str, at: float, **changes: object) -> Taken:
    return taken(number, identity=WORKER, session=session, place=(at, 2), at=at, **changes)


def reply(number: int, session: str, at: float, **changes: object) -> Reply:
    return replace(Reply(session, at, IDS[number], digest(f"done {number}")), **changes)  # type: ignore[arg-type]


def tasks(*takes: Taken, replies: tuple[Reply, ...] = ()) -> Books:
    jobs = [sent(number, recipient=WORKER) for number in sorted({IDS.index(str(each.message_id)) for each in takes})]
    return Books(jobs, list(takes), list(replies), ephemeral={WORKER})


def test_a_task_is_taken_again_after_a_worker_that_died() -> None:
    replies = (reply(0, "b", 2.5), reply(1, "c", 3.5))
    assert found(tasks(task(0, "a", 1), task(0, "b", 2), task(1, "c", 3), replies=replies)) == []


def test_a_task_that_is_taken_again_after_its_reply() -> None:
    assert found(tasks(task(0, "a", 1), task(0, "b", 2), replies=(reply(0, "a", 1.5),))) == ["doubled"]


def test_two_tasks_in_one_session() -> None:
    replies = (reply(0, "a", 1.5), reply(1, "a", 2.5))
    assert found(tasks(task(0, "a", 1), task(1, "a", 2), replies=replies)) == ["merged"]


def test_tasks_out_of_order() -> None:
    replies = (reply(1, "a", 1.5), reply(0, "b", 2.5))
    assert found(tasks(task(1, "a", 1), task(0, "b", 2), replies=replies)) == ["reordered"]


def test_a_poisoned_task_is_taken_and_given_up() -> None:
    books = tasks(task(0, "a", 1), task(0, "b", 2))
    books.taken.append(notice(0))
    assert found(books) == []


def test_a_task_that_was_taken_and_never_answered_is_lost() -> None:
    books = tasks(task(0, "a", 1), task(0, "b", 2))
    assert found(books) == ["lost"]
    assert [each.message_id for each in books.open()] == [IDS[0]]


@pytest.mark.parametrize("wrong", [reply(1, "a", 2), reply(0, "c", 2)])
def test_a_reply_to_another_task_or_of_another_session_ends_no_task(wrong: Reply) -> None:
    assert found(tasks(task(0, "a", 1), replies=(wrong,))) == ["lost"]


@pytest.mark.parametrize(("has_arrived", "rules"), [(True, []), (False, ["lost"])])
def test_a_reply_of_which_the_worker_was_never_told_counts_where_it_arrived(
    has_arrived: bool, rules: list[str]
) -> None:
    books = tasks(task(0, "a", 1), replies=(reply(0, "a", float("inf"), told=Told.UNKNOWN),))
    if has_arrived:
        books.sent.append(sent(4, sender=WORKER, recipient=VIA, mark="relay", told=Told.UNKNOWN, message_id=None))
        books.sent[-1] = replace(books.sent[-1], digest=digest("done 0"))
        books.taken.append(taken(4, identity=VIA, sender="worker", digest=digest("done 0")))
    assert found(books) == rules


def test_a_task_that_was_answered_and_given_up() -> None:
    books = tasks(task(0, "a", 1), replies=(reply(0, "a", 1.5),))
    books.taken.append(notice(0))
    assert found(books) == ["answered and given up"]


def test_a_reply_that_nobody_was_told_of_may_come_after_the_task_was_given_up() -> None:
    books = tasks(task(0, "a", 1), replies=(reply(0, "a", float("inf"), told=Told.UNKNOWN),))
    books.taken.append(notice(0))
    assert found(books) == []


def test_two_notices_of_one_dead_letter() -> None:
    books = balanced()
    books.taken[1] = notice(1)
    books.taken.append(notice(1, message_id=IDS[4], place=(1.0, 9)))
    assert found(books) == ["two notices"]


def test_a_notice_that_names_no_message() -> None:
    books = balanced()
    books.taken.append(notice(1, notice_of=""))
    assert found(books) == ["notice of nothing"]


def test_who_never_becomes_ready_takes_nothing_and_its_senders_are_told() -> None:
    books = balanced()
    books.unready = {ALICE}
    assert sorted(found(books)) == ["lost"] * 3 + ["taken by nobody"] * 3
    books.taken = [notice(number, message_id=f"m_{number + 50:020d}") for number in range(3)]
    assert found(books) == []


def prompt(body: str, **about: object) -> tuple[str, str]:
    """Return the id of a message and the text that its recipient reads."""
    draft = check_draft(body, **about)
    message = accept(draft, Identity("scripted", "via"), Identity("scripted", "alice"), hops=0, now=1.0)
    return message.id, render(message, intelligence="artificial")


def read(text: str) -> Taken:
    return read_prompt(ALICE, "s1", (1.0, 1), 2.0, text)


@pytest.mark.parametrize("kind", [kind for kind, _ in KINDS], ids=range(len(KINDS)))
def test_every_kind_of_body_is_read_back_from_its_envelope(kind: Callable[[Random, str], str]) -> None:
    random = actor(1, "test")
    for number in range(30):
        body = kind(random, f"mark-{number}")
        message_id, text = prompt(body, topic='a "topic" <b>')
        took = read(text)
        assert (took.message_id, took.sender, took.is_whole) == (message_id, "via", True)
        assert took.digest == digest(to_arrive(body))


def test_a_body_that_lost_a_character_is_another_one() -> None:
    random = actor(1, "test")
    for number in range(50):
        body = compose(random, f"mark-{number}")
        _, text = prompt(body)
        assert read(text.replace(f"mark-{number}", f"mark{number}")).digest != digest(to_arrive(body))


@pytest.mark.parametrize("around", ["draft {}", "{} draft", "{}\n{}", "\n{}", "{}\nx"])
def test_more_than_an_envelope_is_no_whole_one(around: str) -> None:
    _, text = prompt("hello")
    assert not read(around.replace("{}", text)).is_whole


def test_half_an_envelope_is_no_whole_one() -> None:
    _, text = prompt("hello\nyou")
    assert not read(text[:-5]).is_whole
    assert read(text[5:]).message_id is None
