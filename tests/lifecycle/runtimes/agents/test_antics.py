"""What the scripted agent does in the middle of everything: where it sees pastes begin and end."""

import pytest

from lifecycle.runtimes.agents.antics import BEGIN, END, Marks

PIECES = (b"typed", BEGIN, b"pasted", END, b"typed again")
INPUT = b"".join(PIECES)


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
