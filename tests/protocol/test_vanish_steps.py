"""Clients that vanish in the middle of a step that carries no message: no session, stream or task is left of them.

These look into a front over a service in memory; `test_vanish.py` cuts the same steps on a whole server.
"""

import math
import os
from collections.abc import AsyncIterator
from dataclasses import astuple, dataclass

import anyio
import anyio.to_thread
import pytest
from mcp.server.streamable_http import StreamableHTTPServerTransport

from tests.mcp_server.fronts import BOB, Running, running
from tests.protocol.cuts import End, Step, control_conversation, opened, some_cuts, step_request, vanish
from tests.protocol.messages import HANDSHAKE, call, request
from tests.protocol.pipes import HttpPipe, pipe
from tests.protocol.test_cancelled import tasks, until
from transport.paths import Root

KINDS = ("http", "unix-http")
TAKEN = (0, 1, 40, 200)
"""How many bytes of the answer a client takes before it leaves: it is among the headers, or in an event."""


@dataclass(frozen=True)
class Held:
    """What a front holds; `files` are those of the whole process."""

    sessions: int
    sse_sessions: int
    streams: int
    calls: int
    connections: int
    files: int
    tasks: int

    def is_within(self, other: "Held") -> bool:
        return all(mine <= theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True))


def held(run: Running) -> Held:
    http = run.front._http
    return Held(
        sessions=len(http._sessions._server_instances),
        sse_sessions=len(http._sse._read_stream_writers),
        streams=sum(http._streams._held.values()),
        calls=run.front._in_flight.count,
        connections=run.front.connections,
        files=len(os.listdir("/dev/fd")),
        tasks=tasks(),
    )


@pytest.fixture
async def run(root: Root) -> AsyncIterator[Running]:
    async with running(root) as found:
        yield found


def address_of(run: Running, kind: str) -> str | tuple[str, int]:
    host, port = run.http.removeprefix("http://").split(":")
    return run.socket if kind == "unix-http" else (host, int(port))


async def cut_off(address: str | tuple[str, int], data: bytes, end: End, taken: int = 0) -> None:
    """Say something, take some bytes of the answer, and leave."""

    def leave() -> None:
        connection, left = opened(address), taken
        connection.sendall(data)
        while left and (chunk := connection.recv(left)):
            left -= len(chunk)
        vanish(connection, end)

    await anyio.to_thread.run_sync(leave)


async def nothing_is_left(run: Running, before: Held) -> None:
    """Wait until the front holds no more than before; then it serves somebody else."""
    await until(lambda: held(run).is_within(before))
    async with pipe("lines", run, HANDSHAKE) as other:
        assert (await other.ask(call(1, "list_peers")))["result"]["isError"] is False


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", Step)
async def test_a_step_that_is_cut_off_leaves_nothing(run: Running, step: Step, kind: str) -> None:
    before = held(run)
    async with pipe(kind, run, HANDSHAKE) as client:
        assert isinstance(client, HttpPipe)
        begun = held(run)
        data = step_request(step, client.token, client.headers)
        for place, end in some_cuts(f"{step} {kind}", len(data)):
            await cut_off(address_of(run, kind), data[:place], end)
        await nothing_is_left(run, begun)
        assert held(run).sessions == begun.sessions == before.sessions + 1
        assert "result" in await client.ask(request(1, "tools/list"))
    await nothing_is_left(run, before)


@pytest.mark.parametrize("end", End)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_session_whose_client_left_before_it_knew_of_it_ends_in_its_time(
    run: Running, kind: str, end: End
) -> None:
    """Whether its answer arrived nobody can tell: it ends as any session that is not used."""
    before, sessions = held(run), run.front._http._sessions
    data = step_request(Step.INITIALIZE, run.credentials.credential_for(BOB), {})
    for taken in TAKEN:
        await cut_off(address_of(run, kind), data, end, taken)
    assert 0 < held(run).sessions <= len(TAKEN)
    await until(lambda: all(map(is_unused, sessions._server_instances.values())))
    for one in tuple(sessions._server_instances.values()):
        assert one.idle_scope is not None
        one.idle_scope.deadline = anyio.current_time()
    await nothing_is_left(run, before)
    assert not sessions._session_owners


def is_unused(session: StreamableHTTPServerTransport) -> bool:
    """Tell whether a session has no request under way, so that its time runs."""
    return session.idle_scope is not None and math.isfinite(session.idle_scope.deadline)


@pytest.mark.parametrize("end", End)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_notification_whose_client_has_gone_leaves_its_session_as_it_is(
    run: Running, kind: str, end: End
) -> None:
    before = held(run)
    async with pipe(kind, run, HANDSHAKE) as client:
        assert isinstance(client, HttpPipe)
        begun = held(run)
        data = step_request(Step.INITIALIZED, client.token, client.headers)
        for taken in (0, 1, 40):
            await cut_off(address_of(run, kind), data, end, taken)
        await nothing_is_left(run, begun)
        assert held(run).sessions == begun.sessions
        assert "result" in await client.ask(request(1, "tools/list"))
    await nothing_is_left(run, before)


# The SDK loses a writer of its own, which nothing refers to any more, when a stream is asked for before the last
# one has quite begun.
@pytest.mark.filterwarnings("ignore:.*MemoryObject(Send|Receive)Stream.__del__:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("end", End)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", [Step.STREAM, Step.SSE])
async def test_a_stream_whose_client_has_gone_is_given_back(run: Running, step: Step, kind: str, end: End) -> None:
    """A session may have one stream only: the next one is opened when that of who vanished is gone."""
    before = held(run)
    async with pipe(kind, run, HANDSHAKE) as client:
        assert isinstance(client, HttpPipe)
        data = step_request(step, client.token, client.headers)
        for taken in (0, 1, 40):
            await cut_off(address_of(run, kind), data, end, taken)
        with anyio.fail_after(20):
            while await status_of(client, data) != 200:  # noqa: ASYNC110
                await anyio.sleep(0.002)
    await nothing_is_left(run, before)


async def status_of(client: HttpPipe, data: bytes) -> int:
    connection = await client.connect()
    async with connection.stream:
        await connection.stream.send(data)
        return (await connection.start())[0]


@pytest.mark.parametrize("taken", [0, 40])
@pytest.mark.parametrize("end", End)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_session_ends_though_its_client_does_not_wait_for_the_answer(
    run: Running, kind: str, end: End, taken: int
) -> None:
    before = held(run)
    async with pipe(kind, run, HANDSHAKE) as client:
        assert isinstance(client, HttpPipe)
        await cut_off(address_of(run, kind), step_request(Step.DELETE, client.token, client.headers), end, taken)
        await until(lambda: held(run).sessions == before.sessions)
        del client.headers["Mcp-Session-Id"]
    await nothing_is_left(run, before)


@pytest.mark.parametrize("is_operator", [False, True], ids=["peer", "operator"])
async def test_a_control_conversation_that_is_cut_off_leaves_nothing(run: Running, is_operator: bool) -> None:
    credentials = run.credentials
    token = credentials.operator_credential() if is_operator else credentials.credential_for(BOB)
    before = held(run)
    size = len(b"".join(control_conversation("control 00000", token)))
    for number, (place, end) in enumerate(some_cuts("control", size + 1, 60)):
        data = b"".join(control_conversation(f"control {number:05d}", token))
        await cut_off(run.socket, data[:place], end)
    await nothing_is_left(run, before)
    bodies = [message.body for message in run.service.accepted("alice")]
    assert bodies
    assert len(bodies) == len(set(bodies))


@pytest.mark.parametrize("end", [End.CLOSE, End.RESET])
async def test_what_a_control_client_asked_for_is_done_though_it_leaves_an_answer_unread(
    run: Running, end: End
) -> None:
    """Closed with something unread, a connection ends in an error and not in an end of its input."""
    before, token = held(run), run.credentials.credential_for(BOB)
    run.service.accept_gate = anyio.Event()
    hello, ping, _, send = control_conversation("unread", token)[:4]
    await cut_off(run.socket, hello + send + ping, end, taken=1)
    await until(lambda: bool(run.service.accepted("alice")))
    async with pipe("lines", run, HANDSHAKE) as other:
        assert "result" in await other.ask(call(1, "list_peers"))
    assert run.front._in_flight.count == 1
    run.service.accept_gate.set()
    await nothing_is_left(run, before)
