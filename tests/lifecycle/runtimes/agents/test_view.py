import os
import pty
import struct
import termios
from collections.abc import Iterator
from fcntl import ioctl

import pytest

from lifecycle.runtimes.agents.view import Question, View, marked, printable, width, wrap


@pytest.mark.parametrize(
    ("text", "columns"), [("abc", 3), ("日本", 4), ("e\u0301", 1), ("»\u00a0x", 3), ("😀", 2), ("", 0)]
)
def test_width(text: str, columns: int) -> None:
    assert width(text) == columns


def test_wrapping_loses_nothing_and_keeps_to_the_columns() -> None:
    text = "ab日本cd" * 20
    rows = wrap(text, 7)
    assert "".join(rows) == text
    assert max(map(width, rows)) <= 7


def test_what_would_move_the_cursor_is_not_drawn() -> None:
    assert printable("a\tb\x1b[2Jc\x07\u202ed\u00a0") == "a    b[2Jcd\u00a0"


def test_a_text_behind_a_prefix_is_indented() -> None:
    assert marked("» ", "one\ntwo", 20) == ["» one", "  two"]


def test_question_by_cursor_number_and_escape() -> None:
    question = Question(["Go?"], ["No", "Yes"])
    assert [question.press("key", key) for key in ("down", "up", "up")] == [None, None, None]
    assert question.rows()[3] == " » 2. Yes"
    assert question.press("key", "enter") == "Yes"
    assert question.press("text", "1") == "No"
    assert question.press("text", "9") is None
    assert question.press("paste", "1") is None
    assert question.press("key", "escape") == ""


@pytest.fixture
def pair() -> Iterator[tuple[int, int]]:
    outer, inner = pty.openpty()
    ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 60, 0, 0))
    yield outer, inner
    os.close(outer)
    os.close(inner)


def test_one_write_for_one_change(pair: tuple[int, int]) -> None:
    outer, inner = pair
    view = View(inner)
    assert (view.columns, view.height) == (60, 20)
    view.say("● ", "first")
    view.draw([], "»\u00a0", "", ["  foot"])
    assert "● first" in os.read(outer, 1 << 16).decode()
    view.draw([], "»\u00a0", "x", ["  foot"])
    again = os.read(outer, 1 << 16).decode()
    assert "first" not in again
    assert "»\u00a0x" in again


def test_a_frozen_view_draws_nothing_and_everything_afterwards(pair: tuple[int, int]) -> None:
    outer, inner = pair
    view = View(inner)
    view.say("● ", "before")
    view.draw([], "»\u00a0", "", [])
    os.read(outer, 1 << 16)
    view.frozen = True
    view.say("● ", "meanwhile")
    view.draw([], "»\u00a0", "", [])
    view.thaw()
    view.draw([], "»\u00a0", "", [])
    drawn = os.read(outer, 1 << 16).decode()
    assert "before" in drawn
    assert "meanwhile" in drawn
