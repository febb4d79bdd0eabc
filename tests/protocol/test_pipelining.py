"""Many calls at once on one connection: answers found by their ids, acceptance in the order of the lines."""

from collections.abc import AsyncIterator
from itertools import pairwise

import anyio
import pytest

from tests.mcp_server.fronts import Running, running
from tests.protocol.messages import ERAS, call, cancelled, encoded, request, send
from tests.protocol.pipes import DUPLEX, KINDS, HttpPipe, pipe
from transport.paths import Root

MANY = 200


@pytest.fixture
async def run(root: Root) -> AsyncIterator[Running]:
    async with running(root) as found:
        yield found


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", KINDS)
async def test_each_of_many_calls_is_answered_once_by_its_id(run: Running, kind: str, era: str) -> None:
    async with pipe(kind, run, era) as client:
        await client.tell(*(send(f"call {n}", f"message {n}", era) for n in range(MANY)))
        answers = await client.answers(MANY)
        await client.tell(request("last", "tools/list", era))
        assert (await client.answer())["id"] == "last"
    assert sorted(answer["id"] for answer in answers) == sorted(f"call {n}" for n in range(MANY))
    bodies = {message.id: message.body for message in run.service.accepted("bob")}
    assert len(bodies) == MANY
    for answer in answers:
        told = bodies[answer["result"]["structuredContent"]["message_id"]]
        assert told == f"message {answer['id'].removeprefix('call ')}"


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", DUPLEX)
async def test_messages_are_accepted_in_the_order_of_their_lines(run: Running, kind: str, era: str) -> None:
    async with pipe(kind, run, era) as client:
        mixed = [
            message
            for n in range(MANY)
            for message in (
                send(n, f"{n}", era) if n % 3 else send(n, f"{n}", era, meta={"progressToken": f"t{n}"}),
                call(f"list {n}", "list_peers", era),
            )
        ]
        await client.tell(*mixed)
        await client.answers(len(mixed))
    assert [message.body for message in run.service.accepted("bob")] == [f"{n}" for n in range(MANY)]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", KINDS)
async def test_slow_calls_do_not_hold_up_fast_ones(run: Running, kind: str, era: str) -> None:
    async with pipe(kind, run, era) as client:
        slow = [send(f"slow {n}", f"slow {n}", era, wait_seconds=100) for n in range(20)]
        fast = [call(f"fast {n}", "queue_status", era) for n in range(20)]
        await client.tell(*(message for pair in zip(slow, fast, strict=True) for message in pair))
        first = await client.answers(20)
        assert {answer["id"] for answer in first} == {f"fast {n}" for n in range(20)}
        with anyio.fail_after(20):
            while len(run.service.accepted("bob")) < 20:  # noqa: ASYNC110
                await anyio.sleep(0.001)
        accepted = run.service.accepted("bob")
        for message in reversed(accepted):
            run.service.consume(message.id)
        second = await client.answers(20)
    by_id = {message.id: message.body for message in accepted}
    for answer in second:
        told = answer["result"]["structuredContent"]
        assert (told["status"], by_id[told["message_id"]]) == ("delivered", answer["id"])


@pytest.mark.parametrize("kind", KINDS)
async def test_progress_goes_to_the_token_of_its_own_call(run: Running, kind: str) -> None:
    era = ERAS[0]
    async with pipe(kind, run, era) as client:
        tokens = ["a", "b", 0, -1, 2**53, "ü"]
        await client.tell(*(send(f"{t!r}", f"{t!r}", era, meta={"progressToken": t}, wait_seconds=100) for t in tokens))
        told: list[object] = []
        while len(told) < len(tokens):
            message = await client.next()
            assert message["method"] == "notifications/progress"
            told.append(message["params"]["progressToken"])
        assert sorted(map(repr, told)) == sorted(map(repr, tokens))
        for letter in run.service.accepted("bob"):
            run.service.consume(letter.id)
        assert {answer["id"] for answer in await client.answers(len(tokens))} == {f"{t!r}" for t in tokens}


@pytest.mark.parametrize("era", ERAS)
async def test_requests_on_one_http_connection_are_answered_in_their_order(run: Running, era: str) -> None:
    async with pipe("http", run, era) as client:
        assert isinstance(client, HttpPipe)
        connection = await client.connect()
        posts = []
        for n in range(MANY):
            headers = dict(client.headers)
            if era == ERAS[1]:
                headers |= {"Mcp-Method": "tools/call", "Mcp-Name": "send_to_peer"}
            posts.append(connection.post("/mcp", encoded(send(n, f"{n}", era)), headers))
        async with connection.stream, anyio.create_task_group() as group:
            group.start_soon(connection.stream.send, b"".join(posts))
            bodies = [(await connection.response())[2].decode() for _ in range(MANY)]
    ids = [int(body.partition('"id":')[2].partition(",")[0].partition("}")[0]) for body in bodies]
    assert all(one < other for one, other in pairwise(ids))
    assert [message.body for message in run.service.accepted("bob")] == [f"{n}" for n in range(MANY)]


@pytest.mark.parametrize("kind", DUPLEX)
async def test_a_cancel_in_the_middle_of_a_pipeline_takes_only_its_own(run: Running, kind: str) -> None:
    async with pipe(kind, run, ERAS[0]) as client:
        lines = [send(n, f"{n}", wait_seconds=100) for n in range(60)]
        await client.tell(*lines[:40], *(cancelled(n) for n in range(0, 40, 2)), *lines[40:])
        with anyio.fail_after(20):
            while len(run.service.accepted("bob")) < 60:  # noqa: ASYNC110
                await anyio.sleep(0.001)
        for message in run.service.accepted("bob"):
            run.service.consume(message.id)
        kept = {*range(1, 40, 2), *range(40, 60)}
        assert {answer["id"] for answer in await client.answers(len(kept))} == kept
        await client.tell(request("last", "ping"))
        assert (await client.answer())["id"] == "last"
    assert [message.body for message in run.service.accepted("bob")] == [f"{n}" for n in range(60)]
