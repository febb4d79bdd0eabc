"""Lines that a side takes beside their reader: in their order, and never what the reader should have."""

import asyncio
from collections.abc import AsyncIterator

import anyio
import pytest

from mcp_server.serve.streams import SideReader

LIMIT = 64


class Side:
    """Takes the lines that begin with `s`."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def __call__(self, line: bytes) -> bool:
        if line.startswith(b"s"):
            self.taken.append(line)
            return True
        return False


@pytest.fixture
async def reader() -> SideReader:
    return SideReader(LIMIT, asyncio.get_running_loop())


@pytest.fixture
async def side(reader: SideReader) -> Side:
    reader.side = side = Side()
    return side


@pytest.fixture
async def read(reader: SideReader, side: Side) -> AsyncIterator[list[bytes]]:
    """What a reader that waits for lines reads."""
    found: list[bytes] = []

    async def run() -> None:
        while line := await reader.readline():
            found.append(line)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.wait_all_tasks_blocked()
        yield found
        tasks.cancel_scope.cancel()


async def test_a_line_goes_past_a_reader_that_waits(reader: SideReader, side: Side, read: list[bytes]) -> None:
    reader.feed_data(b"s1\ns2\n")
    await anyio.wait_all_tasks_blocked()
    assert (side.taken, read) == ([b"s1\n", b"s2\n"], [])


async def test_what_is_behind_a_line_of_the_readers_waits_for_it(
    reader: SideReader, side: Side, read: list[bytes]
) -> None:
    reader.feed_data(b"s1\nr\ns2\n")
    reader.feed_data(b"s3\n")
    assert side.taken == [b"s1\n"]
    await anyio.wait_all_tasks_blocked()
    assert read == [b"r\n", b"s2\n", b"s3\n"]
    reader.feed_data(b"s4\n")
    assert side.taken == [b"s1\n", b"s4\n"]


async def test_a_line_in_pieces_is_the_readers(reader: SideReader, side: Side, read: list[bytes]) -> None:
    reader.feed_data(b"s1\ns")
    reader.feed_data(b"2\ns3\n")
    await anyio.wait_all_tasks_blocked()
    assert (side.taken, read) == ([b"s1\n"], [b"s2\n", b"s3\n"])
    reader.feed_data(b"s4\n")
    assert side.taken == [b"s1\n", b"s4\n"]


async def test_nothing_goes_past_a_reader_that_does_not_wait(reader: SideReader, side: Side) -> None:
    reader.feed_data(b"s1\n")
    assert side.taken == []
    assert await reader.readline() == b"s1\n"
    reader.feed_data(b"s2\n")
    assert side.taken == []
    assert await reader.readline() == b"s2\n"


async def test_a_wait_that_was_given_up_is_none(reader: SideReader, side: Side) -> None:
    with anyio.move_on_after(0):
        await reader.readline()
    reader.feed_data(b"s1\n")
    assert side.taken == []
    assert await reader.readline() == b"s1\n"


async def test_a_line_over_the_limit_is_the_readers(reader: SideReader, side: Side) -> None:
    waiting = asyncio.ensure_future(reader.readline())
    await anyio.wait_all_tasks_blocked()
    reader.feed_data(b"s" * (LIMIT + 1) + b"\n")
    with pytest.raises(ValueError, match="limit"):
        await waiting
    assert side.taken == []
