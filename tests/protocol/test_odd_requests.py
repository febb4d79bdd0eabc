"""Requests of odd shapes and at odd times, over every transport, in both eras: each is answered, none harms another."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from tests.mcp_server.fronts import Running, running
from tests.protocol.messages import (
    ENVELOPE,
    ERAS,
    HANDSHAKE,
    INITIALIZE,
    INITIALIZED,
    MODERN,
    Message,
    call,
    cancelled,
    encoded,
    notification,
    request,
    send,
)
from tests.protocol.pipes import DUPLEX, KINDS, HttpConnection, HttpPipe, Pipe, SsePipe, connect, pipe
from transport.paths import Root

PARSE, INVALID, NO_METHOD, BAD_PARAMS, BAD_HEADER = -32700, -32600, -32601, -32602, -32020
GOOD_IDS: list[object] = [0, -1, "", "x" * 10_000, "\0\u2028ü", 2**63, -(2**63) - 1, 10**200, "1", " 1 "]
BAD_IDS = {"1.0": INVALID, "1e3": INVALID, "null": INVALID, "true": INVALID, "Infinity": INVALID, "9" * 5000: PARSE}
SHARED = [("http", HANDSHAKE), ("unix-http", HANDSHAKE)]
"""In a session of streamable HTTP the SDK finds the open response by the id alone: of two, one stays unanswered."""


@pytest.fixture
async def run(root: Root) -> AsyncIterator[Running]:
    async with running(root) as found:
        yield found


async def goes_on(client: Pipe, era: str) -> None:
    """Check that the next request is answered, and nothing came in between."""
    answer = await client.ask(request("after", "tools/list", era))
    assert (answer["id"], len(answer["result"]["tools"])) == ("after", 3)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", KINDS)
async def test_an_id_comes_back_as_it_was(run: Running, kind: str, era: str) -> None:
    async with pipe(kind, run, era) as client:
        for wanted in GOOD_IDS:
            for message in (call(wanted, "list_peers", era), request(wanted, "tools/list", era)):
                answer = await client.ask(message)
                assert (answer["id"], type(answer["id"])) == (wanted, type(wanted))
                assert "result" in answer
        await goes_on(client, era)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", KINDS)
async def test_an_id_that_is_none_is_refused(run: Running, kind: str, era: str) -> None:
    async with pipe(kind, run, era) as client:
        for literal, code in BAD_IDS.items():
            data = b'{"jsonrpc": "2.0", "id": %s, "method": "tools/list"}' % literal.encode()
            answer = await client.ask(data)
            assert (answer["id"], answer["error"]["code"]) == (None, code), literal
        await goes_on(client, era)


CALL: dict[str, Any] = {"name": "list_peers", "arguments": {}}
REQUESTS: dict[str, tuple[str, Message, int | None]] = {
    "a method nobody knows": ("no/such", {}, NO_METHOD),
    "logging": ("logging/setLevel", {"level": "debug"}, NO_METHOD),
    "prompts": ("prompts/list", {}, NO_METHOD),
    "a subscription": ("resources/subscribe", {"uri": "fleet://snapshot"}, NO_METHOD),
    "a method of the client": ("sampling/createMessage", {}, NO_METHOD),
    "a cursor that is a number": ("tools/list", {"cursor": 7}, BAD_PARAMS),
    "a cursor that is not ours": ("tools/list", {"cursor": "x"}, None),
    "no parameters": ("tools/call", {}, BAD_PARAMS),
    "a name that is a number": ("tools/call", {"name": 7}, BAD_PARAMS),
    "arguments in a row": ("tools/call", CALL | {"arguments": [1]}, BAD_PARAMS),
    "no arguments": ("tools/call", {"name": "list_peers"}, None),
    "arguments that are null": ("tools/call", CALL | {"arguments": None}, None),
    "a parameter nobody knows": ("tools/call", CALL | {"task": {"ttl": 1}}, None),
    "a token that is null": ("tools/call", CALL | {"_meta": {"progressToken": None}}, None),
    "a token that is half": ("tools/call", CALL | {"_meta": {"progressToken": 1.5}}, None),
    "a token that is an object": ("tools/call", CALL | {"_meta": {"progressToken": {}}}, None),
    "a tool nobody has": ("tools/call", CALL | {"name": "no_such"}, BAD_PARAMS),
    "no uri": ("resources/read", {}, BAD_PARAMS),
    "a uri that is a number": ("resources/read", {"uri": 5}, BAD_PARAMS),
    "a uri that is none": ("resources/read", {"uri": "not a uri"}, BAD_PARAMS),
}
"""Method, parameters, and the code of the error; None where there is a result."""


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", KINDS)
async def test_odd_requests_are_answered(run: Running, kind: str, era: str) -> None:
    async with pipe(kind, run, era) as client:
        for name, (method, params, code) in REQUESTS.items():
            if era == MODERN and kind not in DUPLEX and code == BAD_PARAMS and "is a number" in name:
                code = BAD_PARAMS if "cursor" in name else BAD_HEADER
            answer = await client.ask(request(name, method, era, **params))
            got = answer["error"]["code"] if "error" in answer else None
            assert (answer["id"], got) == (name, code), answer
        await goes_on(client, era)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_ping_is_answered_where_there_is_one(run: Running, kind: str) -> None:
    for era in ERAS:
        async with pipe(kind, run, era) as client:
            answer = await client.ask(request(1, "ping", era))
            assert answer.get("result") == ({} if era == HANDSHAKE else None), answer
            await goes_on(client, era)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", DUPLEX)
async def test_what_needs_no_answer_gets_none(run: Running, kind: str, era: str) -> None:
    async with pipe(kind, run, era) as client:
        await client.tell(
            notification("notifications/nope", a=1),
            notification("tools/call", name="send_to_peer", arguments={"personality": "bob", "message": "unasked"}),
            INITIALIZED,
            notification("notifications/cancelled"),
            *(cancelled(odd) for odd in (None, {}, [], True, 1.5, "", "nobody", 10**400)),
            notification("notifications/progress", progressToken="z", progress=1),
            notification("notifications/progress", progressToken={}, progress="x"),
            {"jsonrpc": "2.0", "id": 77, "result": {}},
            {"jsonrpc": "2.0", "id": 77, "error": {"code": 1, "message": "x"}},
            {"jsonrpc": "2.0", "id": None, "error": {"code": 1, "message": "x"}},
            request("after", "tools/list", era),
        )
        assert (await client.answer())["id"] == "after"
    assert run.service.accepted("bob") == []


@pytest.mark.parametrize(("kind", "era"), [(kind, era) for kind in KINDS for era in ERAS if (kind, era) not in SHARED])
async def test_the_same_id_at_once_is_as_many_calls(run: Running, kind: str, era: str) -> None:
    async with pipe(kind, run, era) as client:
        texts = ["first", "second", "third"]
        await client.tell(*(send(7, text, era, wait_seconds=100) for text in texts), send("7", "text", era))
        assert (await client.answer())["id"] == "7"
        with anyio.fail_after(20):
            while len(run.service.accepted("bob")) < 4:  # noqa: ASYNC110
                await anyio.sleep(0.001)
        bodies = {message.id: message.body for message in run.service.accepted("bob")}
        for message_id in bodies:
            run.service.consume(message_id)
        answers = await client.answers(3)
        told = [(answer["id"], bodies[answer["result"]["structuredContent"]["message_id"]]) for answer in answers]
        assert sorted(told) == sorted((7, text) for text in texts)
        await goes_on(client, era)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_era_is_not_left(run: Running, kind: str) -> None:
    async with pipe(kind, run, HANDSHAKE) as client:
        again = await client.ask(INITIALIZE)
        if kind in DUPLEX:
            assert again["result"]["protocolVersion"] == HANDSHAKE
            assert (await client.ask(request(1, "tools/list", MODERN)))["error"]["code"] == INVALID
            assert (await client.ask(send(2, "hello", MODERN)))["error"]["code"] == INVALID
            assert run.service.accepted("bob") == []
        await goes_on(client, HANDSHAKE)
    async with pipe(kind, run, MODERN) as client:
        await goes_on(client, MODERN)
        assert "error" in await client.ask(INITIALIZE)
        bare = await client.ask(send(3, "hello"))
        assert (bare["id"], "error" in bare) == (3, True)
        half = send(4, "hello")
        half["params"]["_meta"] = {key: value for key, value in ENVELOPE.items() if "Version" not in key}
        assert "error" in await client.ask(half)
        assert run.service.accepted("bob") == []
        await goes_on(client, MODERN)


@pytest.mark.parametrize("kind", DUPLEX)
async def test_calls_before_the_handshake_are_refused_and_it_still_comes(run: Running, kind: str) -> None:
    async with pipe(kind, run, None) as client:
        for early in (send(1, "too early"), request(1, "tools/list"), request(1, "resources/list")):
            answer = await client.ask(early)
            assert (answer["id"], "error" in answer) == (1, True)
        await client.open(HANDSHAKE)
        assert (await client.ask(send(2, "in time")))["result"]["isError"] is False
    assert [message.body for message in run.service.accepted("bob")] == ["in time"]


@pytest.mark.parametrize("kind", DUPLEX)
async def test_calls_right_behind_the_handshake_are_taken_in_order(run: Running, kind: str) -> None:
    calls = [send(n, f"{n}") for n in range(50)]
    async with pipe(kind, run, None) as client:
        await client.tell(INITIALIZE, *calls[:25], INITIALIZED, *calls[25:])
        answers = await client.answers(51)
    assert {answer["id"] for answer in answers} == {"hello", *range(50)}
    assert answers[0]["id"] == "hello"
    taken = [answer["id"] for answer in answers if "result" in answer and answer["id"] != "hello"]
    assert set(taken) >= set(range(25, 50))
    assert [message.body for message in run.service.accepted("bob")] == [f"{n}" for n in sorted(taken)]


@pytest.mark.parametrize(
    ("version", "agreed"),
    [("2024-11-05", "2024-11-05"), ("2025-06-18", "2025-06-18"), ("1999-01-01", HANDSHAKE), (MODERN, HANDSHAKE)],
)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_version_is_agreed_on(run: Running, kind: str, version: str, agreed: str) -> None:
    async with pipe(kind, run, None) as client:
        wish = INITIALIZE | {"params": INITIALIZE["params"] | {"protocolVersion": version}}
        assert (await client.ask(wish))["result"]["protocolVersion"] == agreed


@pytest.mark.parametrize("kind", KINDS)
async def test_a_handshake_that_is_none_is_refused(run: Running, kind: str) -> None:
    async with pipe(kind, run, None) as client:
        for params in ({}, {"protocolVersion": 7}, INITIALIZE["params"] | {"capabilities": []}):
            assert (await client.ask(INITIALIZE | {"params": params}))["error"]["code"] == BAD_PARAMS
        await client.open(HANDSHAKE)
        await goes_on(client, HANDSHAKE)


@pytest.mark.parametrize("kind", ["http", "unix-http", "sse"])
async def test_a_body_without_its_end_is_no_request(run: Running, kind: str) -> None:
    async with pipe(kind, run, HANDSHAKE) as client:
        assert isinstance(client, SsePipe | HttpPipe)
        path, headers = (client.path, {}) if isinstance(client, SsePipe) else ("/mcp", client.headers)
        for text, last in (("whole", b"0\r\n\r\n"), ("cut off", b""), ("cut", b"0\r\n")):
            connection = client.posts if isinstance(client, SsePipe) else await client.connect()
            content = encoded(send(text, text))
            more = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
            head = connection.head("POST", path, None, headers | more)
            await connection.stream.send(head + b"%x\r\n%s\r\n" % (len(content), content) + last)
            if text == "whole":
                assert (await connection.response())[0] < 300
                assert kind != "sse" or (await client.answer())["id"] == text
            await connection.stream.aclose()
            if isinstance(client, SsePipe):
                client.post_on(HttpConnection(await connect(run, False), connection.token))
        await until_idle(run)
        await goes_on(client, HANDSHAKE)
        if isinstance(client, SsePipe):
            await client.posts.stream.aclose()
    assert [message.body for message in run.service.accepted("bob")] == ["whole"]


async def until_idle(run: Running) -> None:
    with anyio.fail_after(20):
        while run.front._in_flight.count:  # noqa: ASYNC110
            await anyio.sleep(0.002)
