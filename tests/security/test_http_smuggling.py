"""Requests whose end two readers see in different places, and clients that are slow on purpose, on both listeners."""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.contract.bad_input import HTTP, credential, private_world, senders, unchanged
from tests.contract.wires import INITIALIZE, SocketWire, tcp, wire
from tests.live.world import World, until

pytestmark = pytest.mark.live

SECONDS = 20.0
WHERE = ("tcp", "unix")
SEND = {"name": "send_to_peer", "arguments": {"personality": "alice", "message": "smuggled", "wait_seconds": 0}}
CALL = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": SEND}).encode()
FIRST = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": INITIALIZE}).encode()
MODERN = b"MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: send_to_peer\r\n"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with private_world(**HTTP) as world:
        world.create("alice")
        world.create("bob")
        world.serve()
        yield world


@pytest.fixture(params=WHERE)
def connection(world: World, request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    with connect(world, request.param) as made:
        yield made


def connect(world: World, where: str) -> socket.socket:
    made = socket.socket(socket.AF_INET if where == "tcp" else socket.AF_UNIX)
    made.settimeout(SECONDS)
    made.connect(("127.0.0.1", tcp(world).port) if where == "tcp" else str(world.root.server_socket))
    return made


def head(world: World, *lines: bytes, start: bytes = b"POST /mcp HTTP/1.1") -> bytes:
    """Return the headers of a request that has all it needs but says nothing of its body."""
    good = (
        b"Host: localhost",
        f"Authorization: Bearer {credential(world, 'scripted-bob')}".encode(),
        b"Content-Type: application/json",
        b"Accept: application/json, text/event-stream",
    )
    return b"\r\n".join((start, *good, *lines, b"", b""))


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


def answers(connection: socket.socket, sent: bytes) -> list[int]:
    """Send it all and return the status of every answer until the server closes."""
    with suppress(ConnectionError):
        connection.sendall(sent)
    got = b""
    with suppress(ConnectionError):
        while data := connection.recv(1 << 16):
            got += data
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", got) if status != b"100"]


KEY = b"Sec-WebSocket-Key: eA=="
CLOSE = b"Connection: close"
LENGTH = b"Content-Length: %d" % len(FIRST)
HIDDEN = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
TWO_ENDS: dict[str, tuple[tuple[bytes, ...], bytes]] = {
    "length and chunks": ((LENGTH, b"Transfer-Encoding: chunked"), chunked(FIRST)),
    "chunks and length": ((b"Transfer-Encoding: chunked", b"Content-Length: 4"), chunked(FIRST)),
    "a request behind the last chunk": ((b"Content-Length: 999", b"Transfer-Encoding: chunked"), chunked() + HIDDEN),
    "a request within the length": ((LENGTH, b"Transfer-Encoding: chunked"), chunked() + HIDDEN),
    "two lengths": ((LENGTH, b"Content-Length: 5"), FIRST),
    "two codings": ((b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"), chunked(FIRST)),
    "another coding": ((b"Transfer-Encoding: gzip, chunked",), chunked(FIRST)),
    "a coding that looks like it": ((b"Transfer-Encoding: xchunked",), chunked(FIRST)),
    "a space before the colon": ((b"Transfer-Encoding : chunked",), chunked(FIRST)),
    "a length with a sign": ((b"Content-Length: +%d" % len(FIRST),), FIRST),
    "a hexadecimal length": ((b"Content-Length: 0x10",), FIRST),
    "a length beyond all numbers": ((b"Content-Length: " + b"9" * 30,), FIRST),
    "a length in other digits": ((b"Content-Length: \xd9\xa3",), FIRST),
    "a length that is no number in any script": ((b"Content-Length: \xb2",), FIRST),
    "a negative chunk": ((b"Transfer-Encoding: chunked",), b"-1\r\n" + FIRST + b"\r\n0\r\n\r\n"),
    "a chunk beyond all numbers": ((b"Transfer-Encoding: chunked",), b"F" * 30 + b"\r\n" + FIRST),
    "a chunk that is longer than it says": ((b"Transfer-Encoding: chunked",), b"3\r\n" + FIRST + b"\r\n0\r\n\r\n"),
    "a carriage return alone": ((b"X: a\rTransfer-Encoding: chunked", LENGTH), FIRST),
    "a zero byte in a value": ((b"X: a\0b", LENGTH), FIRST),
    "a zero byte in a name": ((b"X\0: a", LENGTH), FIRST),
    "two credentials": ((b"Authorization: Bearer nonsense", LENGTH), FIRST),
    "two hosts": ((b"Host: evil.example", LENGTH), FIRST),
}


@pytest.mark.parametrize("case", TWO_ENDS)
def test_a_request_that_can_be_read_in_two_ways_is_refused_once_and_the_connection_ends(
    world: World, connection: socket.socket, case: str
) -> None:
    lines, body = TWO_ENDS[case]
    with unchanged(world):
        assert answers(connection, head(world, *lines) + body) == [400]


def test_chunks_are_for_the_version_that_has_them(world: World, connection: socket.socket) -> None:
    start = b"POST /mcp HTTP/1.0"
    assert answers(connection, head(world, b"Transfer-Encoding: chunked", start=start) + chunked(FIRST)) == [400]


@pytest.mark.parametrize(
    ("start", "statuses"),
    [
        (b"POST http://evil.example/mcp HTTP/1.1", [404]),
        (b"CONNECT evil.example:443 HTTP/1.1", [404]),
        (b"OPTIONS * HTTP/1.1", [404]),
        (b"POST //mcp HTTP/1.1", [404]),
        (b"POST /x/../mcp HTTP/1.1", [404]),
        (b"PRI * HTTP/2.0", [400]),
        (b"POST /mcp HTTP/3", [400]),
    ],
)
def test_targets_for_proxies_and_other_protocols_lead_nowhere(
    world: World, connection: socket.socket, start: bytes, statuses: list[int]
) -> None:
    with unchanged(world):
        found = answers(connection, head(world, LENGTH, CLOSE, start=start) + FIRST)
    assert found == statuses or (start.startswith(b"PRI") and set(found) <= {400, 404, 421})


def test_nothing_is_upgraded(world: World, connection: socket.socket) -> None:
    upgrade = (
        b"Connection: Upgrade, close",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: eA==",
    )
    assert answers(connection, head(world, *upgrade, start=b"GET /mcp HTTP/1.1")) == [400]


def test_what_is_pipelined_behind_a_request_shows_its_own_credential(world: World, connection: socket.socket) -> None:
    """The answer to the first request says nothing about who sent the second."""
    good = head(world, LENGTH) + FIRST
    bare = (b"Host: localhost", b"Authorization: Bearer x", b"Content-Length: %d" % len(CALL), CLOSE, b"", b"")
    with unchanged(world):
        assert answers(connection, good + b"\r\n".join((b"POST /mcp HTTP/1.1", *bare)) + CALL) == [200, 401]


def test_trailers_and_chunk_extensions_change_nothing(world: World) -> None:
    sent = head(world, b"Transfer-Encoding: chunked", CLOSE) + b"%x;host=evil\r\n%s\r\n0\r\n" % (len(FIRST), FIRST)
    with connect(world, "tcp") as connection:
        assert answers(connection, sent + b"Host: evil.example\r\nAuthorization: Bearer x\r\n\r\n") == [200]


@pytest.mark.parametrize("lines", [(b"X: " + b"y" * (1 << 20),), tuple(b"X%d: y" % n for n in range(50_000))])
def test_headers_have_a_bound(world: World, connection: socket.socket, lines: tuple[bytes, ...]) -> None:
    with unchanged(world):
        assert answers(connection, head(world, *lines, LENGTH) + FIRST) in ([400], [])


def dribble(connection: socket.socket, data: bytes) -> None:
    """Send one byte, if the other end still takes it."""
    with suppress(OSError):
        connection.send(data)


def is_ended(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        while connection.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def test_clients_that_dribble_are_ended_and_hold_nobody_up(world: World) -> None:
    """Slow in the headers, the body, a chunk or a body after its 401: each in its time, however often a byte comes."""
    begun = {
        "headers": b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nX: ",
        "body": head(world, LENGTH) + FIRST[:5],
        "chunk": head(world, b"Transfer-Encoding: chunked") + b"%x\r\n" % 1_000_000,
        "refused": b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: x\r\nContent-Length: 1000000\r\n\r\n",
    }
    token = credential(world, "scripted-bob")
    with ExitStack() as stack, wire("lines", world, token) as lines:
        left = {(name, where): stack.enter_context(connect(world, where)) for name in begun for where in WHERE}
        for (name, _), connection in left.items():
            connection.sendall(begun[name])
        half = stack.enter_context(connect(world, "tcp"))
        half.sendall(begun["body"])
        half.shutdown(socket.SHUT_WR)
        left["half", "tcp"] = half
        sent = 0

        def all_ended() -> bool:
            nonlocal sent
            for key, connection in tuple(left.items()):
                if key[0] in ("headers", "chunk", "refused"):
                    dribble(connection, b"z")
                if is_ended(connection):
                    del left[key]
            assert lines.send(personality="alice", message="meanwhile", wait_seconds=0)["message_id"]
            sent += 1
            return not left

        until(all_ended, 60, "the end of slow clients")
    assert senders(world, "meanwhile") == ["scripted-bob"] * sent


def test_a_client_that_never_reads_its_answers_costs_a_bounded_amount(world: World) -> None:
    """Thousands of questions in one go and not one answer read: the server stops reading, and the others go on."""
    ask = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2_000
    before = resident(world)
    with ExitStack() as stack:
        for _ in range(20):
            connection = stack.enter_context(connect(world, "tcp"))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.setblocking(False)
            with suppress(BlockingIOError):
                while connection.send(ask):
                    pass
        with SocketWire(world.root.server_socket, {"role": "control"}) as control:
            for _ in range(50):
                assert control.exchange(b'{"id": 1, "verb": "ping"}')["ok"]
        assert resident(world) - before < 64 << 20


def resident(world: World) -> int:
    """Return the server's resident memory in bytes."""
    pages = Path(f"/proc/{world.server_pid()}/statm").read_text().split()[1]
    return int(pages) * 4096
