"""A whole server on standard input and output."""

import json
import subprocess
import sys
from typing import Any

import pytest
from filelock import FileLock, Timeout

from tests.live.world import TOP, World, until
from transport.paths import Root
from transport.tmux.program import find_tmux

INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}

LOOKS: list[tuple[str, dict[str, Any]]] = [
    ("tools/call", {"name": "list_peers", "arguments": {}}),
    ("tools/call", {"name": "list_peers", "arguments": {"live_only": True}}),
    ("resources/read", {"uri": "peer://alice"}),
    ("resources/read", {"uri": "fleet://snapshot"}),
]


class Server:
    """One in-process server and its pipes."""

    def __init__(self, world: World, *prefix: str) -> None:
        argv = [*prefix, sys.executable, "-m", "mcp_server", "serve", "--transport", "stdio", "--in-process"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(argv, env=world.env, cwd=TOP, stdin=pipe, stdout=pipe, stderr=pipe)

    def ask(self, number: int, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self.tell({"id": number, "method": method, "params": params})
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.stderr and self.process.stderr.read()
        answer: dict[str, Any] = json.loads(line)
        assert answer["id"] == number, answer
        return answer

    def tell(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0"} | message).encode() + b"\n")
        self.process.stdin.flush()

    def begin(self) -> None:
        self.ask(1, "initialize", INITIALIZE)
        self.tell({"method": "notifications/initialized"})

    def close(self) -> int:
        """End its input and return its exit status."""
        self.process.communicate(timeout=30)
        return self.process.returncode


@pytest.fixture
def world(root: Root):
    built = World(root)
    (root.home / "home").mkdir()
    yield built
    built.close()


def test_it_speaks_supervises_and_lets_go_at_the_end_of_input(world: World, root: Root) -> None:
    world.create("alice")
    server = Server(world)
    server.begin()
    tools = server.ask(2, "tools/list", {})["result"]["tools"]
    assert {tool["name"] for tool in tools} == {"send_to_peer", "list_peers", "queue_status"}
    with pytest.raises(Timeout):
        FileLock(root.supervisor_lock, timeout=0).acquire()
    assert server.close() == 0
    with FileLock(root.supervisor_lock, timeout=0):
        pass


def test_beside_a_supervisor_it_spools_what_the_other_delivers(world: World, root: Root) -> None:
    world.create("alice")
    with FileLock(root.supervisor_lock, timeout=0):
        server = Server(world)
        server.begin()
        arguments = {"personality": "alice", "message": "hello"}
        answer = server.ask(2, "tools/call", {"name": "send_to_peer", "arguments": arguments})["result"]
        assert answer["structuredContent"]["status"] == "queued"
        assert answer["structuredContent"]["reason"] == "no-supervisor"
        assert server.close() == 0
    assert world.depth("alice") == 1


@pytest.mark.live
def test_beside_a_supervisor_it_takes_no_pane(world: World, root: Root) -> None:
    """The lock of a pane that nobody uses is free: whoever took it for a look would hold up all deliveries."""
    world.extra["PEERWAKE_CONTROL_IDLE_SECONDS"] = "0.2"
    world.create("alice")
    world.serve()
    assert world.send("alice", "one")["status"] == "delivered"
    server = Server(world)
    try:
        server.begin()
        for number, one in enumerate(LOOKS, 2):
            until(lambda: not attached(root), 20, "the end of the server's own client")
            answer = server.ask(number, *one)["result"]
            assert "alice" in json.dumps(answer) and "live" in json.dumps(answer)
            assert attached(root) == []
            assert world.send("alice", f"after {number}")["status"] == "delivered"
    finally:
        assert server.close() == 0


def attached(root: Root) -> list[str]:
    """Return the clients of alice's tmux server."""
    argv = [find_tmux(), "-N", "-S", str(root.run / "tmux" / "scripted-alice.sock"), "list-clients"]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()


def test_beside_a_supervisor_that_ends_it_takes_over_and_its_sessions_live_on(world: World, root: Root) -> None:
    world.create("alice")
    world.create("bob")
    other = world.serve()
    server = Server(world)
    try:
        server.begin()
        assert world.send("alice", "one")["status"] == "delivered"
        tmux = world.tmux("scripted-alice")
        other.kill()
        other.wait()
        until(lambda: "supervises=True" in world.log("lifecycle"), 20, "the takeover")
        until(lambda: f"ev=adopt identity=scripted-alice tmux={tmux.pid}" in world.log("lifecycle"), 20, "the adoption")
        until(root.server_socket.exists, 20, "its socket")
        assert world.send("bob", "two")["status"] == "delivered"
        assert world.tmux("scripted-alice") == tmux and tmux.is_alive()
    finally:
        assert server.close() == 0


@pytest.mark.live
def test_the_first_on_a_host_serves_everybody_until_its_input_ends(world: World, root: Root) -> None:
    world.create("alice")
    server = Server(world)
    try:
        server.begin()
        assert world.send("alice", "one")["status"] == "delivered"
        second = world.run("serve", "--background")
        assert (second.returncode, second.stderr) == (0, ""), second
        assert world.run("stop", "alice").returncode == 0
        assert world.state("alice") == "stopped"
    finally:
        assert server.close() == 0
    assert not root.discovery.exists() and not root.server_socket.exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sessions have a mark on Linux")
def test_whoever_starts_it_cannot_choose_what_is_no_mark_of_a_session(world: World) -> None:
    lowered = ("import os, resource, sys; resource.setrlimit(10, (5, 5)); os.execv(sys.argv[1], sys.argv[1:])",)
    server = Server(world, sys.executable, "-c", *lowered)
    _, said = server.process.communicate(timeout=30)
    assert server.process.returncode != 0
    assert said.count(b"\n") == 1 and b"not there any more" in said


@pytest.mark.live
def test_it_serves_where_its_directory_is_gone(world: World) -> None:
    gone = world.root.home / "gone"
    gone.mkdir()
    words = f'rmdir "$PWD"; exec "{sys.executable}" -m mcp_server serve --transport stdio --in-process'
    ask = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": INITIALIZE}).encode() + b"\n"
    env = world.env | {"PYTHONPATH": str(TOP)}
    pipe = subprocess.PIPE
    with subprocess.Popen(["sh", "-c", words], cwd=gone, env=env, stdin=pipe, stdout=pipe, stderr=pipe) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(ask)
        server.stdin.flush()
        line = server.stdout.readline()
        server.stdin.close()
        assert server.wait(30) == 0
    assert json.loads(line)["id"] == 1
