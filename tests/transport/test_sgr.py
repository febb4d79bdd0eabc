"""Styles in a capture."""

from transport.sgr import split_faint


def test_styles() -> None:
    lines, solid = split_faint(
        "a\x1b[38;5;2mb\x1b[38;2;2;2;2mc\x1b[2md\x1b[me\n\x1b[2mf\n g\x1b[0m h\x1b]0;t\x07i\x0fj"
    )
    assert lines == ("abcde", "f", " g hij")
    assert solid == ("abc e", "", "   hij")
