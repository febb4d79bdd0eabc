"""A screen that comes up at an exact moment of a delivery: whoever can see it presses nothing in it."""

import pytest

from tests.faults.in_flight import BEGIN, END, ENTER, IN_FLIGHT
from tests.faults.injections.arena import Arena, arena
from tests.faults.transcripts import is_envelope
from tests.live.world import until

pytestmark = pytest.mark.live

MOMENTS = [
    {"when": "now"},
    {"when": "paste", "bytes": 0},
    {"when": "paste", "bytes": 1},
    {"when": "paste", "bytes": 90},
    {"when": "pasted", "delay": 0},
    {"when": "pasted", "delay": 0.001},
    {"when": "pasted", "delay": 0.003},
    {"when": "pasted", "delay": 0.01},
]


def appeared(here: Arena) -> int:
    return len(here.records("shown"))


@pytest.mark.parametrize("show", ["ask", "unknown"])
def test_a_screen_that_comes_up_gets_no_key_and_the_message_comes_after_it(show: str) -> None:
    with arena() as here:
        for number, moment in enumerate(MOMENTS, 1):
            assert here.alice.tell(show=show, **moment)
            if moment["when"] == "now":
                until(lambda: appeared(here) == 1, 20, "the screen")
            here.send(f"message {number} " + "with some text in it " * 8)
            until(lambda number=number: appeared(here) == number, 20, f"the screen {moment}")
            answer = here.send("another", 0.5)
            assert answer["status"] == "queued", answer
            assert here.records("key") == [], here.told()
            here.alice.forget()
            here.settle()
        assert appeared(here) == len(MOMENTS), here.told()
        assert here.records("in-flight"), here.told()


@pytest.mark.parametrize("moment", MOMENTS[:5], ids=str)
def test_a_shell_in_place_of_the_agent_gets_no_key_and_the_message_the_next_session(moment: dict[str, object]) -> None:
    with arena() as here:
        before = here.alice
        assert before.tell(show="shell", **moment)
        here.send("message " + "with some text in it " * 8)
        until(lambda: appeared(here) == 1, 20, "the shell")
        assert here.send("another", 1)["status"] == "queued"
        assert here.records("key") == [], here.told()
        assert before.is_there()
        before.forget()
        here.settle()
        assert here.alice != before


def test_the_record_of_keys_would_show_them() -> None:
    """What the books rest on: a key that somebody presses into a screen that can be seen is recorded as such."""
    with arena() as here:
        assert here.alice.tell(show="ask", when="now")
        until(lambda: "Do you want to proceed?" in (here.alice.tmux("capture-pane", "-p") or ""), 20, "the dialog")
        here.alice.tmux("send-keys", "-t", here.alice.pane, "Enter")
        until(lambda: here.records("key"), 20, "the record")
        assert (here.records("key")[0]["text"], here.records("key")[0]["where"]) == ("b'\\r'", "ask")
        with pytest.raises(AssertionError):
            here.check()


def test_no_answer_of_the_terminal_is_a_key_when_one_screen_follows_another() -> None:
    with arena() as here:
        for _ in range(20):
            assert here.alice.tell(show="ask", when="now")
        until(lambda: appeared(here) > 1, 20, "the screens")
        here.alice.forget()
        here.send("waits")
        here.settle()
        assert here.records("in-flight") == []


def test_enter_that_was_under_way_is_recorded_with_the_message_behind_which_it_was_pressed() -> None:
    with arena() as here:
        assert here.alice.tell(show="ask", when="pasted", delay=2)
        here.send("waits")
        until(lambda: here.records("in-flight"), 20, "the record")
        (early,) = here.books().in_flight
        assert set(early.keys) == {ENTER} and is_envelope(early.over)
        here.alice.forget()
        here.settle()


def test_a_paste_that_was_cut_off_is_recorded_to_its_end() -> None:
    with arena() as here:
        assert here.alice.tell(show="ask", when="paste", bytes=90)
        here.send("waits " + "with some text in it " * 300)
        until(lambda: here.records("in-flight"), 20, "the record")
        (early,) = here.books().in_flight
        assert (early.over, BEGIN in early.keys, early.keys.endswith(END)) == ("", False, True)
        assert [broken.rule for rule in IN_FLIGHT for broken in rule(here.books())] == ["typed by nobody"]
        here.alice.forget()
        here.settle()
