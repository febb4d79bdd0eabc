"""Cancelled calls: the message stays accepted, no answer comes, and nothing of the call is left in the server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import pytest

from tests.mcp_server.fronts import Running, running
from tests.protocol.messages import ERAS, HANDSHAKE, MODERN, cancelled, request, send
from tests.protocol.pipes import DUPLEX, KINDS, HttpPipe, Pipe, pipe
from transport.paths import Root

MANY = 300
CANCELLING = [
    (kind, era) for kind in KINDS for era in ERAS if (kind, era) not in (("http", MODERN), ("unix-http", MODERN))
]
"""Where a notification cancels; in the modern era of HTTP a client closes its connection instead."""


@pytest.fixture
async def run(root: Root) -> AsyncIterator[Running]:
    async with running(root) as found:
        yield found


async def until(question: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not question():  # noqa: ASYNC110
            await anyio.sleep(0.002)


async def accepted(run: Running, count: int) -> None:
    await until(lambda: len(run.service.accepted("bob")) == count)


def tasks() -> int:
    """Count what runs, without the one task that the SDK's library for streams keeps for the whole process."""
    return sum("_shutdown_watcher" not in repr(task.get_coro()) for task in asyncio.all_tasks())


async def nothing_is_left(run: Running, before: int) -> None:
    """Wait until no call is in flight and no task more than before is there."""
    await until(lambda: run.front._in_flight.count == 0 and tasks() <= before)


async def told_last(client: Pipe, era: str) -> None:
    """Check that nothing of a cancelled call comes before the answer to the next request.

    Over HTTP each request has to end: there a cancelled one ends with an error, never with a result.
    """
    answer = await client.ask(request("last", "tools/list", era))
    while isinstance(client, HttpPipe) and answer["id"] != "last":
        assert "error" in answer, answer
        answer = await client.answer()
    assert (answer["id"], "result" in answer) == ("last", True)


@pytest.mark.parametrize(("kind", "era"), CANCELLING)
async def test_while_it_waits(run: Running, kind: str, era: str) -> None:
    before = tasks()
    async with pipe(kind, run, era) as client:
        await client.tell(send(1, "kept", era, wait_seconds=100))
        await accepted(run, 1)
        held = tasks()
        await client.tell(cancelled(1), cancelled(1))
        await until(lambda: run.front._in_flight.count == 0 and tasks() < held)
        run.service.consume(run.service.accepted("bob")[0].id)
        await told_last(client, era)
    await nothing_is_left(run, before)
    assert [message.body for message in run.service.accepted("bob")] == ["kept"]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", DUPLEX)
async def test_before_it_and_after_it(run: Running, kind: str, era: str) -> None:
    async with pipe(kind, run, era) as client:
        await client.tell(cancelled(1), cancelled("1"), send(1, "first", era))
        assert (await client.answer())["result"]["isError"] is False
        await client.tell(cancelled(1))
        assert (await client.ask(send(1, "second", era)))["result"]["isError"] is False
        await told_last(client, era)
    assert [message.body for message in run.service.accepted("bob")] == ["first", "second"]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", DUPLEX)
async def test_in_the_same_breath(run: Running, kind: str, era: str) -> None:
    async with pipe(kind, run, era) as client:
        for number in range(50):
            await client.tell(send(number, f"{number}", era, wait_seconds=100), cancelled(number))
        await told_last(client, era)
        await until(lambda: run.front._in_flight.count == 0)
    bodies = [message.body for message in run.service.accepted("bob")]
    assert bodies == [f"{n}" for n in sorted(map(int, bodies))]
    if era == HANDSHAKE and kind != "sse":
        assert len(bodies) == 50


@pytest.mark.parametrize("kind", DUPLEX)
async def test_the_handshake_cannot_be_cancelled(run: Running, kind: str) -> None:
    async with pipe(kind, run, HANDSHAKE) as client:
        await client.tell(cancelled("hello"))
        assert (await client.ask(send(1, "hello")))["result"]["isError"] is False


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", ["http", "unix-http"])
async def test_a_client_of_http_that_leaves_takes_its_calls_along(run: Running, kind: str, era: str) -> None:
    before = tasks()
    async with pipe(kind, run, era) as client:
        assert isinstance(client, HttpPipe)
        calls = [send(n, f"{n}", era, wait_seconds=2 if era == HANDSHAKE else 100) for n in range(40)]
        await client.tell(*calls)
        await accepted(run, len(calls))
        await client.leave()
    await nothing_is_left(run, before)
    assert len({message.body for message in run.service.accepted("bob")}) == len(calls)


@pytest.mark.parametrize(("kind", "era"), CANCELLING)
async def test_many_leave_nothing(run: Running, kind: str, era: str) -> None:
    before = tasks()
    async with pipe(kind, run, era) as client:
        for start in range(0, MANY, 50):
            numbers = range(start, start + 50)
            await client.tell(*(send(n, f"{n}", era, wait_seconds=100) for n in numbers))
            await accepted(run, start + 50)
            await client.tell(*(cancelled(n) for n in numbers))
            await until(lambda: run.front._in_flight.count == 0)
        await told_last(client, era)
    await nothing_is_left(run, before)
    assert sorted(int(message.body) for message in run.service.accepted("bob")) == list(range(MANY))


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", KINDS)
async def test_many_that_vanish_leave_nothing(run: Running, kind: str, era: str) -> None:
    steps: list[Callable[[Pipe], Awaitable[object]]] = [
        lambda client: anyio.lowlevel.checkpoint(),
        lambda client: client.tell(request(1, "tools/list", era)),
        lambda client: client.tell(*(send(n, "x", era, wait_seconds=1) for n in range(5))),
        lambda client: client.tell(send(1, "y", era, meta={"progressToken": 1}, wait_seconds=1), cancelled(1)),
        lambda client: client.ask(request(1, "resources/list", era)),
    ]
    before = tasks()
    for _ in range(2 if kind == "bridge" else 12):
        for step in steps:
            async with pipe(kind, run, era) as client:
                await step(client)
    await nothing_is_left(run, before)
