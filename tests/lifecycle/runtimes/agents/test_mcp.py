"""The agent's MCP client against a server of the SDK, alone and in a terminal."""

import json
import os
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lifecycle.runtimes.agents.mcp import Client
from lifecycle.runtimes.agents.servers import Server, expand, find_server
from lifecycle.runtimes.scripted import DIRECTORY
from tests.lifecycle.runtimes.conftest import Terminal, children
from transport.process import start_time

STAND_IN = str(Path(__file__).with_name("stdio_server.py"))
SECONDS = 20.0


def configure(directory: Path, **entry: Any) -> None:
    server = {"command": sys.executable, "args": [STAND_IN, "calls.jsonl"], "env": {"OWN": "${NOWHERE:-fallback}"}}
    (directory / ".mcp.json").write_text(json.dumps({"mcpServers": {"peerwake": server | entry}}))


def calls(directory: Path) -> list[dict[str, Any]]:
    path = directory / "calls.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("${A}", "one"),
        ("x${A}y${A:-no}", "xoneyone"),
        ("${B:-two}", "two"),
        ("${EMPTY:-two}", "two"),
        ("${EMPTY}", ""),
        ("${B}", "${B}"),
        ("${B:-}", ""),
        ("$A {A}", "$A {A}"),
        ("${A:-${B}}", "one}"),
    ],
)
def test_variables_are_expanded_as_claude_does(text: str, expanded: str) -> None:
    assert expand(text, {"A": "one", "EMPTY": ""}) == expanded


def test_the_server_called_peerwake_is_preferred(tmp_path: Path) -> None:
    servers = {
        "web": {"type": "http", "url": "http://localhost"},
        "first": {"command": "first"},
        "peerwake": {"command": "${BIN}/peerwake", "args": ["serve"], "env": {"X": "${Y}"}},
    }
    (tmp_path / ".mcp.json").write_text(json.dumps({"mcpServers": servers}))
    found = find_server(str(tmp_path), {"BIN": "/opt", "Y": "z", "KEPT": "k"})
    assert found is not None
    assert found.argv == ["/opt/peerwake", "serve"]
    assert found.env == {"BIN": "/opt", "Y": "z", "KEPT": "k", "X": "z"}


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"mcpServers": [1]}', '{"mcpServers": {"a": 1}}'])
def test_a_bad_configuration_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / ".mcp.json").write_text(content)
    with pytest.raises(ValueError, match=r"^\.mcp\.json: "):
        find_server(str(tmp_path), {})


def test_without_a_configuration_there_is_no_server(tmp_path: Path) -> None:
    assert find_server(str(tmp_path), {}) is None


def serve(client: Client, until: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not until():
        assert time.monotonic() < deadline, "no answer in time"
        writes = [client.writes] if client.wants_to_write else []
        readable, writable, _ = select.select([client.reads], writes, [], 1.0)
        if readable:
            client.read()
        if writable and client.is_alive:
            client.write()


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(Server("x", [sys.executable, STAND_IN, str(tmp_path / "calls.jsonl")], dict(os.environ)), os.devnull)


def test_calls_made_before_the_handshake_are_answered_after_it(client: Client, tmp_path: Path) -> None:
    answers: list[tuple[str, bool]] = []
    big = "é" * 100_000
    for number in range(3):
        arguments: dict[str, object] = {"personality": "bob", "message": f"{number}{big}"}
        client.call("send_to_peer", arguments, lambda *answer: answers.append(answer))
    serve(client, lambda: len(answers) == 3)
    client.close()
    assert answers == [("delivered to bob", False)] * 3
    assert client.info["name"] == "stand-in"
    assert sorted(call["message"][0] for call in calls(tmp_path)) == ["0", "1", "2"]


def test_errors_of_the_tool_and_of_the_protocol_are_told(client: Client) -> None:
    answers: list[tuple[str, bool]] = []
    client.call("send_to_peer", {"personality": "nobody", "message": "x"}, lambda *answer: answers.append(answer))
    client.call("no_such_tool", {}, lambda *answer: answers.append(answer))
    serve(client, lambda: len(answers) == 2)
    client.close()
    assert [failed for _, failed in answers] == [True, True]
    assert any("unknown peer nobody" in text for text, _ in answers)


def test_a_server_that_dies_fails_the_call_and_every_later_one(client: Client) -> None:
    answers: list[tuple[str, bool]] = []
    client.call("send_to_peer", {"personality": "bob", "message": "die"}, lambda *answer: answers.append(answer))
    serve(client, lambda: answers)
    client.call("send_to_peer", {"personality": "bob", "message": "x"}, lambda *answer: answers.append(answer))
    assert answers == [("the MCP server x has gone", True)] * 2


def ready(terminal: Terminal, rules: list[dict[str, Any]], **env: str) -> None:
    (terminal.home / "scripted.json").write_text(json.dumps(rules))
    terminal.start_agent("--session-id", "s1", env=env)
    terminal.sees("»\u00a0")


def results(terminal: Terminal) -> list[str]:
    lines = (terminal.home / DIRECTORY / "s1.jsonl").read_text().splitlines()
    return [record["text"] for record in map(json.loads, lines) if record["type"] == "tool_result"]


def message(body: str) -> str:
    head = '<peer-message-abc123 id="m_00000000000000000001" from="alice" runtime="codex">'
    return f"{head}\n{body}\n</peer-message-abc123>"


@pytest.mark.live
def test_a_reply_goes_to_the_sender_as_an_answer(terminal: Terminal) -> None:
    configure(terminal.home)
    ready(terminal, [{"match": r"sum (\d)", "reply": "got {1} in {body}"}], PEER_IDENTITY="scripted-bob")
    terminal.submit(message("sum 4"))
    terminal.sees("send_to_peer alice: delivered to alice")
    assert calls(terminal.home) == [
        {
            "personality": "alice",
            "message": "got 4 in sum 4",
            "runtime": "codex",
            "reply_to": "m_00000000000000000001",
            "me": "scripted-bob",
            "own": "fallback",
        }
    ]
    assert results(terminal) == ["delivered to alice"]


@pytest.mark.live
def test_messages_to_others_and_their_errors(terminal: Terminal) -> None:
    configure(terminal.home)
    ready(
        terminal, [{"send": [{"to": "carol", "message": "{body}!"}, {"to": "nobody", "message": "x"}], "say": "sent"}]
    )
    terminal.submit("go")
    terminal.sees("send_to_peer nobody: ")
    assert [call["message"] for call in calls(terminal.home)] == ["go!"]
    assert "unknown peer nobody" in results(terminal)[1]


@pytest.mark.live
def test_a_call_that_hangs_can_be_interrupted(terminal: Terminal) -> None:
    configure(terminal.home)
    ready(terminal, [{"match": "hang", "send": [{"to": "bob", "message": "hang"}]}])
    terminal.submit("hang")
    terminal.sees("working (esc to interrupt)")
    terminal.press("Escape")
    terminal.sees("Interrupted by user")
    terminal.submit("next")
    terminal.sees("● ok")


@pytest.mark.live
@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"command": "/nowhere/server"}, "MCP server not started: "),
        ({"args": ["-c", "raise SystemExit(3)"]}, "the MCP server peerwake has gone"),
    ],
)
def test_a_server_that_does_not_start_harms_nothing(terminal: Terminal, entry: dict[str, Any], said: str) -> None:
    configure(terminal.home, **entry)
    ready(terminal, [{"send": [{"to": "bob", "message": "x"}]}])
    terminal.submit("go")
    terminal.sees(said)
    terminal.submit("again")
    terminal.until(lambda: len(results(terminal)) == 2, "second failure")


@pytest.mark.live
def test_the_server_ends_with_a_killed_agent(terminal: Terminal) -> None:
    configure(terminal.home)
    ready(terminal, [{"match": "go", "reply": "x", "send": [{"to": "bob", "message": "x"}]}])
    terminal.submit("go")
    terminal.sees("delivered to bob")
    agent = terminal.pid()
    (server,) = children(agent)
    os.kill(agent, 9)
    assert terminal.ended() == 128 + 9
    terminal.until(lambda: start_time(server) is None, "end of the server")
