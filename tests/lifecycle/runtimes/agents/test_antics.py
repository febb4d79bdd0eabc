"""What the scripted agent does in the middle of everything: where pastes begin and end, and what was typed unseen."""

import pytest

from lifecycle.runtimes.agents.antics import BEGIN, END, Marks, Sight

PIECES = (b"typed", BEGIN, b"pasted", END, b"typed again")
INPUT = b"".join(PIECES)
ANSWER = b"\x1b[10;15R"
ANSWERED = b"early" + ANSWER + b"late"


@pytest.mark.parametrize("cuts", [*((cut,) for cut in range(len(INPUT) + 1)), range(1, len(INPUT)), range(0, 40, 4)])
def test_a_paste_begins_and_ends_once_wherever_reads_are_cut(cuts: tuple[int, ...]) -> None:
    marks, begins, ends, at = Marks(), [], [], 0
    for cut in (*cuts, len(INPUT)):
        begin, has_ended = marks.feed(INPUT[at:cut])
        begins += [at + begin] if begin >= 0 else []
        ends += [cut] if has_ended else []
        at = max(at, cut)
    assert begins == [INPUT.index(b"pasted")]
    (end,) = ends
    assert end >= INPUT.index(b"typed again")


def test_each_paste_is_seen() -> None:
    marks, once = Marks(), [(-1, False), (len(BEGIN), False), (-1, False), (-1, True), (-1, False)]
    assert [marks.feed(piece) for piece in (*PIECES, *PIECES)] == [*once, *once]


def shown(times: int = 1) -> Sight:
    """Return the sight of a screen that came up, after others that went before the terminal had answered."""
    sight = Sight()
    for number in range(times):
        assert not number or sight.leave() == b""
        sight.ask()
    return sight


@pytest.mark.parametrize("cut", range(len(ANSWERED) + 1))
def test_what_comes_before_the_answer_was_typed_unseen_wherever_reads_are_cut(cut: int) -> None:
    sight = shown()
    read = [sight.read(ANSWERED[:cut]), sight.read(ANSWERED[cut:]), sight.read(b"y")]
    assert tuple(map(b"".join, zip(*read, strict=True))) == (b"early", b"latey")


@pytest.mark.parametrize("times", [2, 3])
def test_a_screen_is_seen_with_the_last_answer_and_no_answer_is_a_key(times: int) -> None:
    sight = shown(times)
    read = [sight.read(b"a" + ANSWER) for _ in range(times - 1)]
    assert read == [(b"", b"")] * (times - 1)
    assert sight.read(ANSWERED) == (b"a" * (times - 1) + b"early", b"late")


@pytest.mark.parametrize("cut", range(len(ANSWER) + 1))
def test_an_answer_that_comes_when_its_screen_is_gone_is_not_that_of_the_next(cut: int) -> None:
    sight = shown()
    assert sight.read(b"early" + ANSWER[:cut])[0] == (b"early" if cut == len(ANSWER) else b"")
    assert sight.leave() == (b"" if cut == len(ANSWER) else b"early")
    sight.leave(ANSWER[cut:] + b"typed into the composer")
    sight.ask()
    assert sight.read(b"unseen") == (b"", b"")
    assert sight.read(ANSWER + b"y") == (b"unseen", b"y")


def test_a_screen_that_comes_up_while_an_answer_is_cut_gets_no_part_of_it() -> None:
    sight = shown()
    sight.read(b"early" + ANSWER[:3])
    assert sight.leave() == b"early"
    sight.ask()
    assert sight.read(ANSWER[3:] + b"unseen" + ANSWER + b"y") == (b"unseen", b"y")


def test_what_is_typed_while_nothing_is_asked_is_kept_from_nobody() -> None:
    sight = Sight()
    assert sight.leave(b"\x1b[") == b"\x1b["
    assert sight.read(b"y") == (b"", b"y")
