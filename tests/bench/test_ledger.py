"""Each way a message can go wrong is counted, once, and only that."""

import pytest

from bench.ledger import Ledger, audit, ids
from transport.envelope import render
from transport.identity import OPERATOR, Identity
from transport.message import Draft, Message, accept
from transport.vocabulary import Intelligence

ALICE = Identity("scripted", "alice")


def letter(body: str) -> Message:
    return accept(Draft(body), OPERATOR, ALICE, hops=0, now=1_800_000_000.0)


def prompt(message: Message) -> str:
    return render(message, intelligence=Intelligence.NATURAL)


LETTERS = [letter(f"body {number}") for number in range(5)]
ACCEPTED = [message.id for message in LETTERS]
PROMPTS = [prompt(message) for message in LETTERS]


def test_the_ids_in_a_prompt_are_found() -> None:
    assert ids("\n".join(PROMPTS)) == ACCEPTED
    assert ids("something else") == []


@pytest.mark.parametrize(
    ("prompts", "found"),
    [
        (PROMPTS, Ledger(0, 0, 0, 0)),
        (["hello", *PROMPTS, prompt(letter("of somebody else"))], Ledger(0, 0, 0, 0)),
        ([], Ledger(5, 0, 0, 0)),
        (PROMPTS[:2] + PROMPTS[3:], Ledger(1, 0, 0, 0)),
        ([*PROMPTS, PROMPTS[4], PROMPTS[4]], Ledger(0, 2, 0, 0)),
        ([*PROMPTS, PROMPTS[0]], Ledger(0, 1, 1, 0)),
        ([PROMPTS[1], PROMPTS[0], *PROMPTS[2:]], Ledger(0, 0, 1, 0)),
        ([PROMPTS[0] + "\n" + PROMPTS[1], *PROMPTS[2:]], Ledger(0, 0, 0, 1)),
        (["half a line" + PROMPTS[0], *PROMPTS[1:]], Ledger(0, 0, 0, 1)),
        ([PROMPTS[0] + "more", *PROMPTS[1:]], Ledger(0, 0, 0, 1)),
        ([PROMPTS[0][:-10], *PROMPTS[1:]], Ledger(0, 0, 0, 1)),
    ],
)
def test_prompts_are_held_against_what_was_accepted(prompts: list[str], found: Ledger) -> None:
    assert audit(ACCEPTED, prompts) == found


def test_ledgers_add_up_and_become_rows() -> None:
    total = Ledger(1, 2, 3, 4) + Ledger(1, 1, 1, 1)
    assert total == Ledger(2, 3, 4, 5)
    assert [(row.name, row.value, row.is_met) for row in total.rows("x")] == [
        ("x: lost", 2, False),
        ("x: delivered twice", 3, False),
        ("x: out of order", 4, False),
        ("x: merged", 5, False),
    ]


def test_a_ledger_answers_the_terms_there_are() -> None:
    rows = Ledger(0, 0, 0, 0).rows("20 queued", "killed", note="3 times")
    assert [row.key for row in rows] == ["killed.lost", "killed.doubled", "killed.reordered", ""]
    assert all(row.is_met and row.note == "3 times" for row in rows)
