"""Theft by looking: no argument list, title, log, file, tmux answer or snapshot of a death holds a secret."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.ground import processes_of
from tests.contract.bad_input import HTTP, credential, private_world
from tests.contract.wires import bridge_wire, wire
from tests.live.world import World, until
from tests.security.hidden import secrets_of
from transport.identity import Identity
from transport.process import terminate

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="NOT TESTED: argument lists; there is no /proc"),
]
BODY = "a body that only its recipient reads"
IDENTITIES = ("scripted-alice", "scripted-bob")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A team at work: sessions, clients over every transport, refusals, a command that sends, a death."""
    with private_world(**HTTP) as world:
        for name in ("alice", "bob", "carol"):
            world.create(name)
        world.serve()
        for name in ("alice", "bob", "carol"):
            assert world.send(name, BODY)["status"] == "delivered"
        for kind in ("lines", "http", "unix-http", "sse"):
            with wire(kind, world, credential(world, "scripted-bob")) as one:
                one.send(personality="alice", message=f"{BODY} over {kind}", wait_seconds=0)
        env = {"PEERWAKE_CREDENTIAL": credential(world, "scripted-bob")[:-1] + "!"}
        assert world.run("send", "alice", BODY, env=env).returncode == 4
        assert terminate(world.tmux("scripted-carol"))
        until(lambda: list((world.root.logs / "server-deaths").glob("*")), 20, "a snapshot of the death")
        yield world


def found_in(world: World, data: bytes) -> list[bytes]:
    return [secret for secret in secrets_of(world, *IDENTITIES, "scripted-carol") if secret in data]


def test_no_argument_list_or_title_holds_a_secret(world: World) -> None:
    with bridge_wire(world, credential(world, "scripted-bob")) as stdio:
        assert stdio.initialize().call("list_peers", {})["result"]
        pids = [*processes_of(world.root.home), world.server_pid(), world.tmux("scripted-alice").pid]
        assert len(set(pids)) >= 4
        for path in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "comm"):
                try:
                    data = (path / name).read_bytes()
                except OSError:
                    continue
                assert not found_in(world, data), (path.name, name)
                assert BODY.encode() not in data or int(path.name) not in pids


def test_an_environment_that_holds_one_is_its_users_alone(world: World) -> None:
    pane = world.session("scripted-alice")["pane"]["pid"]
    environment = Path(f"/proc/{pane}/environ")
    assert credential(world, "scripted-alice").encode() in environment.read_bytes()
    assert environment.stat().st_mode & 0o777 == 0o400
    assert environment.stat().st_uid == os.geteuid()


def test_no_log_pane_log_snapshot_or_state_file_holds_a_secret(world: World) -> None:
    seen = set()
    for path in world.root.home.rglob("*"):
        if not path.is_file() or path.is_symlink() or path == world.root.secret:
            continue
        seen.add(path.name)
        assert not found_in(world, path.read_bytes()), path
    assert {"lifecycle.log", "delivery.log", "exits.log", "scripted-alice.log", "server.json", "spool.db"} <= seen


def test_no_log_but_the_panes_holds_a_message(world: World) -> None:
    for path in world.root.logs.rglob("*"):
        if path.is_file() and path.parent.name != "panes":
            assert BODY.encode() not in path.read_bytes(), path


def test_a_snapshot_of_a_death_has_names_of_programs_and_no_arguments(world: World) -> None:
    (snapshot, *_) = (world.root.logs / "server-deaths").glob("*")
    text = snapshot.read_text()
    assert "processes by RSS" in text
    assert "-m mcp_server" not in text
    assert not re.search(r"\bpw1\.", text)


def asked(world: World, identity: str, *words: str) -> bytes:
    socket = world.root.tmux_socket(Identity("scripted", identity.partition("-")[2]))
    env = {name: value for name, value in os.environ.items() if not name.startswith("TMUX")}
    done = subprocess.run(["tmux", "-S", str(socket), *words], env=env, capture_output=True, timeout=20, check=False)
    return done.stdout + done.stderr


QUESTIONS = (
    *(("show-options", "-g"), ("show-options", "-s"), ("show-options", "-gw"), ("show-hooks", "-g"), ("list-keys",)),
    *(("list-sessions",), ("list-clients",), ("list-buffers",), ("show-messages",), ("show-environment",)),
    ("list-panes", "-a", "-F", "#{pane_start_command} #{pane_title} #{pane_current_command} #{pane_current_path}"),
    ("list-windows", "-a", "-F", "#{window_name} #{session_name} #{session_path}"),
    ("display-message", "-p", "#{version} #{socket_path} #{config_files} #{start_time}"),
    ("show-buffer",),
)


@pytest.mark.parametrize("words", QUESTIONS, ids=lambda words: " ".join(words[:2]))
def test_no_answer_of_tmux_that_tools_show_holds_a_secret_or_a_message(world: World, words: tuple[str, ...]) -> None:
    for identity in IDENTITIES:
        data = asked(world, identity, *words)
        assert not found_in(world, data), data
        assert BODY.encode() not in data


def test_what_clients_are_configured_with_refers_to_the_environment(world: World) -> None:
    for client in ("claude", "codex"):
        done = world.run("mcp-config", "alice", "--client", client)
        assert not found_in(world, (done.stdout + done.stderr).encode()), done.stdout
    assert not found_in(world, json.dumps(world.json("list")).encode())
    assert not found_in(world, world.run("doctor").stdout.encode())
