"""`peerwake why`: three lines, from the server or from the files."""

import json
import time
from typing import Any

import pytest

from tests.mcp_server.cli.conftest import Run
from tests.mcp_server.cli.control_server import ControlServer
from tests.mcp_server.cli.test_commands import peer
from transport.logs import logfmt
from transport.paths import Root


def queue_row(depth: int = 0, hold: str | None = None, dead: int = 0) -> dict[str, Any]:
    row = {"identity": "claude-alice", "host": "here", "tenant_id": "me", "depth": depth, "in_flight": None}
    return row | {"head_age_seconds": 65.0 if depth else None, "last_receipt_at": None, "dead": dead, "hold": hold}


def serving(root: Root, presence: dict[str, Any], row: dict[str, Any]) -> ControlServer:
    runtimes = [{"runtime": "claude", "queue_depth": row["depth"], **presence}]

    def answer(verb: str, args: dict[str, Any]) -> dict[str, Any]:
        assert args in ({"name": "alice"}, {"personality": "alice"})
        return peer("alice", runtimes=runtimes) if verb == "peer" else {"rows": [row]}

    return ControlServer(root.server_socket, answer)


def log(root: Root, name: str, ago: float, event: str, **fields: object) -> None:
    with (root.logs / f"{name}.log").open("a") as file:
        file.write(logfmt(time.time() - ago, event, {"identity": "claude-alice", **fields}) + "\n")


def three(done: Any) -> list[str]:
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["state", "since", "why"]
    return [line.split(":", 1)[1].strip() for line in lines]


def test_a_blocked_peer_shows_its_screen_and_what_holds_its_queue(peerwake: Run, root: Root) -> None:
    log(root, "lifecycle", 130, "wake")
    screen = "\n\nDo you trust this folder?\n\x1b[31m 1. Yes\n 2. No\n\n"
    with serving(root, {"state": "blocked", "detail": screen}, queue_row(2, "blocked")):
        state, since, why = three(peerwake("why", "alice"))
    assert state == "claude-alice is blocked"
    assert since.endswith("(2m10s)")
    assert "Do you trust this folder? | \\x1b[31m 1. Yes | 2. No" in why
    assert "2 waiting (1m05s): blocked" in why


@pytest.mark.parametrize(
    ("event", "fields", "said"),
    [
        ("session-exit", {"dead_status": "137", "dead_signal": ""}, "the client exited with status 137"),
        ("session-exit", {"dead_status": "", "dead_signal": "11"}, "the client was killed by signal 11"),
        ("session-exit", {"dead_status": "", "dead_signal": ""}, "tmux did not say how"),
        (
            "server-exit",
            {"cause": "SIGKILL", "forensics": "server-deaths/x.txt"},
            "SIGKILL, see logs/server-deaths/x.txt",
        ),
        ("server-exit", {"cause": "reboot", "forensics": "none"}, "its tmux server ended by reboot"),
    ],
)
def test_the_last_death_is_told_with_its_cause(
    peerwake: Run, root: Root, event: str, fields: dict[str, str], said: str
) -> None:
    log(root, "exits", 90, "session-exit", dead_status="99")
    log(root, "exits", 60, event, **fields)
    log(root, "lifecycle", 60, "session-gone")
    with serving(root, {"state": "asleep"}, queue_row(dead=1)):
        state, since, why = three(peerwake("why", "alice"))
    assert state == "claude-alice is asleep"
    assert "(1m0" in since
    assert said in why
    assert "99" not in why
    assert "1 dead letters" in why


def test_a_failed_wake_is_the_reason(peerwake: Run, root: Root) -> None:
    log(root, "lifecycle", 5, "wake-failed", code="runtime-missing", reason="runtime claude needs claude")
    with serving(root, {"state": "asleep"}, queue_row(1, "waking")):
        _, _, why = three(peerwake("why", "alice"))
    assert "runtime claude needs claude" in why
    assert "1 waiting" in why


def test_json(peerwake: Run, root: Root) -> None:
    log(root, "exits", 60, "session-exit", dead_status="3")
    with serving(root, {"state": "live"}, queue_row()):
        found = json.loads(peerwake("why", "alice", "--json").stdout)
    assert (found["identity"], found["state"], found["last_death"]["dead_status"]) == ("claude-alice", "live", "3")
    assert found["host"]
    assert found["tenant_id"]


def test_another_runtime_is_refused(peerwake: Run, root: Root) -> None:
    with serving(root, {"state": "live"}, queue_row()):
        done = peerwake("why", "alice", "--runtime", "codex")
    assert done.returncode == 2
    assert "it has claude" in done.stderr


def test_without_a_server_the_files_tell(peerwake: Run, root: Root) -> None:
    assert peerwake("create", "alice", "--runtime", "scripted").returncode == 0
    done = peerwake("why", "alice")
    assert "this is what the files tell" in done.stderr
    state, since, why = three(done)
    assert (state, since) == ("scripted-alice is asleep", "unknown")
    assert "never woken" in why
    (root.state / "scripted-alice.stopped").touch()
    state, since, why = three(peerwake("why", "alice"))
    assert state == "scripted-alice is stopped"
    assert since.endswith("s)")
    assert "peerwake start" in why
    assert peerwake("why", "nobody").returncode == 4
