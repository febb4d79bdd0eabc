"""`peerwake why`: three lines, from the server or from the files."""

import json
import os
import re
import time
from typing import Any

import pytest

from lifecycle.states import PeerState
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
    assert re.search(r"\(2m1\ds\)$", since)
    assert "Do you trust this folder? | \\x1b[31m 1. Yes | 2. No" in why
    assert re.search(r"2 waiting \(1m0[5-9]s\): blocked", why)


@pytest.mark.parametrize(
    ("event", "fields", "said"),
    [
        ("session-exit", {"dead_status": "137", "dead_signal": ""}, "the client exited with status 137"),
        ("session-exit", {"dead_status": "", "dead_signal": "11"}, "session-gone: the client was killed by signal 11"),
        ("session-exit", {"dead_status": "", "dead_signal": ""}, "nobody could say how"),
        (
            "server-exit",
            {"cause": "SIGKILL", "forensics": "server-deaths/x.txt"},
            "SIGKILL, see logs/server-deaths/x.txt",
        ),
        ("server-exit", {"cause": "reboot", "forensics": "none"}, "server-dead: its tmux server ended by reboot"),
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
    assert "1 dead letter, see: peerwake queue alice --dead" in why


WAKE = ("lifecycle", 100, "wake", {})
BOOT = ("lifecycle", 90, "boot", {"end": "ready"})
ADOPT = ("lifecycle", 30, "adopt", {})
TOOK = ("delivery", 20, "consumed", {"id": "m_1"})
STATES: dict[PeerState, list[tuple[list[Any], str | None, str, str]]] = {
    PeerState.LIVE: [
        ([WAKE, BOOT, ADOPT, TOOK], None, "1m30s", "nothing is wrong"),
        ([ADOPT], None, "30s", "nothing is wrong"),
    ],
    PeerState.BUSY: [([WAKE, BOOT, TOOK], None, "20s", "it works"), ([WAKE, BOOT], None, "1m30s", "it works")],
    PeerState.BOOTING: [([BOOT, WAKE], None, "1m40s", "its client is coming up")],
    PeerState.BLOCKED: [
        ([WAKE, BOOT, ("lifecycle", 15, "wedged", {})], "gives no answer", "15s", "gives no answer"),
        ([WAKE, ("lifecycle", 40, "boot", {"end": "blocked"})], "1. Yes\n2. No", "40s", "1. Yes | 2. No"),
        ([("lifecycle", 500, "wedged", {}), WAKE, BOOT], None, "1m40s", "its screen is not recognised"),
    ],
    PeerState.ASLEEP: [
        ([], None, "unknown", "it was never woken"),
        ([WAKE, ("lifecycle", 50, "close", {"why": "idle"})], None, "50s", "closed because it was idle; the next"),
        ([WAKE, ("lifecycle", 50, "close", {"why": "task"})], None, "50s", "its task was over"),
        ([WAKE, ("lifecycle", 50, "close", {"why": "what"})], None, "50s", "closed deliberately"),
        ([WAKE, ("exits", 45, "server-exit", {"cause": "SIGKILL"})], None, "45s", "its tmux server died; the next"),
        ([WAKE, ("exits", 45, "session-exit", {"dead_status": 3})], None, "45s", "its client ended; the next"),
        ([("lifecycle", 5, "wake-failed", {"reason": "no claude"})], None, "5s", "its last wake failed: no claude"),
    ],
    PeerState.STOPPED: [([WAKE], None, "10s", "an operator stopped it; peerwake start clears that")],
    PeerState.FAILED: [([WAKE], "3 deaths in 300 s", "10s", "3 deaths in 300 s; peerwake start clears that")],
}


def test_every_state_is_explained() -> None:
    assert STATES.keys() == set(PeerState)


@pytest.mark.parametrize(
    ("state", "events", "detail", "lasted", "said"),
    [(state, *case) for state, cases in STATES.items() for case in cases],
)
def test_each_state_says_since_when_and_why(
    peerwake: Run,
    root: Root,
    state: PeerState,
    events: list[Any],
    detail: str | None,
    lasted: str,
    said: str,
) -> None:
    now = time.time()
    for name, ago, event, fields in sorted(events, key=lambda each: -each[1]):
        log(root, name, ago, event, **fields)
    for flag in ("stopped", "failed"):
        (root.state / f"claude-alice.{flag}").touch()
        os.utime(root.state / f"claude-alice.{flag}", (now - 10, now - 10))
    shown = {"state": str(state)} | ({} if detail is None else {"detail": detail})
    with serving(root, shown, queue_row()):
        found, since, why = three(peerwake("why", "alice"))
    assert found == f"claude-alice is {state}"
    assert since == lasted or close_to(since, lasted)
    assert said in why
    assert ("its screen" in why) is (state is PeerState.BLOCKED and said != "gives no answer")


def close_to(since: str, lasted: str) -> bool:
    """Tell whether an age is as expected, or up to three seconds more: the machine may be slow."""
    shown = since.rpartition("(")[2].rstrip(")")
    return 0 <= seconds_of(shown) - seconds_of(lasted) <= 3


def seconds_of(age: str) -> int:
    minutes, _, seconds = age.rstrip("s").rpartition("m")
    return int(minutes or 0) * 60 + int(seconds)


def test_class_and_cause_are_told_together(peerwake: Run, root: Root) -> None:
    log(root, "exits", 60, "session-exit", dead_signal=9, cause="SIGKILL", oom_kills=2, server_pid=7)
    with serving(root, {"state": "asleep"}, queue_row()):
        found = json.loads(peerwake("why", "alice", "--json").stdout)
    assert found["last_death"]["class"] == "session-gone"
    assert "session-gone: the client was killed by signal 9 (SIGKILL); out of memory: " in "; ".join(found["why"])


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


def test_an_empty_runtime_is_not_the_default_one(peerwake: Run, root: Root) -> None:
    assert peerwake("create", "alice", "--runtime", "scripted").returncode == 0
    done = peerwake("why", "alice", "--runtime", "")
    assert (done.returncode, done.stdout) == (4, "")
    assert "--runtime: it is empty" in done.stderr


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
