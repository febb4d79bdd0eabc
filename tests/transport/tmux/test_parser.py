"""The control protocol, in pieces of any size."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.tmux.parser import Block, Exit, Garbled, Parser

STREAM = (
    b"%begin 1 5 0\n%end 1 5 0\n%session-changed $0 x\n"
    b"%begin 1 6 1\nhello\n\n%end 1 5 1\n%output x\n%end 1 6 1\n"
    b"%window-renamed @0 \xff\n%begin 1 7 1\nno such thing\n%error 1 7 1\n%exit server exited\n"
)
ITEMS = [
    Block((), True, asked=False),
    Block(("hello", "", "%end 1 5 1", "%output x"), True),
    Block(("no such thing",), False),
    Exit("server exited"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_any_fragmentation_gives_the_same_blocks(cuts: list[int]) -> None:
    parser = Parser()
    edges = [0, *sorted(cuts), len(STREAM)]
    found = [item for a, b in itertools.pairwise(edges) for item in parser.feed(STREAM[a:b])]
    assert found == ITEMS


@pytest.mark.parametrize("stream", [b"%end 1 1 1\n", b"%error 1 1 1\n", b"stray text\n", b"x" * (5 << 20)])
def test_what_breaks_the_protocol_is_not_guessed_at(stream: bytes) -> None:
    with pytest.raises(Garbled):
        Parser().feed(stream)


@given(st.binary(max_size=300))
def test_no_bytes_do_anything_worse_than_garbled(data: bytes) -> None:
    parser = Parser()
    try:
        parser.feed(data)
    except Garbled:
        return
