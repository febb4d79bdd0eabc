"""The rules of keys that were under way when a screen came up: each book here has one fault, or none."""

from dataclasses import replace

import pytest

from tests.faults.books import LATE_SECONDS, Books, Pressed, Sitting
from tests.faults.in_flight import BEGIN, CLEAR, END, ENTER
from tests.faults.sightings import FULL_SECONDS, Sightings
from tests.faults.test_books import ALICE, IDS, VIA, balanced, found, notice, prompt, sent, taken

UNVERIFIED, NOBODY = "Enter unverified", "typed by nobody"
MESSAGE_ID, MESSAGE = prompt("please look\nat ünïcödé, again")
PASTE = f"{BEGIN}{MESSAGE}{END}"


def books(keys: str, over: str = "", at: float = 20.0) -> Books:
    """Balanced books with a message that alice took, and keys that were under way when a screen came up."""
    made = balanced()
    made.taken[1] = taken(1, text=MESSAGE)
    made.in_flight.append(Pressed(ALICE, "in flight", keys, at, over))
    return made


@pytest.mark.parametrize("presses", [1, 4])
def test_enter_may_be_under_way_behind_a_message_that_stood_there_whole(presses: int) -> None:
    assert found(books(ENTER * presses, MESSAGE)) == []


@pytest.mark.parametrize("over", ["", "half a thou", MESSAGE[:-1], f"half a thou{MESSAGE}", f"{MESSAGE}\n{MESSAGE}"])
def test_enter_behind_anything_else_was_pressed_unverified(over: str) -> None:
    assert found(books(ENTER, over)) == [UNVERIFIED]


@pytest.mark.parametrize("cut", [1, 40, len(PASTE) - 3])
def test_enter_behind_a_paste_that_the_screen_cut_off_was_pressed_unverified(cut: int) -> None:
    assert found(books(PASTE[cut:])) == []
    assert found(books(PASTE[cut:] + ENTER)) == [UNVERIFIED]


def test_a_person_may_submit_what_they_have_typed() -> None:
    made = books(ENTER, "hello")
    made.typed = {VIA: ["hello"]}
    assert found(made) == [UNVERIFIED]
    made.typed = {ALICE: ["hello"]}
    assert found(made) == []


def test_an_agent_without_room_to_write_down_what_it_took_is_asked_again() -> None:
    made = books(ENTER)
    made.seen = Sightings(full_at=[20.0 + FULL_SECONDS - 1])
    assert found(made) == []
    made.seen.full_at = [20.0 + FULL_SECONDS + 1]
    assert found(made) == [UNVERIFIED]


def test_the_rest_of_a_paste_may_be_under_way_wherever_it_was_cut() -> None:
    paste, most = PASTE.encode(), len(PASTE.encode()) - len(END)
    assert [cut for cut in range(most + 1) if found(books(paste[cut:].decode("utf-8", "replace")))] == []


@pytest.mark.parametrize("rest", [END[cut:] for cut in range(len(END))])
def test_the_rest_of_a_mark_may_be_under_way(rest: str) -> None:
    made = books(f"{rest}th")
    assert found(made) == [NOBODY]
    made.sittings = {ALICE: [Sitting("thou", began=19.0)]}
    assert found(made) == []


def test_a_long_part_of_a_paste_may_come_without_its_end() -> None:
    assert found(books(PASTE[3:60])) == []
    assert found(books(PASTE[3:60].upper())) == [NOBODY]


@pytest.mark.parametrize(
    "keys",
    [
        "y",
        "/clear",
        "\x1b",
        "\x03",
        CLEAR,
        f"{BEGIN}rm -rf /{END}",
        f"{BEGIN}{END}",
        f"{PASTE}y",
        f"y{PASTE}",
        PASTE.replace("look", "loop"),
        f"{PASTE[30:60]}{PASTE[70:]}",
    ],
)
def test_what_neither_a_message_nor_a_person_explains(keys: str) -> None:
    assert found(books(keys)) == [NOBODY]


def test_a_paste_for_another_one_is_nobodys() -> None:
    made = books(PASTE)
    made.in_flight[0] = replace(made.in_flight[0], identity=VIA)
    assert found(made) == [NOBODY]


def test_a_message_that_was_not_whole_explains_nothing() -> None:
    made = books(PASTE)
    made.taken[1] = replace(made.taken[1], is_whole=False)
    assert found(made) == ["merged", NOBODY]


@pytest.mark.parametrize("keys", ["th", f"{PASTE}th", f"th{PASTE}", f"{PASTE[30:]}t\x7f"])
def test_what_a_person_types_may_be_under_way(keys: str) -> None:
    made = books(keys)
    made.sittings = {ALICE: [Sitting("thou", began=19.0)]}
    assert found(made) == []
    made.sittings[ALICE][0].ended = 20.0 - LATE_SECONDS - 1  # type: ignore[index]
    assert found(made) == [NOBODY]
    made.sittings = {VIA: [Sitting("thou", began=19.0)]}
    assert found(made) == [NOBODY]


def test_a_desk_is_cleared_where_somebody_had_a_draft() -> None:
    made = books(CLEAR)
    made.drafts = {ALICE: ["half a thou"]}
    assert found(made) == []


def test_who_has_not_taken_what_is_told_first_is_not_judged() -> None:
    made = books(f"{BEGIN}half of what nobody took, and long enough")
    assert found(made) == [NOBODY]
    made.seen.untold[VIA] = 1
    assert found(made) == [NOBODY]
    made.seen.untold[ALICE] = 1
    assert found(made) == []


def test_who_was_to_get_a_message_that_nobody_took_is_not_judged() -> None:
    made = books(f"{BEGIN}unknown{END}")
    made.sent.append(sent(3))
    made.taken.append(notice(3, text=f"Your message {IDS[3]} to alice (scripted) was given up: why."))
    assert found(made) == []
    made.sent[-1] = sent(3, recipient="scripted-bob")
    made.taken[-1] = replace(made.taken[-1], text=made.taken[-1].text.replace("alice", "bob"))
    assert found(made) == [NOBODY]
