"""An agent's own shell claims to be somebody else: it speaks for its peer and for nobody else, whatever it tries.

Checklist of issue 2: `peerwake send --from somebody-else` from inside a session, in its variants: the environment
cleared, standing in another peer's directory, with another peer's credential or the operator's, over HTTP on the unix
socket, JSON-RPC without a hello, the control protocol, the bridge, a server of its own, and without a server.
"""

import json
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mcp_server.serve.bridge as bridge
from mcp_server.serve.credentials import load_credentials
from tests.contract.bad_input import credential, private_world, senders, stored
from tests.live.world import TOP, World, until
from transport.identity import parse_identity
from transport.process import run

pytestmark = pytest.mark.live

Tasks = dict[str, list[Any]]
Answers = dict[str, dict[str, Any]]

PEERWAKE = [sys.executable, "-m", "mcp_server"]
OPERATORS = (
    *("stop", "start", "dead", "show", "retry", "drop", "reload"),
    *("attach", "watch", "run", "new", "refresh", "interrupt", "compact"),
)
FORGED = ("--from", "--from there", "--from operator", "token", "token and --from", "operator's token")
HONEST = ("cleared", "there", "variables")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Alice has a live session; bob and carol sleep until somebody writes to them."""
    with private_world() as world:
        for name in ("alice", "bob", "carol"):
            world.create(name)
        world.serve()
        assert world.send("alice", "live")["status"] == "delivered"
        yield world


def in_session(world: World, tasks: Tasks) -> Answers:
    """Do the tasks in a process that alice's session started."""
    given, answers = world.root.home / "tasks.json", world.root.home / "answers.json"
    answers.unlink(missing_ok=True)
    given.write_text(json.dumps(tasks))
    script = Path(__file__).with_name("agent_shell.py")
    line = f"PYTHONPATH={TOP} {shlex.join([sys.executable, str(script), str(given), str(answers)])}"
    socket = world.root.tmux_socket(parse_identity("scripted-alice"))
    done = run(["tmux", "-S", str(socket), "run-shell", "-b", line], deadline=10)
    assert done.status == 0, done.stderr
    until(answers.exists, 60, "the end of the attempts")
    found: Answers = json.loads(answers.read_text())
    failed = {name: each["error"] for name, each in found.items() if "error" in each}
    assert not failed, failed
    return found


def bare(world: World, **more: str) -> dict[str, str]:
    """Return an environment in which nothing tells of a session."""
    return {"PEERWAKE_HOME": str(world.root.home), "PYTHONPATH": str(TOP), "PATH": "/usr/bin:/bin"} | more


def commands(world: World, mark: str) -> Tasks:
    """Return sends to carol, forged and honest; the body of each is its mark and its name."""
    there, env = str(world.root.peers / "bob"), bare(world)
    bobs = bare(world, PEERWAKE_CREDENTIAL=credential(world, "scripted-bob"))
    operators = bare(world, PEERWAKE_CREDENTIAL=load_credentials(world.root.secret).operator_credential())
    variables = bare(world, PEER_IDENTITY="scripted-bob", PEER_PERSONALITY="bob", PEER_RUNTIME="scripted")
    tries: dict[str, tuple[list[str], dict[str, str], str]] = {
        "--from": (["--from", "bob"], env, "/"),
        "--from there": (["--from", "bob"], env, there),
        "--from operator": (["--from", "operator"], env, "/"),
        "token": ([], bobs, "/"),
        "token and --from": (["--from", "bob"], bobs, there),
        "operator's token": ([], operators, "/"),
        "cleared": ([], env, "/"),
        "there": ([], env, there),
        "variables": ([], variables, there),
    }
    send = [*PEERWAKE, "send", "carol", "--wait", "0"]
    return {
        name: ["command", [*send, *flags, f"{mark} {name}"], environment, place]
        for name, (flags, environment, place) in tries.items()
    }


def connections(world: World) -> Tasks:
    """Return connections to the socket, by every protocol, that claim bob or stand in his directory."""
    there, path, token = str(world.root.peers / "bob"), str(world.root.server_socket), credential(world, "scripted-bob")
    args = {"personality": "carol", "message": "control", "from": "bob", "wait_seconds": 0}
    requests = [{"id": 0, "verb": "send", "args": args}, *({"id": verb, "verb": verb} for verb in OPERATORS)]
    bridging = [sys.executable, "-I", "-S", str(Path(bridge.__file__)), "--no-start"]
    own = [*PEERWAKE, "serve", "--transport", "stdio", "--in-process"]
    bobs = bare(world, PEERWAKE_CREDENTIAL=token)
    return {
        "hello": ["hello", path, {"cwd": there}, "hello"],
        "hello with a token": ["hello", path, {"credential": token}, "hello with a token"],
        "no hello": ["no_hello", path, "no hello"],
        "http": ["http", path, None, "http"],
        "http with a token": ["http", path, token, "http with a token"],
        "control": ["control", path, {"cwd": there}, requests],
        "control with a token": ["control", path, {"credential": token}, requests],
        "bridge": ["piped", bridging, bare(world), there, "bridge"],
        "bridge with a token": ["piped", bridging, bobs, there, "bridge with a token"],
        "in process": ["piped", own, bare(world), there, "in process"],
        "stop": ["command", [*PEERWAKE, "stop", "bob"], bare(world), "/"],
        "start": ["command", [*PEERWAKE, "start", "--all"], bare(world), "/"],
    }


@pytest.fixture(scope="module")
def online(world: World) -> Answers:
    return in_session(world, commands(world, "online") | connections(world))


@pytest.fixture(scope="module")
def offline(world: World, online: Answers) -> Answers:
    """The same commands, when the server is gone and the session lives on."""
    (server,) = world.servers
    server.send_signal(signal.SIGKILL)
    server.wait()
    return in_session(world, commands(world, "offline"))


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_command_is_refused(world: World, online: Answers, name: str) -> None:
    assert online[name]["status"] == 4, online[name]
    assert "scripted-alice" in online[name]["stderr"]
    assert "cannot" in online[name]["stderr"]
    assert senders(world, f"online {name}") == []


@pytest.mark.parametrize("name", HONEST)
def test_without_a_claim_it_is_its_peer(world: World, online: Answers, name: str) -> None:
    assert online[name]["status"] in (0, 3), online[name]
    assert senders(world, f"online {name}") == ["scripted-alice"]


@pytest.mark.parametrize("name", ["hello", "no hello", "http", "bridge", "in process"])
def test_a_connection_is_its_peers_whatever_the_protocol(world: World, online: Answers, name: str) -> None:
    assert online[name]["answer"]["result"]["isError"] is False, online[name]
    assert senders(world, name) == ["scripted-alice"]


@pytest.mark.parametrize("name", ["hello with a token", "http with a token", "bridge with a token"])
def test_another_peers_credential_is_refused_there(world: World, online: Answers, name: str) -> None:
    assert "cannot act with another credential" in json.dumps(online[name])
    assert senders(world, name) == []


def test_the_greeting_says_who_it_is(online: Answers) -> None:
    for name in ("hello", "control"):
        assert online[name]["greeting"] | {"identity": "scripted-alice", "operator": False} == online[name]["greeting"]
    assert online["control with a token"]["greeting"]["error"]["code"] == "not-allowed"


def test_the_control_protocol_refuses_the_claim_and_the_operators_verbs(world: World, online: Answers) -> None:
    answers = {answer["id"]: answer for answer in online["control"]["answers"]}
    assert answers.keys() == {0, *OPERATORS}
    assert {answer["error"]["code"] for answer in answers.values()} == {"not-allowed"}
    assert "cannot send as 'bob'" in answers[0]["error"]["message"]
    assert senders(world, "control") == []


@pytest.mark.parametrize("name", ["stop", "start"])
def test_the_operators_commands_are_refused(world: World, online: Answers, name: str) -> None:
    assert online[name]["status"] == 4, online[name]
    assert "operator" in online[name]["stderr"]
    assert not world.root.flag(parse_identity("scripted-bob"), "stopped").exists()


@pytest.mark.parametrize("name", FORGED)
def test_without_a_server_a_forged_command_is_refused(world: World, offline: Answers, name: str) -> None:
    assert offline[name]["status"] == 4, offline[name]
    assert "scripted-alice" in offline[name]["stderr"]
    assert senders(world, f"offline {name}") == []


@pytest.mark.parametrize("name", HONEST)
def test_without_a_server_and_a_claim_it_is_its_peer(world: World, offline: Answers, name: str) -> None:
    assert offline[name]["status"] == 3, offline[name]
    assert senders(world, f"offline {name}") == ["scripted-alice"]


def test_nobody_else_ever_wrote(world: World, offline: Answers) -> None:
    assert {row[1] for row in stored(world)} == {"scripted-alice", "cli-operator"}
    assert [row[1] for row in stored(world)].count("cli-operator") == 1
