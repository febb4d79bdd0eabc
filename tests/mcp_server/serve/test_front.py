"""The life of the listeners: who is let in, how they stop, what a process leaves behind."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2
import pytest

from mcp_server.serve.front import REACH_SECONDS
from mcp_server.serve.options import ServeOptions, ServerRunning
from mcp_server.serve.peercred import PeerProcess
from mcp_server.serve.sockets import unix_listener
from tests.mcp_server import front_server
from tests.mcp_server.fronts import ALICE, Lines, connected, control, lines, running, started, team
from tests.mcp_server.memory_service import MemoryService
from tests.terminal import until
from transport.paths import Root

GRACE = ServeOptions(port=0, stop_seconds=5.0)


async def test_a_stop_lets_what_is_in_flight_be_answered(root: Root) -> None:
    service = team(root)
    service.waking.add("bob")
    results = []
    async with anyio.create_task_group() as group:
        run = await started(group, root, service, GRACE)

        async def send(kind: str) -> None:
            # What the client sends after its answer finds nobody any more.
            with suppress(BaseExceptionGroup):
                async with connected(kind, run, "legacy") as client:
                    await client.list_tools()
                    results.append(await client.call_tool("send_to_peer", {"personality": "bob", "message": kind}))

        async with anyio.create_task_group() as callers:
            for kind in ("http", "sse", "lines"):
                callers.start_soon(send, kind)
            await until_accepted(service, 3)
            run.front.stop()
            for message in service.accepted("bob"):
                service.consume(message.id)
    assert [result.structured_content["status"] for result in results] == ["delivered"] * 3
    assert not root.server_socket.exists()


@pytest.mark.parametrize("loss", ["removed", "replaced", "with its directory"])
async def test_a_socket_that_is_removed_is_made_again_and_who_is_connected_stays(root: Root, loss: str) -> None:
    service = team(root)
    path = root.server_socket
    async with anyio.create_task_group() as group:
        run = await started(group, root, service, GRACE)
        async with lines(run.socket) as before:
            await before.write({"peerwake": 1, "role": "control"})
            await before.read()
            lost = path.lstat().st_ino
            path.unlink()
            if loss == "replaced":
                path.write_text("somebody's file")
            elif loss == "with its directory":
                shutil.rmtree(path.parent)
            await until(path.is_socket)
            assert path.lstat().st_ino != lost
            assert stat.S_IMODE(path.lstat().st_mode) == 0o600
            async with lines(run.socket) as after:
                for connection in (before, after):
                    if connection is after:
                        await after.write({"peerwake": 1, "role": "control"})
                        await after.read()
                    await connection.write({"id": 1, "verb": "peer", "args": {"name": "bob"}})
                    assert (await connection.read())["ok"]
        run.front.stop()
    assert not path.exists()


async def test_another_server_that_took_the_place_is_left_there(root: Root) -> None:
    path = root.server_socket
    async with anyio.create_task_group() as group:
        run = await started(group, root, team(root), GRACE)
        path.unlink()
        with unix_listener(path) as other, pytest.raises(TimeoutError):
            await until(lambda: not other.is_reached(), REACH_SECONDS * 2.5)
        run.front.stop()


async def test_a_stop_does_not_wait_for_ever(root: Root) -> None:
    service = team(root)
    service.waking.add("bob")
    async with anyio.create_task_group() as group:
        run = await started(group, root, service, ServeOptions(port=0, stop_seconds=0.1))
        async with lines(run.socket) as connection:
            await connection.write(
                {"peerwake": 1, "role": "control"},
                {"id": 1, "verb": "send", "args": {"personality": "bob", "message": "x", "wait_seconds": 100}},
            )
            assert (await connection.read())["ok"]
            await until_accepted(service, 1)
            with anyio.fail_after(5):
                run.front.stop()
                assert await connection.is_closed()
    assert len(service.letters) == 1


async def test_a_stop_ends_idle_connections(root: Root) -> None:
    async with anyio.create_task_group() as group:
        run = await started(group, root, options=GRACE)
        async with control(run.socket) as connection:
            with anyio.fail_after(5):
                run.front.stop()
                assert await connection.is_closed()
                with pytest.raises(OSError):
                    while True:
                        async with await anyio.connect_unix(run.socket):
                            await anyio.sleep(0.01)


async def until_accepted(service: MemoryService, count: int) -> None:
    with anyio.fail_after(10):
        while len(service.letters) < count:  # noqa: ASYNC110
            await anyio.sleep(0.005)


async def test_a_second_server_of_the_same_root_is_refused(root: Root) -> None:
    async with running(root) as run:
        with pytest.RaisesGroup(ServerRunning):
            async with anyio.create_task_group() as group:
                await started(group, root)
        async with control(run.socket) as connection:
            assert (await connection.ask({"id": 1, "verb": "ping"}))["ok"]


async def test_without_tcp_there_is_only_the_socket(root: Root) -> None:
    async with running(root, options=ServeOptions(port=None)) as run:
        assert run.addresses.http is None


async def test_another_users_connection_is_told_and_closed(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(root) as run:
        monkeypatch.setattr(PeerProcess, "is_ours", property(lambda process: False))
        async with lines(run.socket) as connection:
            answer = await connection.read()
            assert answer["ok"] is False
            assert answer["error"]["code"] == "not-allowed"
            assert await connection.is_closed()
    assert "foreign-uid" in (root.logs / "lifecycle.log").read_text()


CONNECT = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.settimeout(5)
print(s.recv(4096).decode())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be another user")
async def test_another_uid_is_told_and_closed(root: Root) -> None:
    async with running(root) as run:
        root.home.chmod(0o755)
        root.run.chmod(0o755)
        root.server_socket.chmod(0o666)
        try:
            done = await anyio.to_thread.run_sync(
                lambda: subprocess.run(
                    [sys.executable, "-I", "-S", "-c", CONNECT, run.socket],
                    user=12345,
                    group=12345,
                    extra_groups=[],
                    cwd="/",
                    capture_output=True,
                    text=True,
                    timeout=10,
                )
            )
        except PermissionError:
            pytest.skip("this Python cannot be run by another user")
        assert json.loads(done.stdout)["error"]["code"] == "not-allowed"


SHOUT = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(sys.stdin.buffer.read())
"""


async def test_who_has_gone_before_it_was_looked_at_is_not_the_operator(root: Root) -> None:
    """An agent's process that shouts and ends cannot pass for somebody outside every session."""
    service = team(root)
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    arguments = {"personality": "bob", "message": "x", "from": "carol"}
    said = [{"peerwake": 1, "role": "control"}, {"id": 1, "verb": "send", "args": arguments}]
    lines_said = "".join(json.dumps(one) + "\n" for one in said)
    posted = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\n\r\n" + json.dumps(ping)
    async with running(root, service) as run:
        for text in (lines_said, posted):
            # The loop does not run meanwhile, so the server looks when the process has gone.
            argv = [sys.executable, "-I", "-S", "-c", SHOUT, run.socket]
            subprocess.run(argv, input=text.encode(), check=True, timeout=10)  # noqa: ASYNC221
        async with control(run.socket) as connection:
            assert (await connection.ask({"id": 1, "verb": "ping"}))["ok"]
            status = await connection.ask({"id": 2, "verb": "status"})
    assert status["result"]["operator"] is True
    assert service.letters == {}


async def test_one_connections_first_bytes_decide(root: Root) -> None:
    async with running(root) as run:
        async with httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(uds=run.socket)) as client:
            assert (await client.get("http://localhost/nowhere")).status_code == 404
        async with control(run.socket) as connection:
            assert (await connection.ask({"id": 1, "verb": "ping"}))["ok"]
        async with await anyio.connect_unix(run.socket) as stream:
            connection = Lines(stream)
            for byte in b'{"peerwake": 1, "role": "control"}\n':
                await stream.send(bytes([byte]))
            assert (await connection.read())["ok"]


async def test_more_routes_go_through_the_same_checks(root: Root) -> None:
    async def hello(scope: object, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b"hello"})  # type: ignore[operator]

    service = team(root)
    async with anyio.create_task_group() as group:
        run = await started(group, root, service, GRACE, {"/hello": hello})
        async with httpx2.AsyncClient() as client:
            assert (await client.get(f"{run.http}/hello")).status_code == 401
            assert (await client.get(f"{run.http}/hello", headers=run.bearer(ALICE))).text == "hello"
        run.front.stop()


@pytest.mark.parametrize("busy", [False, True])
def test_a_process_stops_cleanly_and_silently(root: Root, busy: bool) -> None:
    """SIGTERM with connections of every kind open: status 0, nothing on standard error."""
    process = subprocess.Popen(
        [sys.executable, str(Path(front_server.__file__)), "busy" if busy else "idle"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PEERWAKE_HOME": str(root.home)},
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, stderr) == (0, "")


@pytest.mark.parametrize("is_restored", [False, True])
async def test_many_connections_wait_for_a_server_that_is_busy(root: Root, is_restored: bool) -> None:
    """It takes none while these are made: its loop is here."""
    async with running(root):
        if is_restored:
            root.server_socket.unlink()
            await until(root.server_socket.is_socket)
        with ExitStack() as stack:
            for _ in range(300):
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(str(root.server_socket))
