import pytest

from lifecycle.runtimes.agents.keys import Keys


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"hello\r", [("text", "hello"), ("key", "enter")]),
        (b"a\nb", [("text", "a"), ("key", "enter"), ("text", "b")]),
        (b"\x7f\x08\x15\x03\x04", [("key", name) for name in ("backspace", "backspace", "kill", "interrupt", "eof")]),
        (b"\x1b[A\x1b[B\x1bOA", [("key", "up"), ("key", "down"), ("key", "up")]),
        (b"\x1b[200~a\r\nb\x1b[201~\r", [("paste", "a\r\nb"), ("key", "enter")]),
        ("é\u00a0»😀".encode(), [("text", "é"), ("text", "»😀")]),
        (b"\xff\xfe", [("text", "\ufffd\ufffd")]),
        (b"\x1b[15~\x1b[1;5Cx\x00\x01", [("text", "x")]),
        (b"\x1b[200~\x1b[201~", []),
        (b"\x1bfx\x1b\x1by", [("text", "x"), ("text", "y")]),
    ],
)
def test_what_was_pressed(data: bytes, events: list[tuple[str, str]]) -> None:
    assert Keys().feed(data) == events


def test_bytes_may_come_one_by_one() -> None:
    data = "é\x1b[200~päste\x1b[A\n\x1b[201~\r\x1b[B".encode()
    keys = Keys()
    events = [event for byte in data for event in keys.feed(bytes([byte]))]
    assert events == [("text", "é"), ("paste", "päste\x1b[A\n"), ("key", "enter"), ("key", "down")]


def test_a_lone_escape_is_told_only_when_nothing_follows() -> None:
    keys = Keys()
    assert keys.feed(b"\x1b") == []
    assert keys.escape_waits
    assert keys.flush() == [("key", "escape")]
    assert not keys.escape_waits
    assert keys.flush() == []


def test_a_paste_that_does_not_end_swallows_no_later_one() -> None:
    keys = Keys()
    assert keys.feed(b"\x1b[200~half") == []
    assert not keys.escape_waits
    assert keys.feed(b" and half\x1b[201~\x1b[200~two\x1b[201~") == [("paste", "half and half"), ("paste", "two")]
