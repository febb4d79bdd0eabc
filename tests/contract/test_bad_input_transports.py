"""What is no message at all, on every transport: answered, and the connection, the server and the others go on.

Checklist of issue 2: a Host or Origin that is not ours, a body over the limit, malformed JSON on every transport.
"""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.bad_input import HTTP, credential, private_world, refused, unchanged
from tests.contract.wires import (
    ACCEPT,
    KINDS,
    SocketWire,
    UnixHttp,
    Wire,
    in_process_wire,
    tcp,
    wire,
)
from tests.live.world import World

pytestmark = pytest.mark.live

MESSAGE_LIMIT = 1 << 20
PING = b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}'
SEND = {"name": "send_to_peer", "arguments": {"personality": "alice", "message": "psst", "wait_seconds": 0}}
CALL = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": SEND}).encode()
NOT_JSON = {
    "words": b"hello",
    "half an object": b'{"jsonrpc": "2.0", "id": 1, "method": "ping"',
    "two objects": PING + PING,
    "single quotes": b"{'jsonrpc': '2.0'}",
    "a trailing comma": b'{"jsonrpc": "2.0", "id": 1, "method": "ping",}',
    "not UTF-8": b'{"jsonrpc": "2.0", "id": 1, "method": "\xff\xfe"}',
    "a control character in a string": b'{"jsonrpc": "2.0", "id": 1, "method": "p\x00ing"}',
    "a byte order mark": b"\xef\xbb\xbf" + PING,
    "nested too deeply": b"[" * 200_000 + b"]" * 200_000,
    "zeros": b"\x00\x00\x00\x00",
}
NO_MESSAGE: dict[str, object] = {
    "a batch": [{"jsonrpc": "2.0", "id": 1, "method": "ping"}],
    "an empty batch": [],
    "a number": 7,
    "a string": "ping",
    "nothing": None,
    "an empty object": {},
    "no version": {"id": 1, "method": "ping"},
    "version 1": {"jsonrpc": "1.0", "id": 1, "method": "ping"},
    "no method": {"jsonrpc": "2.0", "id": 1},
    "a method that is a number": {"jsonrpc": "2.0", "id": 1, "method": 7},
    "parameters in a row": {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": ["send_to_peer"]},
    "an id that is an object": {"jsonrpc": "2.0", "id": {}, "method": "ping"},
    "an id that is true": {"jsonrpc": "2.0", "id": True, "method": "ping"},
    "an id that is half": {"jsonrpc": "2.0", "id": 0.5, "method": "ping"},
    "an id that is null": {"jsonrpc": "2.0", "id": None, "method": "ping"},
}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with private_world(**HTTP) as world:
        world.create("alice")
        world.create("bob")
        world.serve()
        yield world


@pytest.fixture(scope="module")
def wires(world: World) -> Iterator[dict[str, Wire]]:
    token = credential(world, "scripted-bob")
    made: dict[str, Wire] = {kind: wire(kind, world, token) for kind in KINDS}
    made["in-process"] = in_process_wire(world, token).initialize()
    control = SocketWire(world.root.server_socket, {"role": "control", "credential": token})
    assert control.greeting["ok"], control.greeting
    made["control"] = control
    yield made
    for each in made.values():
        each.close()


@pytest.mark.parametrize("kind", [*KINDS, "in-process"])
@pytest.mark.parametrize("case", NOT_JSON)
def test_malformed_json_is_answered_and_the_connection_goes_on(
    world: World, wires: dict[str, Wire], case: str, kind: str
) -> None:
    with unchanged(world):
        answer = wires[kind].exchange(NOT_JSON[case])
    assert answer["error"]["code"] in (-32700, -32600), answer
    assert answer.get("id") is None
    assert len(answer["error"]["message"]) < 300
    assert wires[kind].request("ping", {})["result"] is not None


@pytest.mark.parametrize("kind", [*KINDS, "in-process"])
@pytest.mark.parametrize("case", NO_MESSAGE)
def test_json_that_is_no_message_is_answered_and_the_connection_goes_on(
    world: World, wires: dict[str, Wire], case: str, kind: str
) -> None:
    with unchanged(world):
        answer = wires[kind].exchange(json.dumps(NO_MESSAGE[case]).encode())
    assert answer["error"]["code"] in (-32600, -32601, -32602), answer
    assert wires[kind].request("ping", {})["result"] is not None


@pytest.mark.parametrize("case", NOT_JSON)
def test_malformed_json_is_answered_by_the_control_protocol(world: World, wires: dict[str, Wire], case: str) -> None:
    with unchanged(world):
        answer = wires["control"].exchange(NOT_JSON[case])
    assert (answer["ok"], answer["error"]["code"], answer["error"]["field"]) == (False, "invalid", "request")
    assert wires["control"].exchange(b'{"id": 9, "verb": "ping"}')["ok"] is True


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ([], "request"),
        ({"id": 1}, "request"),
        ({"id": 1, "verb": 7}, "request"),
        ({"id": 1, "verb": "destroy"}, "verb"),
        ({"id": 1, "verb": "send", "args": []}, "args"),
        ({"id": 1, "verb": "send", "args": {"to": "alice"}}, "args"),
        ({"id": 1, "verb": "send", "args": {"personality": "alice"}}, "message"),
        ({"id": 1, "verb": "list", "args": {"limit": 0}}, "limit"),
        ({"id": 1, "verb": "queue", "args": {"personality": "No!"}}, "personality"),
        ({"id": 1, "verb": "message", "args": {}}, "message_id"),
    ],
)
def test_a_bad_verb_is_answered_by_field(world: World, wires: dict[str, Wire], request_: object, field: str) -> None:
    with unchanged(world):
        answer = wires["control"].exchange(json.dumps(request_).encode())
    assert (answer["ok"], answer["error"]["code"], answer["error"]["field"]) == (False, "invalid", field)
    assert wires["control"].exchange(b'{"id": 9, "verb": "ping"}')["ok"] is True


def status(
    world: World, path: str, body: bytes | Iterator[bytes], *, unix: bool = False, **headers: str
) -> tuple[int, Any]:
    """Post with these headers and return the status and the error."""
    connection = UnixHttp(world.root.server_socket) if unix else tcp(world)
    given = ACCEPT | {"Authorization": f"Bearer {credential(world, 'scripted-bob')}"} | headers
    try:
        is_chunked = "Transfer-Encoding" in headers
        connection.request("GET" if path == "/sse" else "POST", path, body, given, encode_chunked=is_chunked)
        with connection.getresponse() as response:
            assert "access-control-allow-origin" not in response.headers
            return response.status, json.loads(response.read())["error"]
    finally:
        connection.close()


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
@pytest.mark.parametrize("path", ["/mcp", "/sse", "/messages"])
@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8765", "localhost.evil.example", "127.0.0.1.evil.example"),
        *("evil.example@localhost", "169.254.169.254", "[::2]", "0.0.0.0", "", "localhost,evil.example"),
    ],
)
def test_a_host_that_is_not_ours_is_refused(world: World, path: str, host: str, unix: bool) -> None:
    with unchanged(world):
        code, error = status(world, path, CALL, unix=unix, Host=host)
    assert (code, error["data"]["code"]) == (421, "bad-host")
    assert "Host" in error["message"]


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
@pytest.mark.parametrize("path", ["/mcp", "/sse", "/messages"])
@pytest.mark.parametrize(
    "origin",
    [
        *("http://evil.example", "https://localhost.evil.example", "null", "file://", "localhost", "*"),
        *("http://127.0.0.1.evil.example:80", "chrome-extension://abcdef", "http://localhost@evil.example"),
    ],
)
def test_an_origin_that_is_not_ours_is_refused(world: World, path: str, origin: str, unix: bool) -> None:
    with unchanged(world):
        code, error = status(world, path, CALL, unix=unix, Origin=origin)
    assert (code, error["data"]["code"]) == (403, "bad-origin")
    assert "origin" in error["message"]


def test_a_browsers_preflight_gets_no_permission(world: World) -> None:
    connection = tcp(world)
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    connection.request("OPTIONS", "/mcp", headers=headers)
    with connection.getresponse() as response:
        assert response.status == 403
        assert not [name for name in response.headers if name.lower().startswith("access-control")]
    connection.close()


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
@pytest.mark.parametrize("path", ["/mcp", "/messages"])
def test_a_body_over_the_limit_is_refused_before_it_is_read(world: World, path: str, unix: bool) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(3):
            yield b"x" * (MESSAGE_LIMIT // 2)

    with unchanged(world):
        declared = status(world, path, b"", unix=unix, **{"Content-Length": str(1 << 30)})
        sent = status(world, path, b"x" * (MESSAGE_LIMIT + 1), unix=unix)
        chunked = status(world, path, chunks(), unix=unix, **{"Transfer-Encoding": "chunked"})
    for code, error in (declared, sent, chunked):
        assert (code, error["data"]["code"]) == (413, "body-too-large")
        assert "1,048,576" in error["message"]


def long_call() -> bytes:
    """Return a call of more than a line may have."""
    arguments = {"personality": "alice", "message": "x" * MESSAGE_LIMIT}
    params = {"name": "send_to_peer", "arguments": arguments}
    return json.dumps({"jsonrpc": "2.0", "id": "long", "method": "tools/call", "params": params}).encode()


def test_a_line_over_the_limit_is_answered_and_closes_its_connection_only(world: World) -> None:
    token = credential(world, "scripted-bob")
    with unchanged(world):
        for role in ("mcp", "control"):
            with SocketWire(world.root.server_socket, {"role": role, "credential": token}) as lines:
                assert lines.greeting["ok"]
                answer = lines.exchange(long_call())
                assert limit_named(answer), answer
                with pytest.raises(OSError):
                    lines.exchange(PING)
        with SocketWire(world.root.server_socket, None) as lines:
            assert limit_named(lines.exchange(long_call()))


def limit_named(answer: dict[str, Any]) -> bool:
    text = str(answer["error"]["message"])
    return "1,048,576" in text or "too long" in text


def test_a_line_over_the_limit_is_answered_by_the_bridge_and_it_goes_on(world: World, wires: dict[str, Wire]) -> None:
    with unchanged(world):
        answer = wires["bridge"].exchange(long_call())
    assert (answer["id"], answer["error"]["code"]) == ("long", -32600)
    assert "1,048,576" in answer["error"]["message"]
    assert wires["bridge"].request("ping", {})["result"] is not None


@pytest.mark.parametrize(
    "sent",
    [
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"POST /mcp HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
    ],
    ids=["no path", "TLS", "SSH", "version", "length", "two hosts", "no host", "two lengths", "long header"],
)
@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_bytes_that_are_no_http_are_refused(world: World, unix: bool, sent: bytes) -> None:
    if unix:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(world.root.server_socket))
    else:
        address = json.loads(world.root.discovery.read_text())["http"].removeprefix("http://").split(":")
        connection = socket.create_connection((address[0], int(address[1])))
    with connection, unchanged(world):
        connection.settimeout(20)
        connection.sendall(sent)
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 4"), answer[:200]


def test_a_server_on_standard_input_needs_a_pipe(world: World) -> None:
    refused(world.run("serve", "--transport", "stdio", "--in-process"), 1, "standard input", "pipe it", "--in-process")


def test_a_connection_that_ends_in_the_middle_is_nothing(world: World) -> None:
    halves = (
        CALL[:-20],
        b'{"peerwake": 1, "role"',
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{",
    )
    with unchanged(world):
        for half in halves:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(world.root.server_socket))
                connection.sendall(half)


def test_what_another_client_does_wrong_is_not_told_to_us(world: World, wires: dict[str, Wire]) -> None:
    for kind in (*KINDS, "in-process"):
        structure = wires[kind].send(personality="alice", message=kind, wait_seconds=0)
        assert structure["status"] in ("queued", "delivered"), (kind, structure)
    assert "failed" not in world.log("lifecycle")
    assert "Traceback" not in world.log("server")
