"""A credential: it ends with its peer, belongs to one root and one identity, and cannot be worked out by trying."""

import hmac
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import mcp_server.serve.credentials as product
from mcp_server.serve.credentials import BadCredential, Credentials, SecretUnusable, load_credentials
from tests.contract.bad_input import HTTP, credential, private_world, refused, unchanged
from tests.contract.wires import ACCEPT, SocketWire, UnixHttp, bridge_wire, tcp, wire
from tests.live.world import World, until
from transport.brand import brand, hard_limit, is_marked
from transport.identity import Identity
from transport.paths import Root
from transport.process import terminate
from transport.retired import Retired

ALICE = Identity("scripted", "alice")
live = pytest.mark.live


@pytest.fixture
def made(root: Root) -> Credentials:
    return load_credentials(root.secret)


def test_every_comparison_looks_at_the_whole_signature(made: Credentials, monkeypatch: pytest.MonkeyPatch) -> None:
    """One comparison, of constant time, of a whole expected token; whatever was sent, and however wrong it is."""
    seen: list[tuple[bytes, bytes]] = []
    constant_time = hmac.compare_digest

    def compare(expected: bytes, given: bytes) -> bool:
        seen.append((expected, given))
        return constant_time(expected, given)

    monkeypatch.setattr(product.hmac, "compare_digest", compare)
    good = made.credential_for(ALICE)
    sent = (good, good[:-1], good + "A", "", "x", "pw1..", good.replace("alice", "bob"), "pw1.operator.AAAA", "ä" * 300)
    for token in sent:
        try:
            made.verify(token)
        except BadCredential as error:
            assert str(error) == "the credential is not valid for this server; make one with: peerwake mcp-config"
    assert len(seen) == len(sent)
    assert all(len(expected.rpartition(b".")[2]) == 43 for expected, _ in seen)


def variants(good: str) -> Iterator[str]:
    """Yield what reads like a credential to a careless comparison."""
    version, name, signature = good.split(".")
    for index in range(len(good)):
        yield good[:index]
        yield good[:index] + good[index:].swapcase()
    for ending in ("=", "==", " ", "\n", "\0", "A", ".", "." + signature, "\u200b", "\ud800"):
        yield good + ending
        yield ending + good
    yield f"{version}.{name.upper()}.{signature}"
    yield f"{version}.{name}\u200b.{signature}"
    yield good.replace("1", "\u0661").replace("1", "\uff11")
    yield good.translate({ord(char): chr(ord(char) + 0xFEE0) for char in "abcdefghijklmnopqrstuvwxyz"})
    yield signature.join((f"{version}.{name}.", signature))
    yield from (f"{version}.{name}.{signature[:-1]}{last}" for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijkl" if last)


def test_nothing_that_resembles_a_credential_is_one(made: Credentials) -> None:
    for identity in (ALICE, Identity("r" * 32, "p" * 32)):
        good = made.credential_for(identity)
        assert made.verify(good).identity == identity
        for token in {*variants(good)} - {good}:
            with pytest.raises(BadCredential):
                made.verify(token)


def test_no_signature_serves_two_names(made: Credentials) -> None:
    names = [Identity(runtime, name) for runtime in ("a", "ab") for name in ("a", "b-a", "operator", "a-operator")]
    tokens = [made.credential_for(name) for name in names] + [made.operator_credential()]
    assert len({token.rpartition(".")[2] for token in tokens}) == len(tokens)
    signature = made.operator_credential().rpartition(".")[2]
    for name in ("claude-operator", "operator-operator"):
        with pytest.raises(BadCredential):
            made.verify(f"pw1.{name}.{signature}")


def test_a_name_that_was_retired_has_another_credential(root: Root, made: Credentials) -> None:
    before, bobs = made.credential_for(ALICE), made.credential_for(Identity("scripted", "bob"))
    Retired(root.home).add("alice")
    after = made.credential_for(ALICE)
    assert load_credentials(root.secret).verify(after).identity == ALICE
    assert made.verify(bobs).identity == Identity("scripted", "bob")
    for runtime in ("scripted", "claude"):
        assert made.credential_for(Identity(runtime, "alice")) != Credentials(root.secret.read_bytes()).credential_for(
            Identity(runtime, "alice")
        )
    with pytest.raises(BadCredential):
        made.verify(before)
    Retired(root.home).add("alice")
    with pytest.raises(BadCredential):
        made.verify(after)


def test_what_tells_of_retired_names_and_cannot_be_read_lets_nobody_in(root: Root, made: Credentials) -> None:
    (root.home / "retired").symlink_to("elsewhere")
    (root.home / "elsewhere").write_text("")
    with pytest.raises(SecretUnusable, match="retired"):
        made.verify(made.operator_credential().replace("operator", "scripted-alice"))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with private_world(**HTTP) as world:
        for name in ("alice", "bob"):
            world.create(name)
        world.serve()
        yield world


SEND: dict[str, Any] = {"personality": "alice", "message": "replayed", "wait_seconds": 0}
KINDS = ("lines", "http", "unix-http", "sse", "bridge")


def refusal(world: World, token: str, kind: str) -> str:
    """Return how a credential is refused, whichever way it is shown."""
    if kind == "bridge":
        with bridge_wire(world, token) as stdio:
            return str(stdio.call("send_to_peer", SEND)["error"]["message"])
    if kind == "lines":
        with SocketWire(world.root.server_socket, {"credential": token}) as lines:
            return str(lines.greeting["error"]["message"])
    connection = UnixHttp(world.root.server_socket) if kind == "unix-http" else tcp(world)
    with closing(connection):
        method, path = ("GET", "/sse") if kind == "sse" else ("POST", "/mcp")
        connection.request(method, path, b"{}", ACCEPT | {"Authorization": f"Bearer {token}"})
        with connection.getresponse() as answer:
            assert answer.status == 401, kind
            return str(json.loads(answer.read())["error"]["message"])


@live
@pytest.mark.parametrize("change", ["remove", "rename"])
def test_the_credential_of_a_former_peer_is_not_the_new_ones(world: World, change: str) -> None:
    """Removed and made again, or renamed and its name given to another: whoever kept the old one is nobody."""
    world.create("carol")
    stolen = credential(world, "scripted-carol")
    with wire("lines", world, stolen) as lines, wire("http", world, stolen) as http:
        assert lines.send(**SEND)["status"] in ("queued", "delivered")
        words = ("remove", "carol", "--force") if change == "remove" else ("rename", "carol", "dora")
        assert world.run(*words).returncode == 0
        world.create("carol") if change == "rename" else world.run(
            "init", "--runtime", "scripted", cwd=world.root.peers / "carol"
        )
        assert world.run("list", "carol").returncode == 0
        with unchanged(world):
            for open_ in (lines, http):
                answer = open_.call("send_to_peer", SEND)
                assert "error" in answer or answer["result"]["isError"], answer
            for kind in KINDS:
                assert "credential is not valid" in refusal(world, stolen, kind), kind
            refused(world.run("send", "alice", "x", env={"PEERWAKE_CREDENTIAL": stolen}), 4, "not valid")
        fresh = credential(world, "scripted-carol")
        assert fresh != stolen
        with wire("lines", world, fresh) as mine:
            assert mine.send(**SEND)["status"] in ("queued", "delivered")
    for name in ("carol", "dora"):
        world.run("remove", name, "--force")


@live
def test_a_hello_with_text_that_is_no_unicode_is_told_that_its_credential_is_bad(world: World) -> None:
    for token in ("pw1.\ud800.x", "\udfff", "pw1.scripted-bob.\ud800"):
        with SocketWire(world.root.server_socket, {"credential": token}) as lines:
            assert lines.greeting["error"]["code"] == "bad-credential", lines.greeting


@live
def test_a_session_may_not_use_the_credential_of_another_nor_of_the_operator(world: World) -> None:
    """The session's own process asks, with what it may have read from a file or a process of the same user."""
    tokens = {"bob": credential(world, "scripted-bob"), "operator": operator(world)}
    assert world.send("alice", "wake")["status"] == "delivered"
    for name, token in tokens.items():
        answer = inside(world, "alice", token, world.root.home / f"answer-{name}")
        assert answer["error"]["code"] == "not-allowed", answer
        assert "runs in the session of scripted-alice" in answer["error"]["message"]
    answer = inside(world, "alice", None, world.root.home / "answer-none")
    assert (answer["identity"], answer["operator"]) == ("scripted-alice", False)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux keeps a mark on processes")
@live
def test_what_outlives_its_session_is_no_operator(world: World) -> None:
    """Processes that detached themselves and speak when their tmux server is dead."""
    assert world.send("alice", "wake")["status"] == "delivered"
    server = world.tmux("scripted-alice")
    mark = brand(world.root.home)
    tokens = {"none": None, "operator": operator(world), "own": credential(world, "scripted-alice")}
    limits = {"zero": "0", "lower": str(mark - 1)}
    outs = {name: world.root.home / f"left-{name}" for name in (*tokens, *limits)}
    for name, out in outs.items():
        begin(world, "alice", tokens.get(name), out, server.pid, limits.get(name, ""))
    until(lambda: sum(is_marked(hard_limit(pid), mark, None) for pid in below(server.pid)) >= 6, 20, "its processes")
    assert terminate(server, signal.SIGKILL)
    until(lambda: all(out.exists() for out in outs.values()), 20, "the answers to what is left over")
    answers = {name: json.loads(out.read_text()) for name, out in outs.items()}
    for name in ("none", "operator", *limits):
        assert answers[name]["error"]["code"] == "not-allowed", answers
        assert "not there any more" in answers[name]["error"]["message"]
    assert (answers["own"]["identity"], answers["own"]["operator"]) == ("scripted-alice", False)


def below(pid: int) -> list[int]:
    """Return the children of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def operator(world: World) -> str:
    return load_credentials(world.root.secret).operator_credential()


ASK = """
import json, os, resource, socket, sys, time
first = os.getpid()
if os.fork():
    os._exit(0)
os.setsid()
while os.getppid() == first:
    time.sleep(0.01)
path, token, out, reaper, limit = sys.argv[1:]
if limit:
    resource.setrlimit(10, (int(limit), int(limit)))
while os.getppid() == int(reaper):
    time.sleep(0.01)
connection = socket.socket(socket.AF_UNIX)
connection.connect(path)
hello = {"peerwake": 1, "role": "control", "credential": token or None, "cwd": "/"}
connection.sendall(json.dumps(hello).encode() + b"\\n")
answer = connection.makefile("rb").readline()
with open(out + ".part", "wb") as file:
    file.write(answer)
os.rename(out + ".part", out)
"""


def inside(world: World, name: str, token: str | None, out: Path) -> dict[str, Any]:
    """Say hello from a process that detached itself within the session of a peer, with nothing of its environment."""
    begin(world, name, token, out)
    until(out.exists, 20, "the answer to a process of the session")
    return dict(json.loads(out.read_text()))


def begin(world: World, name: str, token: str | None, out: Path, reaper: int = 0, limit: str = "") -> None:
    """Start such a process; it speaks as soon as it is not a child of `reaper`, under a lower `limit` if given."""
    script = world.root.home / "ask.py"
    if not script.exists():  # one that started before may be reading it just now
        script.write_text(ASK)
    words = [sys.executable, str(script), str(world.root.server_socket), token or "", str(out), str(reaper), limit]
    words = ["env", "-i", *words]
    command = f"setsid {shlex.join(words)} </dev/null >/dev/null 2>&1"
    argv = ["tmux", "-S", str(world.root.tmux_socket(Identity("scripted", name))), "run-shell", "-b", command]
    env = {key: value for key, value in os.environ.items() if not key.startswith("TMUX")}
    subprocess.run(argv, env=env, check=True, timeout=20)
