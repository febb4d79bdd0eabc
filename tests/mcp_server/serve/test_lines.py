"""JSON lines on the unix socket: hello, MCP, malformed lines, limits."""

import json
import os
import socket
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import pytest

from mcp_server.serve.options import ServeOptions
from tests.mcp_server.fronts import ALICE, BOB, Lines, Running, control, lines, running
from transport.identity import Identity
from transport.paths import Root

LIMIT = 64 * 1024
OPTIONS = ServeOptions(port=None, message_bytes=LIMIT, header_seconds=0.5, stop_seconds=1.0)
INITIALIZE: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": "first",
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
PING = {"jsonrpc": "2.0", "id": 7, "method": "ping"}


@pytest.fixture
async def run(root: Root) -> AsyncIterator[Running]:
    async with running(root, options=OPTIONS) as found:
        yield found


def call(number: int, tool: str, **arguments: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


async def greet(connection: Lines) -> None:
    await connection.write(INITIALIZE, INITIALIZED)
    assert (await connection.read())["id"] == "first"


async def test_hello_tells_who_the_server_takes_us_for(run: Running) -> None:
    token = run.credentials.credential_for(ALICE)
    async with lines(run.socket) as connection:
        answer = await connection.ask({"peerwake": 1, "role": "control", "credential": token})
    assert answer == {
        "ok": True,
        "version": "0.0.test",
        "pid": os.getpid(),
        "identity": "claude-alice",
        "operator": False,
    }


async def test_without_a_hello_the_first_line_is_mcp_and_the_kernel_tells_who(run: Running) -> None:
    with run.service.this_process_is(BOB):
        async with lines(run.socket) as connection:
            await greet(connection)
            await connection.write(call(1, "send_to_peer", personality="alice", message="hi"))
            answer = await connection.read()
    assert answer["result"]["structuredContent"]["status"] == "queued"
    assert [message.sender for message in run.service.accepted("alice")] == [BOB]


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        ({"role": "mcp", "credential": "pw1.claude-alice.forged"}, "bad-credential"),
        ({"role": "king"}, "invalid"),
        ({"role": "mcp", "peerwake": 2}, "invalid"),
        ({"role": "mcp", "credential": 5}, "not-allowed"),
        ({"role": "control", "cwd": ["/"]}, "not-allowed"),
    ],
)
async def test_a_bad_hello_is_answered_and_closed(run: Running, hello: dict[str, Any], code: str) -> None:
    async with lines(run.socket) as connection:
        answer = await connection.ask({"peerwake": 1} | hello)
        assert answer["ok"] is False
        assert answer["error"]["code"] == code
        assert await connection.is_closed()


async def test_a_session_cannot_take_another_credential(run: Running) -> None:
    with run.service.this_process_is(BOB):
        async with lines(run.socket) as connection:
            token = run.credentials.credential_for(ALICE)
            answer = await connection.ask({"peerwake": 1, "role": "mcp", "credential": token})
    assert answer["error"]["code"] == "not-allowed"


@pytest.mark.parametrize("line", [b"{", b"{]}", b"nonsense", b"\xff\xfe\x00", b"[" * 5000])
async def test_a_malformed_line_is_answered_and_the_connection_goes_on(run: Running, line: bytes) -> None:
    async with lines(run.socket) as connection:
        await greet(connection)
        answer = await connection.ask(line)
        assert (answer["id"], answer["error"]["code"]) == (None, -32700)
        assert (await connection.ask(PING))["result"] == {}


@pytest.mark.parametrize(
    ("value", "answered"),
    [
        ([PING], None),
        (1, None),
        ({"jsonrpc": "1.0", "id": 3, "method": "ping"}, 3),
        (PING | {"params": []}, 7),
        (PING | {"id": True}, None),
        (PING | {"id": None}, None),
        ({"jsonrpc": "2.0", "id": "a"}, "a"),
    ],
)
async def test_json_that_is_no_message_is_answered(run: Running, value: object, answered: object) -> None:
    async with lines(run.socket) as connection:
        await greet(connection)
        answer = await connection.ask(value)
        assert (answer["id"], answer["error"]["code"]) == (answered, -32600)
        assert "pydantic" not in answer["error"]["message"]
        assert (await connection.ask(PING))["result"] == {}


async def test_half_a_surrogate_pair_is_answered_with_its_id(run: Running) -> None:
    async with lines(run.socket) as connection:
        await greet(connection)
        line = json.dumps(call(5, "send_to_peer", personality="bob", message="x")).replace('"x"', '"\\ud800"')
        answer = await connection.ask(line.encode())
    assert answer["id"] == 5
    assert "surrogate" in answer["error"]["message"]
    assert run.service.accepted("bob") == []


async def test_a_line_over_the_limit_is_answered_and_closed(run: Running) -> None:
    async with lines(run.socket) as connection:
        await greet(connection)
        answer = await connection.ask(json.dumps(call(5, "send_to_peer", message="x" * LIMIT * 3)).encode())
        assert f"{LIMIT:,} bytes" in answer["error"]["message"]
        assert await connection.is_closed()


async def test_a_first_line_over_the_limit_is_answered_and_closed(run: Running) -> None:
    async with lines(run.socket) as connection:
        answer = await connection.ask(b'{"peerwake": 1, "x": "' + b"x" * LIMIT * 3 + b'"}')
        assert answer["ok"] is False
        assert await connection.is_closed()


@pytest.mark.parametrize("sent", [b"", b" \n", b'{"peerwake": 1, "role": ', b"POST /mcp HT"])
async def test_who_says_nothing_whole_is_cut_off(run: Running, sent: bytes) -> None:
    async with lines(run.socket) as connection:
        if sent:
            await connection.stream.send(sent)
        assert await connection.is_closed()


async def test_blank_lines_mean_nothing(run: Running) -> None:
    async with lines(run.socket) as connection:
        await connection.stream.send(b"\n  \n")
        await greet(connection)
        await connection.stream.send(b"\n\r\n")
        assert (await connection.ask(PING))["result"] == {}


async def test_two_hundred_pipelined_sends_are_accepted_in_their_order(run: Running) -> None:
    async with lines(run.socket) as connection:
        await greet(connection)
        calls = [call(number, "send_to_peer", personality="bob", message=str(number)) for number in range(200)]
        await connection.write(*calls)
        answers = [await connection.read() for _ in calls]
    assert {answer["id"] for answer in answers} == set(range(200))
    assert not any(answer["result"]["isError"] for answer in answers)
    assert [message.body for message in run.service.accepted("bob")] == [str(number) for number in range(200)]


async def test_a_cancelled_call_is_not_answered_and_its_message_is_kept(run: Running) -> None:
    run.service.waking.add("bob")
    async with lines(run.socket) as connection:
        await greet(connection)
        await connection.write(call(1, "send_to_peer", personality="bob", message="x"))
        await connection.write({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
        assert (await connection.ask(PING))["id"] == 7
    assert [message.body for message in run.service.accepted("bob")] == ["x"]


async def test_a_removed_peers_open_connection_is_refused_at_its_next_call(run: Running) -> None:
    run.service.add("dora", "codex")
    token = run.credentials.credential_for(Identity("codex", "dora"))
    async with lines(run.socket) as connection:
        assert (await connection.ask({"peerwake": 1, "role": "mcp", "credential": token}))["ok"]
        await greet(connection)
        del run.service.rows["dora"]
        answer = await connection.ask(call(1, "list_peers"))
    assert answer["result"]["isError"] is True
    assert answer["result"]["structuredContent"]["code"] == "not-allowed"


@pytest.mark.parametrize("greeting", [[INITIALIZE], [INITIALIZE, INITIALIZED]])
async def test_a_client_that_does_not_read_is_not_read_either(run: Running, greeting: list[dict[str, Any]]) -> None:
    """Its answers wait in bounded buffers, and others are served meanwhile."""
    for number in range(40):
        run.service.add(f"peer{number}", description="d" * 400)
    deaf = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    deaf.connect(run.socket)
    deaf.settimeout(0.5)
    numbers, written = count(), 0
    with pytest.raises(TimeoutError):
        deaf.sendall(b"".join(json.dumps(one).encode() + b"\n" for one in greeting))
        while written < 64 << 20:
            calls = [json.dumps(call(next(numbers), "list_peers")).encode() + b"\n" for _ in range(500)]
            written += await _send_some(deaf, b"".join(calls))
    async with control(run.socket) as other:
        assert (await other.ask({"id": 1, "verb": "ping"}))["ok"]
    deaf.close()
    assert written < 32 << 20


async def _send_some(connection: socket.socket, data: bytes) -> int:
    import anyio.to_thread

    await anyio.to_thread.run_sync(connection.sendall, data)
    return len(data)


async def test_a_fault_while_it_is_found_out_who_calls_is_answered(
    run: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve_pane(pid: int) -> Identity | None:
        raise RuntimeError("nobody thought of this")

    monkeypatch.setattr(run.service, "resolve_pane", resolve_pane)
    async with lines(run.socket) as connection:
        answer = await connection.ask({"peerwake": 1, "role": "control"})
        assert (answer["ok"], answer["error"]["code"]) == (False, "internal")
        assert await connection.is_closed()
    assert "nobody thought of this" in (run.root.logs / "lifecycle.log").read_text()
