"""The MCP inspector's command line against every transport that it speaks."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import mcp_server.serve.bridge as bridge
from tests.contract.bad_input import credential, senders
from tests.live.world import World

pytestmark = [pytest.mark.clients, pytest.mark.live]

TRANSPORTS = ("http", "sse", "stdio")
SECONDS = 60
TOOL_FAILED = 5
BATCH = 200


@dataclass(frozen=True)
class Inspector:
    """The inspector as the peer bob, over one transport."""

    programs: Path
    world: World
    transport: str

    def run(self, method: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one method to its end; nothing asks, no browser is opened, and its HOME is the world's."""
        token = credential(self.world, "scripted-bob")
        options, server = ["--method", method, *words], list[str]()
        if self.transport == "stdio":
            options += ["-e", f"PEERWAKE_HOME={self.world.root.home}", "-e", f"PEERWAKE_CREDENTIAL={token}"]
            server = ["--", sys.executable, "-I", "-S", str(Path(bridge.__file__)), "--no-start"]
        else:
            address = json.loads(self.world.root.discovery.read_text())["http"]
            path = {"http": "/mcp", "sse": "/sse"}[self.transport]
            options += ["--server-url", address + path, "--transport", self.transport]
            options += ["--header", f"Authorization: Bearer {token}", "--stored-auth-only"]
        return subprocess.run(
            [str(self.programs / "mcp-inspector"), "--cli", *options, *server],
            cwd="/",
            env={"PATH": f"{self.programs}:{os.environ['PATH']}", "HOME": self.world.env["HOME"]},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    def result(self, method: str, *words: str) -> dict[str, Any]:
        """Return the result of a method that succeeds."""
        done = self.run(method, *words)
        assert done.returncode == 0, (done.stdout, done.stderr)
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture(params=TRANSPORTS)
def inspector(request: pytest.FixtureRequest, programs: Path, world: World) -> Inspector:
    return Inspector(programs, world, request.param)


def test_tools_are_listed_and_their_schemas_are_portable(inspector: Inspector) -> None:
    tools = inspector.result("tools/list", "--strict")["tools"]
    assert [tool["name"] for tool in tools] == ["send_to_peer", "list_peers", "queue_status"]
    assert all(tool["inputSchema"]["additionalProperties"] is False for tool in tools)


def test_list_peers_is_called(inspector: Inspector) -> None:
    result = inspector.result("tools/call", "--tool-name", "list_peers", "--tool-arg", "query=alice")
    assert not result["isError"]
    assert [peer["name"] for peer in result["structuredContent"]["peers"]] == ["alice"]


def test_a_message_is_sent_once_and_its_history_is_found(inspector: Inspector) -> None:
    body = f"hello over {inspector.transport}"
    arguments = ("personality=alice", f"message={body}", "wait_seconds=0", "topic=inspection")
    sent = inspector.result("tools/call", "--tool-name", "send_to_peer", "--tool-arg", *arguments)["structuredContent"]
    assert sent["status"] in ("queued", "delivered")
    assert senders(inspector.world, body) == ["scripted-bob"]
    words = ("--tool-name", "queue_status", "--tool-arg", f"message_id={sent['message_id']}")
    history = inspector.result("tools/call", *words)["structuredContent"]["message"]
    assert (history["message_id"], history["sender"]) == (sent["message_id"], "scripted-bob")


def test_a_refusal_is_a_tools_error_and_not_a_protocols(inspector: Inspector) -> None:
    words = ("--tool-name", "send_to_peer", "--tool-arg", "personality=nobody", "message=hello")
    done = inspector.run("tools/call", *words)
    assert done.returncode == TOOL_FAILED
    assert json.loads(done.stdout)["structuredContent"]["code"] == "unknown-peer"


def test_resources_are_listed_and_read(inspector: Inspector) -> None:
    assert [one["uri"] for one in inspector.result("resources/list")["resources"]] == ["fleet://snapshot"]
    templates = inspector.result("resources/templates/list")["resourceTemplates"]
    assert [one["uriTemplate"] for one in templates] == ["peer://{name}"]
    (snapshot,) = inspector.result("resources/read", "--uri", "fleet://snapshot")["contents"]
    assert [peer["name"] for peer in json.loads(snapshot["text"])["peers"]] == ["alice", "bob"]
    (peer,) = inspector.result("resources/read", "--uri", "peer://alice")["contents"]
    assert json.loads(peer["text"])["name"] == "alice"
    done = inspector.run("resources/read", "--uri", "peer://nobody")
    assert done.returncode != 0
    assert "there is no peer 'nobody'" in done.stderr


def test_many_calls_at_once_all_succeed(inspector: Inspector) -> None:
    words = ("--tool-name", "queue_status", "--load", "--load-requests", str(BATCH), "--load-concurrency", "20")
    summary = inspector.result("tools/call", *words)
    assert (summary["ok"], summary["toolErrors"], summary["errors"]) == (BATCH, 0, 0)
