"""Styles in a capture."""

from transport.sgr import split_faint


def test_styles() -> None:
    lines, solid = split_faint(
        "a\x1b[38;5;2mb\x1b[38;2;2;2;2mc\x1b[2md\x1b[me\n\x1b[2mf\n g\x1b[0m h\x1b]0;t\x07i\x0fj"
    )
    assert lines == ("abcde", "f", " g hij")
    assert solid == ("abc e", "", "   hij")


def test_reverse_ends_where_it_is_told_to() -> None:
    lines, solid = split_faint("\x1b[7;2ma\x1b[27mb\x1b[22;7mc\x1b[27md\x1b[2me")
    assert (lines, solid) == (("abcde",), ("  cd",))
