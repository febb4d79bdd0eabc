"""Theft by looking at the right moment: no program is started with a secret or a message among its arguments.

Another user may read any argument list; of short-lived programs a look at rest sees nothing.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.bad_input import HTTP, credential
from tests.contract.tracing import can_trace
from tests.contract.wires import bridge_wire
from tests.live.alice import bodies
from tests.live.world import World, until
from tests.security.hidden import secrets_of
from transport.paths import Root
from transport.process import terminate

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not can_trace(), reason="NOT TESTED: arguments at each start; no strace that may trace here"),
]
ORDER, REPORT = "an order that only its recipient reads", "a report that only its recipient reads"
PIPED, BRIDGED = "a word through a pipe", "a word over the bridge"
STRACE = ("strace", "-D", "-f", "-q", "-s", "4096", "-e", "trace=execve,execveat", "-A", "-o")
STARTED = {
    "the server": r'"mcp_server", "serve"',
    "a command that sends": r'"mcp_server", "send"',
    "a command that is refused": r'"mcp_server", "send", "nobody"',
    "tmux": r'execve\("[^"]*/tmux"',
    "the agent": r"/scripted\.py",
    "its bridge": r"bridge\.py|\"--transport\", \"stdio\"",
    "the watcher of deaths": r"/watcher\.py",
}


@pytest.fixture
def traced(root: Root, tmp_path: Path) -> Iterator[tuple[World, Path]]:
    """A world of which every start of a program is written down, with all arguments."""
    world = World(root, extra=dict(HTTP))
    world.create("alice", rules=[{"match": "order", "send": [{"to": "bob", "message": REPORT}]}])
    world.create("bob")
    trace = tmp_path / "trace"
    world.prefix = (*STRACE, str(trace))
    yield world, trace
    world.close()


def test_no_program_is_started_with_a_secret_or_a_message_among_its_arguments(traced: tuple[World, Path]) -> None:
    world, trace = traced
    world.serve()
    assert world.run("send", "alice", "-", "--wait", "60", stdin=ORDER).returncode == 0
    until(lambda: REPORT in bodies(world, "bob"), 30, "the report")
    token = credential(world, "scripted-bob")
    assert world.run("send", "alice", "-", stdin=PIPED, env={"PEERWAKE_CREDENTIAL": token}).returncode == 0
    assert world.run("send", "nobody", "-", stdin=PIPED).returncode != 0
    with bridge_wire(world, token) as bridge:
        assert bridge.initialize().send(personality="alice", message=BRIDGED, wait_seconds=0)["message_id"]
    assert terminate(world.tmux("scripted-bob"))
    until(lambda: list((world.root.logs / "server-deaths").glob("*")), 30, "a snapshot of the death")
    assert world.run("send", "bob", "-", "--wait", "60", stdin=ORDER).returncode == 0
    text = trace.read_text("utf-8", "replace")
    missing = [what for what, pattern in STARTED.items() if not re.search(pattern, text)]
    assert not missing, "the trace does not have what it is to be searched for"
    secrets = secrets_of(world, "scripted-alice", "scripted-bob")
    hidden = [*secrets, *(body.encode() for body in (ORDER, REPORT, PIPED, BRIDGED))]
    for line in text.encode().splitlines():
        assert not [each for each in hidden if each in line], line
