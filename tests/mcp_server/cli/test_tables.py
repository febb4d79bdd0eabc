"""What a terminal is shown: aligned, and nothing in the data moves the cursor."""

import io

import pytest

from mcp_server.cli import tables
from mcp_server.cli.context import Context


@pytest.fixture
def context() -> Context:
    return Context({"HOME": "/nowhere"}, io.StringIO(), io.StringIO())


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain ünï 日本", "plain ünï 日本"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202eabc", r"\u202eabc"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        (7, "7"),
    ],
)
def test_control_characters_are_made_visible(raw, shown) -> None:
    assert tables.escape(raw) == shown


def test_columns_are_aligned_whatever_the_width_of_the_characters(context: Context) -> None:
    tables.table(context, ("A", "B", "C"), [("日本", "x", ""), ("ab", "\x1b[1m", "z")])
    assert context.stdout.getvalue() == "A     B        C\n日本  x        -\nab    \\x1b[1m  z\n"


def test_no_colour_off_a_terminal(context: Context) -> None:
    assert tables.paint(context, "live") == "live"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environ", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colour_on_a_terminal_unless_refused(environ, coloured) -> None:
    context = Context({"HOME": "/nowhere", **environ}, Terminal(), io.StringIO())
    assert (tables.paint(context, "live") == "\x1b[32mlive\x1b[0m") is coloured


@pytest.mark.parametrize(("text", "width", "short"), [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("日本語", 4, "日…")])
def test_shorten(text, width, short) -> None:
    assert tables.shorten(text, width) == short
