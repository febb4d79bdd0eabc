"""Bad credentials and foreign users: refused before anything is looked at, and nothing is queued.

Checklist of issue 2: a forged credential, a foreign one, none at all (TCP), another user's uid on the socket.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcp_server.serve.credentials import Credentials, load_credentials
from tests.contract.bad_input import HTTP, NOBODY, credential, private_world, refused, stored, unchanged
from tests.contract.wires import ACCEPT, HttpWire, SocketWire, SseWire, UnixHttp, bridge_wire, tcp, wire
from tests.live.world import World
from transport.identity import parse_identity

pytestmark = pytest.mark.live

BOB = "scripted-bob"
CALL = {"name": "send_to_peer", "arguments": {"personality": "alice", "message": "psst", "wait_seconds": 0}}
MESSAGE = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": CALL}).encode()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with private_world(**HTTP) as world:
        world.create("alice")
        world.create("bob")
        world.serve()
        yield world


def forgeries(world: World) -> dict[str, str]:
    """Return what an attacker might make up."""
    good = credential(world, BOB)
    version, name, digest = good.split(".")
    foreign = Credentials(b"\x00" * 32)
    return {
        "nonsense": "nonsense",
        "another name": f"{version}.scripted-alice.{digest}",
        "the operator's name": f"{version}.operator.{digest}",
        "another version": f"pw2.{name}.{digest}",
        "no digest": f"{version}.{name}.",
        "half a digest": good[:-10],
        "one bit": good[:-1] + ("A" if good[-1] != "A" else "E"),
        "more": good + "A",
        "upper case": good.upper(),
        "of another root": foreign.credential_for(parse_identity(BOB)),
        "the operator's of another root": foreign.operator_credential(),
        "very long": "pw1." + "x" * 4_000,
        "not ASCII": f"{version}.b\u00f6b.{digest}",
    }


FORGERIES = (
    *("nonsense", "another name", "the operator's name", "another version", "no digest", "half a digest", "one bit"),
    *("more", "upper case", "of another root", "the operator's of another root", "very long", "not ASCII"),
)


def post(world: World, path: str, token: str | None, *, unix: bool = False, scheme: str = "Bearer ") -> tuple[int, Any]:
    """Post one call and return the status and the JSON-RPC error."""
    connection = UnixHttp(world.root.server_socket) if unix else tcp(world)
    headers = ACCEPT if token is None else ACCEPT | {"Authorization": scheme + token}
    try:
        connection.putrequest("POST" if path != "/sse" else "GET", path)
        for name, value in (headers | {"Content-Length": str(len(MESSAGE))}).items():
            connection.putheader(name, value.encode())
        connection.endheaders(MESSAGE)
        with connection.getresponse() as response:
            text = response.read()
            is_json = response.headers.get_content_type() == "application/json"
            return response.status, json.loads(text)["error"] if is_json else text.decode()
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/mcp", "/sse", "/messages"])
def test_without_a_credential_tcp_says_what_to_send(world: World, path: str) -> None:
    with unchanged(world):
        status, error = post(world, path, None)
    assert (status, error["data"]["code"]) == (401, "bad-credential")
    assert "Authorization: Bearer" in error["message"]


@pytest.mark.parametrize("token", ["", " ", "${PEERWAKE_CREDENTIAL}", "${PEERWAKE_CREDENTIAL:-}"])
def test_a_reference_that_was_not_expanded_is_no_credential_on_tcp(world: World, token: str) -> None:
    with unchanged(world):
        assert post(world, "/mcp", token)[0] == 401


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_credential_is_refused_on_every_transport(world: World, name: str) -> None:
    token = forgeries(world)[name]
    with unchanged(world):
        for path in ("/mcp", "/sse", "/messages"):
            status, error = post(world, path, token)
            assert (status, error["data"]["code"]) == (401, "bad-credential"), path
            assert token not in error["message"]
        status, error = post(world, "/mcp", token, unix=True)
        assert (status, error["data"]["code"]) == (401, "bad-credential")
        for role in ("mcp", "control"):
            with SocketWire(world.root.server_socket, {"role": role, "credential": token}) as lines:
                assert lines.greeting["ok"] is False
                assert lines.greeting["error"]["code"] == "bad-credential"
                with pytest.raises((ConnectionError, OSError)):
                    lines.exchange(MESSAGE)


@pytest.mark.parametrize("name", ["another name", "of another root", "nonsense"])
def test_a_forged_credential_is_told_through_the_bridge(world: World, name: str) -> None:
    with unchanged(world), bridge_wire(world, forgeries(world)[name]) as stdio:
        for _ in range(2):
            error = stdio.call("send_to_peer", CALL["arguments"])["error"]
            assert "credential is not valid" in error["message"]


@pytest.mark.parametrize("name", ["another name", "the operator's of another root", "nonsense"])
@pytest.mark.parametrize("has_server", [True, False])
def test_a_forged_credential_is_refused_by_the_command(world: World, name: str, has_server: bool) -> None:
    token = forgeries(world)[name]
    env = {"PEERWAKE_CREDENTIAL": token} | ({} if has_server else {"PEERWAKE_HOME": str(offline_root(world))})
    with unchanged(world):
        line = refused(world.run("send", "alice", "psst", env=env), 4, "credential is not valid")
        assert token not in line
    assert not (offline_root(world) / "state/spool.db").exists()


def offline_root(world: World) -> Path:
    """Return another root with the same peers and a key of its own, without a server."""
    home = world.root.home / "other"
    if not home.exists():
        for name in ("alice", "bob"):
            done = world.run("create", name, "--runtime", "scripted", env={"PEERWAKE_HOME": str(home)})
            assert done.returncode == 0, done.stderr
        load_credentials(home / "secret")
    return home


def test_other_schemes_than_bearer_are_refused(world: World) -> None:
    with unchanged(world):
        for scheme in ("Basic ", "Digest ", "Token "):
            assert post(world, "/mcp", credential(world, BOB), scheme=scheme)[0] == 401


def test_the_bearer_of_a_credential_is_that_peer_and_nobody_else(world: World) -> None:
    env = {"PEERWAKE_CREDENTIAL": credential(world, BOB)}
    with unchanged(world):
        refused(world.run("send", "alice", "x", "--from", "alice", env=env), 4, "scripted-bob", "'alice'")
        refused(world.run("send", "bob", "x", env=env), 4, "you are bob")
        for verb in ("stop", "start"):
            refused(world.run(verb, "alice", env=env), 4, "operator")
    assert not world.root.flag(parse_identity("scripted-alice"), "stopped").exists()


def test_a_legacy_session_is_of_no_use_to_another_bearer(world: World) -> None:
    with HttpWire(tcp(world), credential(world, BOB)) as bobs, HttpWire(tcp(world), None) as nobodys:
        bobs.initialize()
        nobodys._headers |= {name: bobs._headers[name] for name in ("Mcp-Session-Id", "MCP-Protocol-Version")}
        with unchanged(world):
            answer = nobodys.call("send_to_peer", CALL["arguments"])
            assert (nobodys.status, answer["error"]["data"]["code"]) == (401, "bad-credential")
            nobodys._headers["Authorization"] = f"Bearer {credential(world, 'scripted-alice')}"
            answer = nobodys.call("send_to_peer", {"personality": "bob", "message": "x", "wait_seconds": 0})
            assert nobodys.status in (403, 404), answer
    with SseWire(world, credential(world, BOB)) as stream, unchanged(world):
        status, _ = post(world, stream.path, credential(world, "scripted-alice"))
        assert status in (403, 404)


def test_the_credential_of_a_peer_that_is_not_there_is_refused(world: World) -> None:
    ghost = credential(world, "scripted-ghost")
    with unchanged(world):
        status, error = post(world, "/mcp", ghost)
        assert (status, error["data"]["code"]) == (403, "not-allowed")
        refused(world.run("send", "alice", "x", env={"PEERWAKE_CREDENTIAL": ghost}), 4, "scripted-ghost", "registered")


FOREIGN = """
import contextlib, json, os, socket, sys
os.setgroups([]); os.setgid({uid}); os.setuid({uid})
address = {address!r}
connection = socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX)
connection.settimeout(10)
try:
    connection.connect(address)
except OSError as error:
    print(json.dumps({{"refused": error.strerror}})); sys.exit()
answer = b""
with contextlib.suppress(OSError):
    connection.sendall({sent!r})
with contextlib.suppress(OSError):
    while chunk := connection.recv(65536):
        answer += chunk
print(json.dumps({{"answer": answer.decode()}}))
"""


def as_nobody(address: str | tuple[str, int], sent: bytes) -> dict[str, str]:
    """Connect with another user's uid and return what came back."""
    program = FOREIGN.format(uid=NOBODY, address=address, sent=sent)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can take another uid")


@needs_root
def test_another_user_does_not_get_to_the_socket(world: World) -> None:
    with unchanged(world):
        assert as_nobody(str(world.root.server_socket), b"{}\n") == {"refused": "Permission denied"}


@needs_root
@pytest.mark.parametrize("protocol", ["hello", "no hello", "control", "http", "nothing"])
def test_the_kernel_tells_another_user_where_the_directory_does_not(world: World, protocol: str) -> None:
    hello = {"peerwake": 1, "credential": credential(world, BOB)}
    head = f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(MESSAGE)}\r\n".encode()
    sent = {
        "hello": json.dumps(hello | {"role": "mcp"}).encode() + b"\n" + MESSAGE + b"\n",
        "no hello": MESSAGE + b"\n",
        "control": json.dumps(hello | {"role": "control"}).encode() + b'\n{"id": 1, "verb": "stop", "args": {}}\n',
        "http": head + f"Authorization: Bearer {credential(world, BOB)}\r\n\r\n".encode() + MESSAGE,
        "nothing": b"",
    }[protocol]
    places = {world.root.home: 0o700, world.root.run: 0o700, world.root.server_socket: 0o600}
    try:
        for place in places:
            place.chmod(0o777)
        with unchanged(world):
            answer = as_nobody(str(world.root.server_socket), sent)["answer"]
    finally:
        for place, mode in places.items():
            place.chmod(mode)
    assert "belongs to another user" in answer
    assert '"not-allowed"' in answer
    assert f"ev=foreign-uid uid={NOBODY}" in world.log("lifecycle")


@needs_root
def test_another_user_on_tcp_needs_a_credential_too(world: World) -> None:
    host, port = json.loads(world.root.discovery.read_text())["http"].removeprefix("http://").split(":")
    head = f"POST /mcp HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {len(MESSAGE)}\r\n\r\n"
    with unchanged(world):
        answer = as_nobody((host, int(port)), head.encode() + MESSAGE)["answer"]
    assert answer.startswith("HTTP/1.1 401 ")
    assert "bad-credential" in answer


def test_after_all_of_this_a_good_credential_sends(world: World) -> None:
    for kind in ("lines", "bridge", "http", "unix-http", "sse"):
        with wire(kind, world, credential(world, BOB)) as good:
            structure = good.send(personality="alice", message=kind, wait_seconds=0)
            assert stored(world)[-1][:2] == (structure["message_id"], BOB)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(world.root.server_socket))
