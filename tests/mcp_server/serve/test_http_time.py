"""HTTP: who is ended for taking no answer, for being one too many without a request, or for a session nobody uses."""

import fcntl
import json
import select
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import anyio.to_thread
import httpx2
import pytest

from mcp_server.serve.options import ServeOptions
from tests.mcp_server.fronts import Running, running
from transport.paths import Root

SECONDS = 0.5
ASK = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
OPENING = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}
UNREAD = ServeOptions(port=0, unread_seconds=SECONDS, stop_seconds=1.0)


@pytest.fixture
def opened() -> Iterator[Callable[[Running, str], socket.socket]]:
    """Return a function that connects to one listener, and close what it opened."""
    with ExitStack() as stack:

        def connect(run: Running, where: str) -> socket.socket:
            host, _, port = run.http.removeprefix("http://").rpartition(":")
            made = stack.enter_context(socket.socket(socket.AF_INET if where == "tcp" else socket.AF_UNIX))
            made.settimeout(20)
            made.connect((host, int(port)) if where == "tcp" else run.socket)
            return made

        yield connect


Opened = Callable[[Running, str], socket.socket]


def come(connection: socket.socket) -> int:
    """Return how many bytes have come that nobody has read."""
    return int(struct.unpack("i", fcntl.ioctl(connection, termios.FIONREAD, bytes(4)))[0])


def ask_until_no_answer_comes(connection: socket.socket) -> None:
    """Ask, and wait for each answer without reading it: only a part of the last one is kept by the server."""
    is_coming = True
    while is_coming:
        before = come(connection)
        connection.sendall(ASK)
        until = time.monotonic() + 0.3
        while come(connection) == before and (is_coming := time.monotonic() < until):
            time.sleep(0.001)


def ask_without_end(connection: socket.socket) -> None:
    with suppress(ConnectionError):
        while True:
            connection.sendall(ASK)


def is_answered(connection: socket.socket) -> bool:
    """Ask, and read until the answer is whole or the other end closes."""
    connection.sendall(ASK)
    received = b""
    while b"not-found" not in received and (data := connection.recv(4096)):
        received += data
    return received.startswith(b"HTTP/1.1 404 ")


def is_ended(connection: socket.socket, seconds: float) -> bool:
    """Tell whether the other end is gone within so many seconds; nothing is read."""
    poll = select.poll()
    poll.register(connection, 0)
    return bool(poll.poll(seconds * 1_000))


@pytest.mark.parametrize(
    ("where", "ask"),
    [
        ("unix", ask_until_no_answer_comes),
        ("unix", ask_without_end),
        ("tcp", ask_without_end),
    ],
)
async def test_a_client_that_never_reads_its_answers_is_ended(
    root: Root, opened: Opened, where: str, ask: Callable[[socket.socket], None]
) -> None:
    async with running(root, options=UNREAD) as run:
        connection = opened(run, where)
        await anyio.to_thread.run_sync(ask, connection)
        assert await anyio.to_thread.run_sync(is_ended, connection, 10 * SECONDS)


async def test_a_client_that_reads_slowly_gets_all_its_answers(root: Root, opened: Opened) -> None:
    count = 3_000

    def read(connection: socket.socket) -> bytes:
        threading.Thread(target=connection.sendall, args=(ASK * (count - 1) + LAST,), daemon=True).start()
        received = b""
        while data := connection.recv(16_384):
            received += data
            time.sleep(0.05)
        return received

    async with running(root, options=UNREAD) as run:
        begun = time.monotonic()
        received = await anyio.to_thread.run_sync(read, opened(run, "unix"))
    assert received.count(b"HTTP/1.1 404 ") == count
    assert time.monotonic() - begun > 2 * SECONDS


async def test_of_too_many_without_a_request_the_one_that_waits_longest_goes_first(root: Root, opened: Opened) -> None:
    """A byte of its headers makes nobody younger; an answer does."""

    def crowd() -> None:
        first, second, third = (opened(run, "tcp") for _ in range(3))
        assert is_answered(second)
        assert is_answered(first)
        second.sendall(b"G")
        assert is_answered(third)
        fourth = opened(run, "tcp")
        assert second.recv(4096) == b""
        assert all(is_answered(each) for each in (first, third, fourth))

    async with running(root, options=ServeOptions(port=0, max_waiting=3, stop_seconds=1.0)) as run:
        await anyio.to_thread.run_sync(crowd)


async def test_a_session_that_nobody_uses_ends_and_makes_room(root: Root) -> None:
    options = ServeOptions(port=0, sessions_each=1, session_idle_seconds=SECONDS, stop_seconds=1.0)
    async with running(root, options=options) as run, httpx2.AsyncClient(headers=ACCEPT | run.bearer()) as client:

        async def answer(**headers: str) -> httpx2.Response:
            return await client.post(f"{run.http}/mcp", content=json.dumps(OPENING).encode(), headers=headers)

        first = await answer()
        assert first.status_code == 200
        with anyio.fail_after(20):
            while (await answer()).status_code == 429:  # noqa: ASYNC110
                await anyio.sleep(0.05)
        assert (await answer(**{"Mcp-Session-Id": first.headers["mcp-session-id"]})).status_code == 404


def test_a_session_that_nobody_uses_has_half_an_hour() -> None:
    assert ServeOptions().session_idle_seconds == 30 * 60
