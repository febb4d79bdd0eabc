"""Clients that vanish at every byte of a conversation: what was said whole is accepted once, the rest not at all."""

import random
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import mcp_server.serve.bridge as bridge
from mcp_server.serve.credentials import load_credentials
from tests.contract.bad_input import HTTP, credential, private_world
from tests.contract.wires import HttpWire, SseWire, Wire, wire
from tests.live.world import World, until
from tests.protocol.cuts import (
    SENDS,
    End,
    Footprint,
    Step,
    accepted,
    body,
    control_args,
    control_conversation,
    ends,
    footprint,
    http_request,
    line_conversation,
    nothing_left,
    opened,
    some_cuts,
    stdio_conversation,
    step_request,
    tcp_address,
    vanish,
    whole_lines,
)
from tests.protocol.messages import HANDSHAKE, MODERN, encoded, request, send

pytestmark = pytest.mark.live

LIMITS = {"PEERWAKE_SENDS_PER_MINUTE": "1000000", "PEERWAKE_QUEUE_CAP": "1000000"}
ENDLESS = {"queue_while_busy": False, "rules": [{"match": "", "sleep_forever": True}]}
BOB = "scripted-bob"
CONTROL = "control"


@pytest.fixture(scope="module")
def busy() -> Iterator[World]:
    """A server, and alice, who works on her first message for ever, so that all others wait in the spool.

    One that is given up after a minute would wake its sender, who is stopped.
    """
    with private_world(**HTTP, **LIMITS) as world:
        world.create("alice", rules=ENDLESS)  # type: ignore[arg-type]
        world.create("bob")
        world.serve()
        assert world.run("stop", "bob").returncode == 0
        world.send("alice", "work", "--wait", "20")
        for kind in ("lines", "http", "sse"):
            with wire(kind, world, credential(world, BOB)) as client:
                client.send(personality="alice", message="warm", wait_seconds=0)
        yield world
        assert "failed" not in world.log("lifecycle")
        assert "Traceback" not in world.log("server")


@pytest.fixture
def before(busy: World) -> Iterator[Footprint]:
    """What the server holds before a test; it must hold no more after it, and still serve."""
    pid = busy.server_pid()
    assert pid is not None
    held = footprint(pid)
    yield held
    nothing_left(pid, held)
    assert busy.server_pid() == pid
    with wire("lines", busy, credential(busy, BOB)) as client:
        assert client.call("list_peers", {})["result"]["isError"] is False


@pytest.mark.parametrize("seed", range(2))
def test_lines_cut_at_every_byte(busy: World, before: Footprint, seed: int) -> None:
    token = credential(busy, BOB)
    size = sum(map(len, line_conversation(f"lines {seed} {0:05d}", token)))
    answered: dict[int, int] = {}
    for cut, end in zip(range(size + 1), ends(seed, size + 1), strict=True):
        data = b"".join(line_conversation(f"lines {seed} {cut:05d}", token))
        connection = opened(str(busy.root.server_socket))
        connection.sendall(data[:cut])
        said = vanish(connection, end)
        if end is End.HALF:
            answered[cut] = said.count(b"message_id")
    found = until_quiet(busy)
    for cut, end in zip(range(size + 1), ends(seed, size + 1), strict=True):
        lines = line_conversation(f"lines {seed} {cut:05d}", token)
        whole = max(0, whole_lines(lines, cut) - 3)
        times = [found[body(f"lines {seed} {cut:05d}", n)] for n in range(SENDS)]
        taken = sum(times)
        assert times == [1] * taken + [0] * (SENDS - taken), (cut, end, times)
        assert taken <= whole, (cut, end, times)
        if end is End.HALF:
            assert taken == whole >= answered[cut], (cut, times, answered[cut])


POSTS = [
    *((kind, era) for kind in ("http", "unix-http") for era in (HANDSHAKE, MODERN)),
    ("sse", HANDSHAKE),
]


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize(("kind", "era"), POSTS)
def test_posts_cut_at_every_byte(busy: World, before: Footprint, kind: str, era: str, is_chunked: bool) -> None:
    token, name = credential(busy, BOB), f"{kind} {era} {is_chunked}"
    with wire(kind, busy, token) as held:
        headers, path = routing(held, era)

        def post(number: int) -> bytes:
            message = send(1, f"{name} {number:05d}", era, to="alice")
            return http_request(token, message, headers, path, is_chunked)

        size = len(post(0))
        left = ends(size, size)
        for cut, end in enumerate(left):
            connection = opened(address_of(busy, kind))
            connection.sendall(post(cut)[:cut])
            vanish(connection, end)
        with opened(address_of(busy, kind)) as final:
            final.sendall(post(size))
            assert b" 20" in final.recv(64)
        found = until_quiet(busy)
        end_session(held)
    assert {cut: left[cut] for cut in range(size) if found[f"{name} {cut:05d}"]} == {}
    assert found[f"{name} {size:05d}"] == 1


def address_of(world: World, kind: str) -> str | tuple[str, int]:
    return tcp_address(world) if kind in ("http", "sse") else str(world.root.server_socket)


def routing(held: Wire, era: str) -> tuple[dict[str, str], str]:
    """Return the headers and the path by which a request of one era finds the session of a connection."""
    if isinstance(held, SseWire):
        return {}, held.path
    assert isinstance(held, HttpWire)
    session = {"Mcp-Session-Id": held._headers["Mcp-Session-Id"]} if era == HANDSHAKE else {}
    return {"MCP-Protocol-Version": era} | session, "/mcp"


def end_session(held: Wire) -> None:
    """End a session over HTTP, which would be kept for half an hour; its connection may be closed by now, as idle."""
    if isinstance(held, HttpWire):
        held._connection.close()
        held._connection.request("DELETE", "/mcp", headers=held._headers)
        held._connection.getresponse().read()


@pytest.mark.parametrize("kind", ["http", "unix-http"])
@pytest.mark.parametrize("step", Step)
def test_steps_cut_anywhere(busy: World, before: Footprint, step: Step, kind: str) -> None:
    token = credential(busy, BOB)
    with wire(kind, busy, token) as held:
        data = step_request(step, token, routing(held, HANDSHAKE)[0])
        for place, end in some_cuts(f"{step} {kind}", len(data)):
            connection = opened(address_of(busy, kind))
            connection.sendall(data[:place])
            vanish(connection, end)
        assert "result" in held.request("tools/list", {})
        end_session(held)


@pytest.mark.parametrize("role", ["peer", "operator"])
def test_control_cut_anywhere(busy: World, before: Footprint, role: str) -> None:
    operator = load_credentials(busy.root.secret).operator_credential()
    token = operator if role == "operator" else credential(busy, BOB)
    size = len(b"".join(control_conversation(f"{role} 00000", token)))
    left = some_cuts(role, size + 1, 120)
    answered: dict[int, int] = {}
    for number, (cut, end) in enumerate(left):
        data = b"".join(control_conversation(f"{role} {number:05d}", token))
        connection = opened(str(busy.root.server_socket))
        connection.sendall(data[:cut])
        answered[number] = vanish(connection, end).count(b"message_id")
    found = until_quiet(busy)
    for number, (cut, end) in enumerate(left):
        lines = control_conversation(f"{role} {number:05d}", token)
        whole = min(SENDS, max(0, whole_lines(lines, cut) - 3))
        times = [found[body(f"{role} {number:05d}", n)] for n in range(SENDS)]
        taken = sum(times)
        assert times == [1] * taken + [0] * (SENDS - taken), (cut, end, times)
        assert taken <= whole, (cut, end, times)
        if end is End.HALF:
            assert taken == whole >= answered[number], (cut, times, answered[number])


@pytest.mark.parametrize("seed", range(2))
def test_bridges_killed_anywhere(busy: World, before: Footprint, seed: int) -> None:
    chance = random.Random(seed)
    token = credential(busy, BOB)
    argv = [sys.executable, "-I", "-S", str(Path(bridge.__file__)), "--no-start"]
    env = {"PEERWAKE_HOME": str(busy.root.home), "PEERWAKE_CREDENTIAL": token}
    size = sum(map(len, stdio_conversation(f"bridge {seed} {0:05d}")))
    tries = [(chance.randrange(size + 1), chance.random() < 0.5) for _ in range(40)]
    for number, (cut, waits) in enumerate(tries):
        data = b"".join(stdio_conversation(f"bridge {seed} {number:05d}"))[:cut]
        client = subprocess.Popen(argv, env=env, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert client.stdin is not None
        assert client.stdout is not None
        with client:
            client.stdin.write(data)
            client.stdin.flush()
            if waits and data.count(b"\n"):
                client.stdout.readline()
            client.kill()
    found = until_quiet(busy)
    for number, (cut, _) in enumerate(tries):
        lines = stdio_conversation(f"bridge {seed} {number:05d}")
        times = [found[body(f"bridge {seed} {number:05d}", n)] for n in range(SENDS)]
        taken = sum(times)
        assert times == [1] * taken + [0] * (SENDS - taken), (number, times)
        assert taken <= max(0, whole_lines(lines, cut) - 2), (number, times)


@pytest.mark.parametrize("end", End)
@pytest.mark.parametrize("era", [HANDSHAKE, MODERN, CONTROL])
def test_lines_while_calls_wait(busy: World, before: Footprint, era: str, end: End) -> None:
    token, wanted = credential(busy, BOB), [f"waits lines {era} {end} {n}" for n in range(10)]
    connections = [opened(str(busy.root.server_socket)) for _ in wanted]
    for connection, text in zip(connections, wanted, strict=True):
        connection.sendall(waiting_lines(era, token, text))
    all_vanish(busy, connections, wanted, end)


def waiting_lines(era: str, token: str, text: str) -> bytes:
    """Return the lines of a client that introduces itself and waits five seconds for the delivery of a message."""
    if era == CONTROL:
        asked = {"id": 1, "verb": "send", "args": control_args(text, wait_seconds=5)}
        return control_conversation("", token)[0] + encoded(asked) + b"\n"
    introduction = line_conversation("", token)[: 3 if era == HANDSHAKE else 1]
    return b"".join(introduction) + encoded(send(1, text, era, to="alice", wait_seconds=5)) + b"\n"


@pytest.mark.parametrize("end", End)
@pytest.mark.parametrize(("kind", "era"), POSTS)
def test_posts_while_calls_wait(busy: World, before: Footprint, kind: str, era: str, end: End) -> None:
    token, wanted = credential(busy, BOB), [f"waits {kind} {era} {end} {n}" for n in range(10)]
    with wire(kind, busy, token) as held:
        headers, path = routing(held, era)
        connections = [opened(address_of(busy, kind)) for _ in wanted]
        for number, (connection, text) in enumerate(zip(connections, wanted, strict=True)):
            message = send(number, text, era, to="alice", wait_seconds=5)
            connection.sendall(http_request(token, message, headers, path))
        all_vanish(busy, connections, wanted, end)
        end_session(held)


def all_vanish(world: World, connections: list[socket.socket], wanted: list[str], end: End) -> None:
    """Let all clients go when their messages are accepted, which then are there once."""
    until(lambda: accepted(world).keys() >= set(wanted), 20, "the acceptance")
    for connection in connections:
        vanish(connection, end)
    found = until_quiet(world)
    assert [found[text] for text in wanted] == [1] * len(wanted)


@pytest.mark.parametrize("kind", ["lines", "http", "sse"])
def test_while_an_answer_streams(busy: World, before: Footprint, kind: str) -> None:
    token, chance = credential(busy, BOB), random.Random(7)
    lists = b"".join(encoded(request(n, "tools/list")) + b"\n" for n in range(40))
    asked = {
        "lines": (b"".join(line_conversation("", token)[:3]) + lists, 3_000),
        "http": (http_request(token, request(1, "tools/list", MODERN), {"MCP-Protocol-Version": MODERN}), 3_000),
        "sse": (step_request(Step.SSE, token, {}), 200),
    }
    for _ in range(100):
        data, most = asked[kind]
        take, end = chance.randrange(most), chance.choice([End.CLOSE, End.RESET])
        connection = opened(address_of(busy, kind))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.sendall(data)
        while take > 0 and (chunk := connection.recv(take)):
            take -= len(chunk)
        vanish(connection, end)


def until_quiet(world: World) -> Counter[str]:
    """Return what was accepted, when nothing more is on its way: a later send has passed everything before it."""
    for kind in ("lines", "http"):
        with wire(kind, world, credential(world, BOB)) as client:
            client.send(personality="alice", message="marker", wait_seconds=0)
            end_session(client)
    return accepted(world)
