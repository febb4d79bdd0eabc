"""Lines of logs read back, whole or damaged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.logline import fields_of, plain, wall_of


def test_what_stands_in_a_line() -> None:
    line = r'ts=2026-11-20T08:00:00+00:00 ev=close why="a \"b\"\\\n\r\tc" code= why=again'
    assert fields_of(line) == {
        "ts": "2026-11-20T08:00:00+00:00",
        "ev": "close",
        "why": 'a "b"\\\n\r\tc',
        "code": "",
    }


@pytest.mark.parametrize(
    ("quoted", "text"),
    [
        (r"\u00e9\U0001f600", "é😀"),
        (r"\ud800 \U00110000", r"\ud800 \U00110000"),
        (r"\x \u12", r"\x \u12"),
    ],
)
def test_escapes_of_what_is_no_character_stay_as_they_are(quoted: str, text: str) -> None:
    assert plain(quoted) == text


def test_the_time_of_a_line() -> None:
    assert wall_of({"ts": "1970-01-01T00:01:00+00:00"}) == 60.0
    assert wall_of({"ts": "1970-01-01T00:01:00"}) == 60.0, "without a zone it is UTC"
    assert [wall_of(fields) for fields in ({}, {"ts": "soon"}, {"ts": "0001-01-01T00:00:00+14:00"})][:2] == [0.0, 0.0]


@given(st.text())
def test_no_text_is_an_error(text: str) -> None:
    wall_of(fields_of(text))
