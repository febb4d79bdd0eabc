"""Floods of one sender, or of somebody without a credential: bounded in memory, descriptors and logs; others go on."""

import json
import logging
import os
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from mcp_server.serve.library_logs import BURST, WINDOW_SECONDS, LogHandler
from mcp_server.serve.options import ServeOptions
from tests.contract.bad_input import HTTP, credential, private_world, senders
from tests.contract.wires import ACCEPT, INITIALIZE, HttpWire, SocketWire, tcp, wire
from tests.live.world import World, until

live = pytest.mark.live
OPTIONS = ServeOptions()
PER_MINUTE = 40
BOB, ALICE = "scripted-bob", "scripted-alice"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with private_world(**HTTP, PEERWAKE_SENDS_PER_MINUTE=str(PER_MINUTE)) as world:
        for name in ("alice", "bob", "carol"):
            world.create(name)
        world.serve()
        yield world


def resident(world: World) -> int:
    """Return the server's resident memory in bytes."""
    return int(Path(f"/proc/{world.server_pid()}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(world: World) -> int:
    return len(os.listdir(f"/proc/{world.server_pid()}/fd"))


def status_of(world: World, method: str, path: str, token: str | None, body: bytes = b"") -> int:
    with closing(tcp(world)) as connection:
        connection.request(method, path, body, ACCEPT | ({"Authorization": f"Bearer {token}"} if token else {}))
        with connection.getresponse() as answer:
            return answer.status


@live
def test_a_sender_has_one_share_over_all_transports(world: World) -> None:
    """Five connections of five kinds at once are one sender; what it may not send keeps nobody else from sending."""
    with ExitStack() as stack:
        kinds = ("lines", "http", "unix-http", "sse", "bridge")
        wires = [stack.enter_context(wire(kind, world, credential(world, BOB))) for kind in kinds]
        alices = stack.enter_context(wire("http", world, credential(world, ALICE)))
        outcomes: Counter[str] = Counter()
        for number in range(PER_MINUTE * 3):
            call = {"personality": "carol", "message": "flood", "wait_seconds": 0, "topic": str(number)}
            answer = wires[number % len(wires)].call("send_to_peer", call)["result"]
            outcomes["refused" if answer.get("isError") else "accepted"] += 1
            if answer.get("isError"):
                assert "messages a minute" in answer["content"][0]["text"]
            if number % 30 == 29:
                fair = alices.send(personality="carol", message="fair", wait_seconds=0)
                assert fair["status"] in ("queued", "delivered")
    assert outcomes["accepted"] == len(senders(world, "flood"))
    # The bucket fills again meanwhile, by PER_MINUTE a minute: nowhere near another hundred.
    assert PER_MINUTE <= outcomes["accepted"] <= PER_MINUTE * 2
    assert senders(world, "fair") == [ALICE] * 4


@live
def test_one_caller_cannot_take_all_sessions(world: World) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": INITIALIZE}).encode()
    bobs = Counter(status_of(world, "POST", "/mcp", credential(world, BOB), body) for _ in range(300))
    assert bobs == {200: OPTIONS.sessions_each, 429: 300 - OPTIONS.sessions_each} or (
        # Those of the test before, if it ran.
        bobs[200] in range(OPTIONS.sessions_each - 5, OPTIONS.sessions_each) and bobs[200] + bobs[429] == 300
    )
    with HttpWire(tcp(world), credential(world, ALICE)) as alices:
        alices.initialize()
        assert alices.call("list_peers", {})["result"]


@live
def test_one_caller_cannot_take_all_streams(world: World) -> None:
    with ExitStack() as stack:
        statuses: Counter[int] = Counter()
        for _ in range(OPTIONS.streams_each + 20):
            connection = stack.enter_context(closing(tcp(world)))
            connection.request("GET", "/sse", headers=ACCEPT | {"Authorization": f"Bearer {credential(world, BOB)}"})
            statuses[stack.enter_context(connection.getresponse()).status] += 1
        assert statuses == {200: OPTIONS.streams_each, 429: 20}
        with wire("sse", world, credential(world, ALICE)) as alices:
            assert alices.call("list_peers", {})["result"]
    # What is closed is given back.
    until(lambda: is_streaming(world), 20, "a stream after the flood")


def is_streaming(world: World) -> bool:
    with closing(tcp(world)) as connection:
        connection.request("GET", "/sse", headers=ACCEPT | {"Authorization": f"Bearer {credential(world, BOB)}"})
        with connection.getresponse() as answer:
            return answer.status == 200


@live
def test_idle_connections_of_strangers_use_up_nothing_and_real_senders_get_through(world: World) -> None:
    before = descriptors(world)
    address = ("127.0.0.1", tcp(world).port)
    with ExitStack() as stack:
        for number in range(1_000):
            idle = stack.enter_context(socket.create_connection(address, timeout=20))
            if number % 2:
                with suppress(OSError):
                    idle.sendall(b"POST /mcp HTTP/1.1\r\nHost: localh")
            if number % 100 == 99:
                assert status_of(world, "GET", "/nowhere", credential(world, ALICE)) == 404
                with SocketWire(world.root.server_socket, {"role": "control"}) as control:
                    assert control.exchange(b'{"id": 1, "verb": "ping"}')["ok"]
        assert descriptors(world) - before <= OPTIONS.max_waiting + 20
    until(lambda: descriptors(world) <= before + 5, 20, "the end of idle connections")


@live
def test_refused_requests_with_bodies_that_never_end_use_up_nothing(world: World) -> None:
    """Each client reads its 401, sends one byte of the body that nobody waits for any more, and is silent."""
    before = descriptors(world)
    address = ("127.0.0.1", tcp(world).port)
    with ExitStack() as stack:
        for _ in range(OPTIONS.max_waiting + 100):
            refused = stack.enter_context(socket.create_connection(address, timeout=20))
            refused.sendall(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
            assert refused.recv(4096).startswith(b"HTTP/1.1 401 ")
            refused.sendall(b"x")
        with SocketWire(world.root.server_socket, {"role": "control"}) as control:
            assert control.exchange(b'{"id": 1, "verb": "ping"}')["ok"]
        assert descriptors(world) - before <= OPTIONS.max_waiting + 20
        until(lambda: descriptors(world) <= before + 5, 20, "the end of refused clients")


@live
def test_idle_connections_on_the_unix_socket_end_and_hold_nobody_up(world: World) -> None:
    before = descriptors(world)
    with ExitStack() as stack:
        for _ in range(1_000):
            idle = stack.enter_context(socket.socket(socket.AF_UNIX))
            # Blocking: it waits where the backlog is full.
            idle.connect(str(world.root.server_socket))
        with wire("lines", world, credential(world, ALICE)) as lines:
            assert lines.call("list_peers", {})["result"]
        until(lambda: descriptors(world) <= before + 5, 30, "the end of those that never spoke")


@live
def test_notifications_and_cancels_for_nothing_leave_nothing_behind(world: World) -> None:
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled"}
    unknown = {"jsonrpc": "2.0", "method": "notifications/" + "x" * 200}
    with wire("lines", world, credential(world, BOB)) as lines:
        before = resident(world)
        for number in range(5_000):
            lines.tell(json.dumps(cancel | {"params": {"requestId": number, "reason": "y" * 200}}).encode())
            lines.tell(json.dumps(unknown).encode())
        assert lines.request("ping", {})["result"] is not None
        assert resident(world) - before < 32 << 20


@live
def test_queries_without_end_are_answered_within_their_bounds(world: World) -> None:
    with wire("lines", world, credential(world, BOB)) as lines:
        before = resident(world)
        for size in (10, 1_000, 100_000):
            answer = lines.call("list_peers", {"query": "e" * size})
            assert len(json.dumps(answer)) < 8_192
        assert resident(world) - before < 32 << 20


@live
def test_strangers_cannot_write_the_log_full(world: World) -> None:
    address = ("127.0.0.1", tcp(world).port)
    before = len(world.log("lifecycle"))
    for number in range(500):
        with socket.create_connection(address, timeout=20) as connection:
            connection.sendall((b"nonsense\r\n\r\n", b"POST /mcp HTTP/1.1\r\nHost: evil.example\r\n\r\n")[number % 2])
            connection.recv(4096)
    assert len(world.log("lifecycle")) - before < 200 * (BURST + 5)


class Lines:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def write(self, event: str, **fields: object) -> None:
        self.events.append((event, fields))


def test_each_place_that_warns_has_a_few_lines_a_minute_and_tells_how_many_it_left_out() -> None:
    now, lines = 0.0, Lines()
    handler = LogHandler(lines, lambda: now)  # type: ignore[arg-type]

    def warn(name: str, times: int) -> None:
        for _ in range(times):
            handler.emit(logging.LogRecord(name, logging.WARNING, "file", 1, "text", None, None))

    warn("a", BURST + 30)
    warn("b", 1)
    assert Counter(fields["logger"] for _, fields in lines.events) == {"a": BURST, "b": 1}
    now = WINDOW_SECONDS
    warn("a", 1)
    assert lines.events[-2:][0] == ("library-more", {"logger": "a", "left_out": 30})
    assert lines.events[-1][0] == "library"
