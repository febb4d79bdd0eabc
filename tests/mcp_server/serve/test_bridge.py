"""The bridge as an agent's client starts it: a process, two pipes, and servers that come and go."""

import ast
import json
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client.client import Client
from mcp.client.stdio import stdio_client

import mcp_server.serve.bridge as bridge
from mcp_server.serve.bridge_loop import Bridge, Config
from mcp_server.serve.bridge_session import NO_SERVER
from mcp_server.serve.options import ServeOptions
from tests.mcp_server import bridge_server
from tests.mcp_server.client_lines import INITIALIZE, INITIALIZED, PING, call
from tests.mcp_server.fronts import ALICE, Running, bridge_parameters, running, started, team
from tests.mcp_server.memory_service import MemoryService
from tests.mcp_server.no_log import KINDS, take_place_of
from transport import home
from transport.paths import Root
from transport.process import start_time

ABRUPT = ServeOptions(port=None, stop_seconds=0.0)
PADDING = {"params": {"_meta": {"padding": "x" * 3000}}}


class Process:
    """A bridge and the ends of its pipes."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self.process = process
        assert process.stdout is not None
        self._output = anyio.streams.buffered.BufferedByteReceiveStream(process.stdout)

    async def write(self, *values: Any) -> None:
        assert self.process.stdin is not None
        data = b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in values)
        await self.process.stdin.send(data)

    async def read(self) -> dict[str, Any]:
        with anyio.fail_after(20):
            return dict(json.loads(await self._output.receive_until(b"\n", 1 << 24)))

    async def ask(self, value: Any) -> dict[str, Any]:
        await self.write(value)
        return await self.read()

    async def greet(self) -> None:
        await self.write(INITIALIZE, INITIALIZED)
        answer = await self.read()
        assert answer["id"] == 0
        assert "result" in answer

    async def ended(self, seconds: float = 5) -> int:
        with anyio.fail_after(seconds):
            return await self.process.wait()


@asynccontextmanager
async def bridged(root: Root, *argv: str, start: bool = False, **env: str) -> AsyncIterator[Process]:
    """Run a bridge with this root."""
    words = argv if start else ("--no-start", *argv)
    given = bridge_parameters(root, *words)
    process = await anyio.open_process([given.command, *given.args], env=dict(given.env or {}) | env, stderr=None)
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.aclose()


@pytest.fixture
def service(root: Root) -> MemoryService:
    return team(root)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something has become true."""
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.005)


# a session with a server


async def test_lines_pass_both_ways(root: Root) -> None:
    async with running(root) as run, bridged(root) as process:
        await process.greet()
        assert (await process.ask(PING))["result"] == {}
        answer = await process.ask(call(1))
        assert answer["result"]["structuredContent"]["status"] == "queued"
    assert len(run.service.accepted("bob")) == 1


async def test_the_credential_of_the_environment_is_used(root: Root) -> None:
    async with running(root) as run:
        token = run.credentials.credential_for(ALICE)
        async with bridged(root, PEERWAKE_CREDENTIAL=token) as process:
            await process.greet()
            await process.ask(call(1))
        async with bridged(root, PEERWAKE_CREDENTIAL="${PEERWAKE_CREDENTIAL}") as process:
            await process.greet()
            await process.ask(call(1))
        async with bridged(root, PEERWAKE_CREDENTIAL="${PEERWAKE_CREDENTIAL:-}") as process:
            await process.greet()
            await process.ask(call(1))
    assert [str(one.sender) for one in run.service.accepted("bob")] == ["claude-alice", "cli-operator", "cli-operator"]


async def test_a_refused_credential_is_told_to_every_request(root: Root) -> None:
    async with running(root) as run, bridged(root, PEERWAKE_CREDENTIAL="pw1.claude-alice.forged") as process:
        answer = await process.ask(INITIALIZE)
        assert answer["error"]["code"] == NO_SERVER
        assert "credential is not valid" in answer["error"]["message"]
        assert "error" in await process.ask(PING)
    assert run.service.letters == {}


async def test_malformed_and_endless_lines_are_answered(root: Root) -> None:
    async with running(root) as run, bridged(root) as process:
        await process.greet()
        for line in (b"nonsense", b"{", b"[" * 5000):
            assert (await process.ask(line))["error"]["code"] == -32700
        assert (await process.ask(b"[]"))["error"]["code"] == -32600
        answer = await process.ask(call(5, message="x" * (1 << 20)))
        assert (answer["id"], answer["error"]["code"]) == (5, -32600)
        answer = await process.ask(b'{"id": 1, "x": "' + b"x" * (17 << 20) + b'"}')
        assert (answer["id"], answer["error"]["code"]) == (None, -32600)
        assert (await process.ask(PING))["result"] == {}
        assert (await process.ask(b'{"jsonrpc": "2.0", "id": 1.5, "method": "ping"}'))["error"]["code"] == -32600
    assert run.service.letters == {}


async def test_text_is_not_changed_on_its_way(root: Root) -> None:
    text = 'ünï\u2028"\\\n\t😀</peer-message>${x}' + "é" * 100_000
    async with running(root) as run, bridged(root) as process:
        await process.greet()
        assert not (await process.ask(call(1, message=text)))["result"]["isError"]
        answer = await process.ask(json.dumps(call(2, message="HALF")).replace("HALF", "\\ud800").encode())
        assert (answer["id"], "surrogate" in answer["error"]["message"]) == (2, True)
    assert [one.body for one in run.service.accepted("bob")] == [text.replace("\u2028", "\n")]


async def test_a_cancellation_reaches_the_server(root: Root, service: MemoryService) -> None:
    service.waking.add("bob")
    async with running(root, service) as run, bridged(root) as process:
        await process.greet()
        await process.write(call(1))
        await until(lambda: len(service.letters) == 1)
        assert (await status_of(run))["in_flight"] == 1
        await process.write({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
        assert (await process.ask(PING))["id"] == "ping"
        assert (await status_of(run))["in_flight"] == 0


async def status_of(run: Running) -> dict[str, Any]:
    from tests.mcp_server.fronts import control

    async with control(run.socket) as connection:
        return dict((await connection.ask({"id": 1, "verb": "status"}))["result"]["counts"])


# its end


async def test_it_ends_with_standard_input(root: Root) -> None:
    async with running(root), bridged(root) as process:
        await process.greet()
        assert process.process.stdin is not None
        await process.process.stdin.aclose()
        assert await process.ended() == 0


async def test_it_ends_with_standard_input_without_a_server(root: Root) -> None:
    async with bridged(root) as process:
        assert process.process.stdin is not None
        await process.process.stdin.aclose()
        assert await process.ended() == 0


def test_it_ends_when_nobody_reads(root: Root) -> None:
    given = bridge_parameters(root, "--no-start")
    process = subprocess.Popen(
        [given.command, *given.args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(given.env or {})
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(5) == 0
    process.stdin.close()


def test_lines_from_a_file_are_answered_before_it_ends(root: Root, tmp_path: Path) -> None:
    questions = tmp_path / "questions"
    questions.write_text("".join(json.dumps(one) + "\n" for one in (INITIALIZE, INITIALIZED, PING)))

    async def serve() -> bytes:
        async with running(root):
            with questions.open("rb") as file:
                given = bridge_parameters(root, "--no-start")
                done = await anyio.run_process([given.command, *given.args], stdin=file, env=given.env)
            return done.stdout

    answers = [json.loads(line) for line in anyio.run(serve).splitlines()]
    assert [answer["id"] for answer in answers] == [0, "ping"]


# a server that goes away


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_of_either_era_survives_a_restart(root: Root, service: MemoryService, mode: str) -> None:
    async with anyio.create_task_group() as servers:
        first = await started(servers, root, service, ABRUPT)
        parameters = bridge_parameters(root, "--no-start", PEERWAKE_CREDENTIAL=first.credentials.credential_for(ALICE))
        async with Client(stdio_client(parameters), mode=mode) as client:
            await client.call_tool("send_to_peer", {"personality": "bob", "message": "one"})
            first.front.stop()
            await until(lambda: not root.server_socket.exists())
            second = await started(servers, root, service, ABRUPT)
            await client.call_tool("send_to_peer", {"personality": "bob", "message": "two"})
            assert len((await client.list_tools(cache_mode="bypass")).tools) == 3
        second.front.stop()
    assert [(one.body, one.sender) for one in service.accepted("bob")] == [("one", ALICE), ("two", ALICE)]


async def test_what_was_in_flight_is_answered_by_the_next_server_once(root: Root, service: MemoryService) -> None:
    service.waking.add("bob")
    async with bridged(root) as process:
        async with running(root, service, ABRUPT):
            await process.greet()
            await process.write(*(call(number, message=str(number)) for number in range(20)))
            await until(lambda: len(service.letters) == 20)
        async with running(root, service, ABRUPT):
            await process.write(call(20, message="20"))
            await until(lambda: len(service.letters) == 21)
            for message in service.accepted("bob"):
                service.consume(message.id)
            answers = [await process.read() for _ in range(21)]
            assert (await process.ask(PING))["id"] == "ping"
    assert sorted(answer["id"] for answer in answers) == list(range(21))
    assert {answer["result"]["structuredContent"]["status"] for answer in answers} == {"delivered"}
    assert not any("duplicate" in answer["result"]["structuredContent"] for answer in answers)
    assert [one.body for one in service.accepted("bob")] == [str(number) for number in range(21)]


async def test_a_killed_servers_accepted_message_is_not_sent_twice(root: Root, service: MemoryService) -> None:
    """The server dies between accepting and answering."""
    service.accept_gate = anyio.Event()
    async with bridged(root) as process:
        async with running(root, service, ABRUPT):
            await process.greet()
            await process.write(call(1))
            await until(lambda: len(service.letters) == 1)
        service.accept_gate = None
        async with running(root, service, ABRUPT):
            answer = await process.read()
    assert answer["result"]["structuredContent"]["message_id"] == service.accepted("bob")[0].id
    assert len(service.letters) == 1


async def test_a_cancelled_call_is_not_sent_again(root: Root, service: MemoryService) -> None:
    async with bridged(root) as process:
        async with running(root, service, ABRUPT):
            await process.greet()
        await process.write(
            call(1), {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        )
        await process.write(call(2, message="kept"))
        async with running(root, service, ABRUPT):
            assert (await process.read())["id"] == 2
    assert [one.body for one in service.accepted("bob")] == ["kept"]


async def test_when_no_server_comes_back_each_request_is_told_what_to_do(root: Root, service: MemoryService) -> None:
    service.waking.add("bob")
    async with bridged(root, "--reconnect-seconds", "0.3") as process:
        async with running(root, service, ABRUPT):
            await process.greet()
            await process.write(call(1), call(2))
            await until(lambda: len(service.letters) == 2)
        for number in (1, 2):
            answer = await process.read()
            assert answer["id"] == number
            assert answer["error"]["code"] == NO_SERVER
            assert "peerwake serve" in answer["error"]["message"]
            assert "queue_status" in answer["error"]["message"]
        assert (await process.ask(PING))["error"]["code"] == NO_SERVER
        service.waking.clear()
        async with running(root, service, ABRUPT):
            answer = await process.ask(call(3))
            assert answer["result"]["structuredContent"]["status"] == "queued"
    assert len(service.letters) == 3


async def test_a_client_that_reads_late_gets_everything(root: Root) -> None:
    """Answers of 10 MB: the bridge stops reading, and goes on when its client does."""
    count = 3000
    written = 0
    async with running(root), bridged(root) as process, anyio.create_task_group() as group:
        await process.greet()

        async def write() -> None:
            nonlocal written
            for number in range(count):
                await process.write({"jsonrpc": "2.0", "id": number, "method": "tools/list"} | PADDING)
                written += 1

        group.start_soon(write)
        before = -1
        while before != written:
            before = written
            await anyio.sleep(0.2)
        assert written < count
        assert {(await process.read())["id"] for _ in range(count)} == set(range(count))


# what is no server


@asynccontextmanager
async def impostor(root: Root, handle: Callable[[anyio.abc.SocketStream], Awaitable[None]]) -> AsyncIterator[None]:
    """Listen where a server would."""

    async def closing(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await handle(stream)

    listener = await anyio.create_unix_listener(root.server_socket)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, closing)
        yield
        group.cancel_scope.cancel()


async def test_who_closes_every_connection_is_no_server(root: Root) -> None:
    """Also one that dies while it greets: each request is told, before and after the bridge gives up."""
    connections = 0

    async def close(stream: anyio.abc.SocketStream) -> None:
        nonlocal connections
        connections += 1
        await stream.aclose()

    async with impostor(root, close), bridged(root, "--reconnect-seconds", "0.5") as process:
        for number in range(3):
            answer = await process.ask(call(number))
            assert (answer["id"], answer["error"]["code"]) == (number, NO_SERVER)
        assert connections < 40


async def test_who_never_answers_is_no_server(root: Root) -> None:
    async def hang(stream: anyio.abc.SocketStream) -> None:
        await anyio.sleep_forever()

    async with impostor(root, hang), bridged(root, "--reconnect-seconds", "0.1") as process:
        answer = await process.ask(call(1))
        assert answer["error"]["code"] == NO_SERVER
        assert "does not answer" in answer["error"]["message"]
        assert (await process.ask(call(2)))["id"] == 2


@pytest.mark.parametrize(
    "greeting", [b"[1]", b"5", b"x", b'{"ok": false, "error": "no"}', b'{"error": {"message": [1]}}', b"[" * 100_000]
)
async def test_who_greets_with_anything_else_is_no_server(root: Root, greeting: bytes) -> None:
    async def greet(stream: anyio.abc.SocketStream) -> None:
        await stream.send(greeting + b"\n")
        await anyio.sleep_forever()

    async with impostor(root, greet), bridged(root) as process:
        answer = await process.ask(call(1))
        assert "the server did not accept the connection" in answer["error"]["message"]


@pytest.mark.parametrize("said", [b'{"ok": false, "error": {"message": "not you"}}', b'{"ok": true}\n{"id": 1}'])
def test_what_a_server_said_before_it_closed_counts_also_when_that_is_noticed_in_writing(
    root: Root, tmp_path: Path, said: bytes
) -> None:
    output = tmp_path / "output"
    keyboard, client = socket.socketpair()
    with keyboard, client, socket.socket(socket.AF_UNIX) as listener, output.open("wb") as file:
        listener.bind(str(root.server_socket))
        listener.listen()
        bridge, poll = Bridge(Config(str(root.home), [], 5.0, None), keyboard.fileno(), file.fileno()), select.poll()
        bridge._connect()
        bridge._take(json.dumps(call(1)).encode())
        bridge._flush()
        server, _ = listener.accept()
        server.sendall(said + b"\n")
        server.close()
        bridge._take(json.dumps(call(2)).encode())
        bridge._flush()
        while bridge._socket is not None:
            bridge._once(poll)
    (answer,) = map(json.loads, output.read_text().splitlines()[:1])
    assert answer["id"] == 1
    assert "not you" in answer["error"]["message"] if b"false" in said else "error" not in answer


# no server yet


@pytest.fixture
def notes(tmp_path: Path, root: Root) -> Any:
    path = tmp_path / "notes"
    yield path
    for each in starts(path):
        try:
            os.kill(each["pid"], signal.SIGKILL)
        except ProcessLookupError:
            continue
        while start_time(each["pid"]) is not None:
            time.sleep(0.005)


def starts(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def test_it_starts_a_server_that_is_not_the_agents(root: Root, notes: Path) -> None:
    command = ("--", sys.executable, str(bridge_server.__file__), str(notes))
    env = {"PEER_IDENTITY": "claude-alice", "TMUX": "x", "TMUX_PANE": "%1", "PATH": os.environ["PATH"], "KEPT": "1"}
    async with bridged(root, *command, start=True, **env) as process:
        await process.greet()
        (server,) = starts(notes)
        assert server["session"] == server["group"] != os.getsid(process.process.pid)
        assert {"KEPT", "PEERWAKE_HOME", "PEERWAKE_FROM_SESSION"} <= set(server["environment"])
        assert not {"PEER_IDENTITY", "TMUX", "TMUX_PANE", "PEERWAKE_CREDENTIAL"} & set(server["environment"])
        assert process.process.stdin is not None
        await process.process.stdin.aclose()
        assert await process.ended() == 0
    async with bridged(root) as process:
        await process.greet()


async def test_a_server_started_outside_of_sessions_is_not_marked_as_an_agents(root: Root, notes: Path) -> None:
    command = ("--", sys.executable, str(bridge_server.__file__), str(notes))
    async with bridged(root, *command, start=True, PATH=os.environ["PATH"]) as process:
        await process.greet()
        assert "PEERWAKE_FROM_SESSION" not in starts(notes)[0]["environment"]


async def test_it_starts_the_server_of_this_package_in_a_root_that_is_not_there_yet(root: Root) -> None:
    home = Root(root.home / "new" / "home")
    async with bridged(home, start=True, HOME=str(root.home), PATH=os.environ["PATH"], PEERWAKE_TCP="false") as process:
        await process.greet()
        pid = json.loads(home.discovery.read_text())["pid"]
        try:
            answer = await process.ask(call(1))
            assert answer["result"]["structuredContent"]["code"] == "unknown-peer"
            assert home.home.stat().st_mode & 0o777 == 0o700
        finally:
            os.kill(pid, signal.SIGTERM)
            await until(lambda: start_time(pid) is None)


async def test_many_bridges_start_one_server(root: Root, notes: Path) -> None:
    command = ("--", sys.executable, str(bridge_server.__file__), str(notes))
    answered: list[int] = []

    async def one(number: int) -> None:
        async with bridged(root, *command, start=True) as process:
            await process.greet()
            answered.append(number)

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(one, number)
    assert len(answered) == 8
    assert len(starts(notes)) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_what_stands_in_the_place_of_its_log_does_not_hold_a_start_up(root: Root, notes: Path, kind: str) -> None:
    target = take_place_of(root.logs / "background.log", kind)
    command = ("--", sys.executable, str(bridge_server.__file__), str(notes))
    async with bridged(root, *command, start=True) as process:
        await process.greet()
    assert len(starts(notes)) == 1
    assert target.read_text() == "mine"


async def test_a_server_that_was_killed_is_started_again(
    root: Root, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("--", sys.executable, str(bridge_server.__file__), str(notes))
    async with bridged(root, *command, start=True) as process:
        await process.greet()
        os.kill(starts(notes)[0]["pid"], signal.SIGKILL)
        await process.write(PING)
        assert (await process.read())["id"] == "ping"
    assert len(starts(notes)) == 2


async def test_why_a_server_cannot_be_started_is_told(root: Root) -> None:
    words = ("--reconnect-seconds", "0.5", "--", "/nowhere/python")
    async with bridged(root, *words, start=True) as process:
        answer = await process.ask(INITIALIZE)
    assert answer["error"]["code"] == NO_SERVER
    assert "cannot start /nowhere/python: No such file or directory" in answer["error"]["message"]
    assert "peerwake serve" in answer["error"]["message"]


# as a program


def run_bridge(*argv: str, **extra: str) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-I", "-S", bridge.__file__, *argv]
    return subprocess.run(words, input="", capture_output=True, text=True, timeout=10, env=os.environ | extra)


def test_bad_arguments_are_usage_errors(root: Root) -> None:
    done = run_bridge("--nonsense")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--nonsense" in done.stderr
    assert run_bridge("--home", "").stderr.startswith("peerwake bridge: --home is empty")
    assert run_bridge("--home", str(root.home), "--no-start").returncode == 0


@pytest.mark.parametrize("value", ["1m", "nan", "inf", "-1", " "])
def test_a_time_to_reconnect_that_is_none_is_named_with_its_source(root: Root, value: str) -> None:
    words = ("--home", str(root.home), "--no-start")
    by_variable = run_bridge(*words, PEERWAKE_RECONNECT_SECONDS=value)
    by_option = run_bridge(*words, "--reconnect-seconds", value)
    for source, done in (("PEERWAKE_RECONNECT_SECONDS", by_variable), ("--reconnect-seconds", by_option)):
        assert (done.returncode, done.stdout) == (2, "")
        told = f"{source}: {value!r} is no number of seconds; give 0 or more, such as 60"
        assert done.stderr == f"peerwake bridge: {told}\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_what_a_client_left_closed_is_nothing(root: Root, closed: str) -> None:
    words = shlex.join([sys.executable, "-I", "-S", bridge.__file__, "--home", str(root.home), "--no-start"])
    done = subprocess.run(["sh", "-c", f"{words} {closed}"], input=b"", capture_output=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_it_imports_little_of_the_standard_library() -> None:
    modules: set[str] = set()
    for path in (*Path(bridge.__file__).parent.glob("bridge*.py"), Path(home.__file__)):
        tree = ast.parse(path.read_text())
        modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        modules |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    ours = {name for name in modules if name.startswith("mcp_server.serve.bridge_")}
    assert modules - ours - {"transport.home"} == {"_socket", "fcntl", "json", "os", "select", "sys", "time"}


@pytest.mark.parametrize(("home", "problem"), [("relative", "is relative"), ("~nosuchuser/x", "no such home")])
def test_a_root_that_nobody_can_find_is_named(tmp_path: Path, home: str, problem: str) -> None:
    (tmp_path / "gone").mkdir()
    words = shlex.join([sys.executable, "-I", "-S", bridge.__file__, "--no-start"])
    done = subprocess.run(
        ["sh", "-c", f'rmdir "$PWD"; exec {words}'],
        env={"PATH": os.environ["PATH"], "PEERWAKE_HOME": home},
        cwd=tmp_path / "gone",
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert problem in done.stderr
    assert done.stderr.count("\n") == 1
