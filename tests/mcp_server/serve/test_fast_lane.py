"""Which lines go past the SDK, and that nobody can tell from the answers."""

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from mcp_server.serve.callers import Caller
from mcp_server.serve.fast_lane import FastLane, plain_call
from mcp_server.serve.options import ServeOptions
from tests.mcp_server.fronts import Lines, Running, lines, running
from transport.paths import Root

OPERATOR = Caller(None, is_operator=True)
INITIALIZE: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": "first",
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
SEND = {"personality": "bob", "message": "hi"}


@pytest.fixture
async def run(root: Root) -> AsyncIterator[Running]:
    async with running(root, options=ServeOptions(port=None, stop_seconds=1.0)) as found:
        yield found


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the lines that the lane took, as they come."""
    found: list[bytes] = []
    takes = FastLane.takes

    def watched(lane: FastLane, line: bytes) -> bool:
        is_taken = takes(lane, line)
        found.extend([line] if is_taken else [])
        return is_taken

    monkeypatch.setattr(FastLane, "takes", watched)
    return found


def call(name: str = "send_to_peer", request_id: object = 1, **changes: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": SEND} | changes
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}


def encoded(message: object) -> bytes:
    return json.dumps(message).encode()


async def greet(connection: Lines) -> None:
    await connection.write(INITIALIZE, INITIALIZED)
    assert (await connection.read())["id"] == "first"


@pytest.mark.parametrize("request_id", [0, 7, "a", ""])
@pytest.mark.parametrize("meta", [{}, {"_meta": {}}, {"_meta": {"peerwake/request": "r"}}])
def test_a_plain_call_is_read(request_id: object, meta: dict[str, Any]) -> None:
    found = plain_call(encoded(call(request_id=request_id, **meta)), OPERATOR)
    assert found is not None
    assert found[0] == request_id
    assert (found[1].name, found[1].arguments, found[1].meta) == ("send_to_peer", SEND, meta.get("_meta"))
    assert (found[1].caller, found[1].progress) == (OPERATOR, None)


@pytest.mark.parametrize(
    "message",
    [
        [call()],
        "tools/call",
        call() | {"jsonrpc": "1.0"},
        call() | {"method": "tools/list"},
        call() | {"more": 1},
        call() | {"params": None},
        call() | {"params": [1]},
        {key: value for key, value in call().items() if key != "id"},
        *(call(request_id=bad) for bad in (True, None, 1.5, [], {})),
        *(call(name=bad) for bad in ("no_such_tool", 5, None, ["send_to_peer"])),
        *(call(arguments=bad) for bad in (None, [], "x")),
        call(task={"ttl": 1}),
        *(call(_meta=bad) for bad in ([], "x", {"progressToken": 1})),
        call(_meta={"io.modelcontextprotocol/protocolVersion": "2026-07-28"}),
    ],
)
def test_anything_else_is_left_to_the_sdk(message: object) -> None:
    assert plain_call(encoded(message), OPERATOR) is None


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b'{"method": "tools/call"',
        encoded(call()).replace(b'"hi"', b'"\\ud800"'),
        encoded(call()).replace(b'"hi"', b'"\xff"'),
        b"\xef\xbb\xbf" + encoded(call()),
        json.dumps(call()).encode("utf-16"),
        b'{"tools/call":' + b"[" * 100_000,
    ],
)
def test_what_is_not_clean_json_is_left_to_the_sdk(line: bytes) -> None:
    assert plain_call(line, OPERATOR) is None


async def test_a_call_is_answered_alike_on_both_ways(run: Running, taken: list[bytes]) -> None:
    async with lines(run.socket) as connection:
        await greet(connection)
        short = await connection.ask(call(request_id=1))
        long = await connection.ask(call(request_id=2, _meta={"progressToken": "p"}))
    assert len(taken) == 1
    assert short["result"].keys() == long["result"].keys()
    assert short["result"]["isError"] is long["result"]["isError"] is False
    assert short["result"]["structuredContent"].keys() == long["result"]["structuredContent"].keys()
    assert len(run.service.accepted("bob")) == 2


async def test_a_refusal_is_answered_alike_on_both_ways(run: Running, taken: list[bytes]) -> None:
    wrong = {"personality": "nobody", "message": "hi", "more": 1}
    async with lines(run.socket) as connection:
        await greet(connection)
        short = await connection.ask(call(arguments=wrong))
        long = await connection.ask(call(arguments=wrong, _meta={"progressToken": "p"}))
    assert len(taken) == 1
    assert short["result"] == long["result"]


async def test_nothing_is_taken_before_the_handshake(run: Running, taken: list[bytes]) -> None:
    async with lines(run.socket) as connection:
        await connection.write(call(), INITIALIZE, INITIALIZED)
        await connection.read()
        await connection.write(call(request_id=2))
    assert taken == []


async def test_calls_behind_the_handshake_without_a_pause_keep_their_order(run: Running, taken: list[bytes]) -> None:
    calls = [call(request_id=number, arguments=SEND | {"message": str(number)}) for number in range(20)]
    async with lines(run.socket) as connection:
        await connection.write(INITIALIZE, INITIALIZED, *calls)
        answers = [await connection.read() for _ in range(21)]
    assert len(taken) == 20
    assert {answer["id"] for answer in answers} == {"first", *range(20)}
    assert [message.body for message in run.service.accepted("bob")] == [str(number) for number in range(20)]


async def test_an_id_that_is_in_use_is_not_taken_twice(run: Running, taken: list[bytes]) -> None:
    run.service.waking.add("bob")
    async with lines(run.socket) as connection:
        await greet(connection)
        await connection.write(call(request_id=1), call(request_id=1), call("list_peers", 2, arguments={}))
        assert (await connection.read())["id"] == 2
    assert [json.loads(line)["id"] for line in taken] == [1]


@pytest.mark.parametrize("end", ["answered", "taken back"])
async def test_nothing_overtakes_a_call_that_the_sdk_has_and_the_lane_opens_after_it(
    run: Running, taken: list[bytes], end: str
) -> None:
    run.service.waking.add("bob")
    slow = call(
        request_id=1, arguments=SEND | {"wait_seconds": 0.2 if end == "answered" else 60}, _meta={"progressToken": 1}
    )
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    async with lines(run.socket) as connection:
        await greet(connection)
        await connection.write(slow, call("list_peers", 2, arguments={}))
        while (await connection.read()).get("id") != 2:
            pass
        assert taken == []
        if end == "answered":
            while (await connection.read()).get("id") != 1:
                pass
        else:
            await connection.write(cancel)
        assert (await connection.ask(call("list_peers", 3, arguments={})))["id"] == 3
    assert [json.loads(line)["id"] for line in taken] == [3]


async def test_a_call_taken_back_in_the_same_breath_is_accepted_and_not_answered(
    run: Running, taken: list[bytes]
) -> None:
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    run.service.waking.add("bob")
    async with lines(run.socket) as connection:
        await connection.write(INITIALIZE, INITIALIZED, call(request_id=1), cancel, call("list_peers", 2, arguments={}))
        assert [(await connection.read())["id"] for _ in range(2)] == ["first", 2]
    assert len(run.service.accepted("bob")) == 1
    assert len(taken) == 2


async def test_a_call_whose_caller_leaves_at_once_is_accepted(run: Running, taken: list[bytes]) -> None:
    async with lines(run.socket) as connection:
        await greet(connection)
        await connection.write(call(request_id=1))
    with anyio.fail_after(5):
        while True:
            if not run.front.connections and len(run.service.accepted("bob")) == 1:
                break
            await anyio.sleep(0.01)


async def test_a_server_that_ends_takes_nothing_more(run: Running, taken: list[bytes]) -> None:
    """A bridge sends the call to the next server, which is to be the only one that accepts it."""
    async with lines(run.socket) as connection:
        await greet(connection)
        run.front._lines.mute()
        await connection.write(call())
        assert await connection.is_closed()
    assert taken == []
    assert run.service.accepted("bob") == []


async def test_calls_beside_the_reader_and_through_it_keep_their_order(run: Running, taken: list[bytes]) -> None:
    """A ping between them goes to the SDK, and what follows it waits behind it."""
    async with lines(run.socket) as connection:
        await greet(connection)
        for start in range(0, 60, 6):
            sends = [
                call(request_id=number, arguments=SEND | {"message": str(number)}) for number in range(start, start + 6)
            ]
            ping = {"jsonrpc": "2.0", "id": f"p{start}", "method": "ping"}
            data = b"".join(encoded(one) + b"\n" for one in (*sends[:2], ping, *sends[2:]))
            await connection.stream.send(data[:-40])
            await connection.stream.send(data[-40:])
        answers = [await connection.read() for _ in range(70)]
    assert len({answer["id"] for answer in answers}) == 70
    assert [message.body for message in run.service.accepted("bob")] == [str(number) for number in range(60)]
    assert len(taken) == 60


async def test_a_call_that_still_waits_ends_with_its_connection(run: Running, taken: list[bytes]) -> None:
    run.service.waking.add("bob")
    async with lines(run.socket) as connection:
        await greet(connection)
        await connection.write(call(request_id=1), call("list_peers", 2, arguments={}))
        assert (await connection.read())["id"] == 2
        assert run.front.connections == 1
    with anyio.fail_after(5):
        while True:
            if not run.front.connections:
                break
            await anyio.sleep(0.01)
    assert len(taken) == 2
