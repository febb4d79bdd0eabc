"""The other commands against a server: what each asks and prints."""

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.mcp_server.cli.conftest import Run
from tests.mcp_server.cli.control_server import ControlServer, Hangup, Refuse
from transport.paths import Root


def peer(name: str, state: str = "live", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "host": "here",
        "tenant_id": "me",
        "intelligence": "artificial",
        "wake_policy": "warm",
        "default_runtime": "claude",
        "description": f"about {name}",
        "cwd": "/",
        "runtimes": [{"runtime": "claude", "state": state, "queue_depth": 2}],
    } | changes


def test_list_reads_every_page(peerwake: Run, root: Root) -> None:
    peers = [peer(f"p{number:04}") for number in range(2300)]

    def page(verb: str, args: dict[str, Any]) -> dict[str, Any]:
        start = args["offset"]
        return {"rows": peers[start : start + min(args["limit"], 900)], "total": len(peers), "offset": start}

    with ControlServer(root.server_socket, page) as heard:
        done = peerwake("list", "about", "--live", "--json")
    assert json.loads(done.stdout)["peers"] == peers
    assert [(args["query"], args["live_only"], args["offset"]) for _, args in heard.calls] == [
        ("about", True, 0),
        ("about", True, 900),
        ("about", True, 1800),
    ]


def test_list_for_people(peerwake: Run, root: Root) -> None:
    rows = [
        peer("alice", description="\x1b]0;title\x07"),
        peer("bob", runtimes=[{"runtime": "x", "state": "blocked", "queue_depth": 0, "detail": "asks"}]),
    ]
    with ControlServer(root.server_socket, lambda verb, args: {"rows": rows, "total": 2, "offset": 0}):
        done = peerwake("list")
    assert done.stdout == (
        "NAME   RUNTIME  STATE    QUEUE  INTELLIGENCE  DESCRIPTION\n"
        "alice  claude   live     2      artificial    \\x1b]0;title\\x07\n"
        "bob    x        blocked  -      artificial    asks\n"
    )


def test_no_peers(peerwake: Run, root: Root) -> None:
    with ControlServer(root.server_socket, lambda verb, args: {"rows": [], "total": 0, "offset": 0}):
        assert peerwake("list").stdout == "no peers\n"
        assert json.loads(peerwake("list", "--json").stdout) == {"peers": []}


def test_a_refused_peer_does_not_keep_the_others_from_being_stopped(peerwake: Run, root: Root) -> None:
    def stop(verb: str, args: dict[str, Any]) -> dict[str, Any]:
        if args["name"] == "bo":
            raise Refuse("unknown-peer", "there is no peer 'bo'; did you mean bob?")
        return {"rows": [{"identity": f"{each}-{args['name']}", "state": "stopped"} for each in ("claude", "codex")]}

    with ControlServer(root.server_socket, stop) as heard:
        done = peerwake("stop", "bo", "alice")
        shown = json.loads(peerwake("stop", "bo", "alice", "--json").stdout)
    assert done.returncode == 4
    assert done.stdout == "claude-alice: stopped\ncodex-alice: stopped\n"
    assert done.stderr == "peerwake: there is no peer 'bo'; did you mean bob?\n"
    assert heard.calls[:2] == [("stop", {"name": "bo"}), ("stop", {"name": "alice"})]
    assert [row["identity"] for row in shown["done"]] == ["claude-alice", "codex-alice"]
    assert shown["refused"][0]["code"] == "unknown-peer"
    assert all(row["host"] and row["tenant_id"] for row in shown["done"] + shown["refused"])


@pytest.mark.parametrize(
    ("problem", "exit_code", "code"),
    [(Refuse("tmux-unknown", "tmux gave no answer"), 1, "tmux-unknown"), (Hangup(), 5, "unverified")],
)
def test_a_failure_after_some_peers_is_one_document_with_what_was_done(
    peerwake: Run, root: Root, problem: Exception, exit_code: int, code: str
) -> None:
    def start(verb: str, args: dict[str, Any]) -> dict[str, Any]:
        if args["name"] == "bob":
            raise problem
        if args["name"] == "al":
            raise Refuse("unknown-peer", "there is no peer 'al'")
        return {"rows": [{"identity": f"claude-{args['name']}", "state": "started"}]}

    with ControlServer(root.server_socket, start) as heard:
        done = peerwake("start", "al", "alice", "bob", "carol", "--json")
        told = peerwake("start", "al", "alice", "bob", "carol")
    shown = json.loads(done.stdout)
    assert [row["identity"] for row in shown["done"]] == ["claude-alice"]
    assert [row["code"] for row in shown["refused"]] == ["unknown-peer"]
    assert shown["error"]["code"] == code and shown["host"] and shown["tenant_id"]
    assert told.stdout == "claude-alice: started\n"
    assert told.stderr == done.stderr == f"peerwake: there is no peer 'al'\npeerwake: {shown['error']['message']}\n"
    assert (done.returncode, told.returncode) == (exit_code, exit_code)
    assert [args["name"] for _, args in heard.calls] == ["al", "alice", "bob"] * 2


@pytest.mark.parametrize(
    ("argv", "verb", "args"),
    [
        (["new", "bob", "--runtime", ""], "new", {"name": "bob", "runtime": ""}),
        (["stop", ""], "stop", {"name": ""}),
        (["queue", "drop", "--all", ""], "drop", {"all": True, "personality": ""}),
    ],
)
def test_an_empty_name_reaches_the_server_as_it_was_given(
    peerwake: Run, root: Root, argv: list[str], verb: str, args: dict[str, Any]
) -> None:
    def refuse(verb: str, args: dict[str, Any]) -> None:
        raise Refuse("invalid", "'' is not a name")

    with ControlServer(root.server_socket, refuse) as heard:
        done = peerwake(*argv)
    assert (done.returncode, heard.calls) == (4, [(verb, args)])


def test_start_all(peerwake: Run, root: Root) -> None:
    row = {"identity": "claude-alice", "state": "started"}
    with ControlServer(root.server_socket, lambda verb, args: {"rows": [row]}) as heard:
        done = peerwake("start", "--all")
    assert (done.returncode, done.stdout) == (0, "claude-alice: started\n")
    assert heard.calls == [("start", {"name": None})]


LETTER = {
    "message_id": "m_0123456789abcdefghjk",
    "sender": "claude-alice",
    "recipient": "codex-bob",
    "state": "dead",
    "stage": None,
    "attempts": 5,
    "accepted_at": "2026-11-20T08:04:46.000+00:00",
    "settled_at": None,
    "reason": "nobody answers",
    "events": [["2026-11-20T08:04:46.000+00:00", "accepted", ""]],
}


def spool(verb: str, args: dict[str, Any]) -> dict[str, Any]:
    row = {
        "identity": "codex-bob",
        "host": "here",
        "tenant_id": "me",
        "depth": 3,
        "in_flight": None,
        "head_age_seconds": 3725.0,
        "last_receipt_at": None,
        "dead": 1,
        "hold": "busy",
    }
    match verb:
        case "queue":
            return {"rows": [row]}
        case "dead":
            return {"rows": [LETTER], "total": 3}
        case "show":
            if args["message_id"] == "m_gone":
                raise Refuse("no-such-message", "there is no message 'm_gone'")
            return LETTER | {"body": "one\n\x1b[2Jtwo"}
        case _:
            ids = args.get("message_ids", ["m_1", "m_2"])
            done = [{"message_id": each, "recipient": "codex-bob"} for each in ids if each != "m_busy"]
            refused = [{"message_id": "m_busy", "code": "message-state", "message": "m_busy is being delivered"}]
            return {"done": done, "refused": refused if "m_busy" in ids else []}


def test_queues_and_dead_letters(peerwake: Run, root: Root) -> None:
    with ControlServer(root.server_socket, spool) as heard:
        done = peerwake("queue", "bob")
        shown = json.loads(peerwake("queue", "--json").stdout)
    assert done.stdout == (
        "IDENTITY   DEPTH  HEAD AGE  DEAD  LAST RECEIPT  IN FLIGHT  WHY IT WAITS\n"
        "codex-bob  3      1h02m     1     -             -          busy\n"
        "dead: m_0123456789abcdefghjk  claude-alice → codex-bob: nobody answers\n"
        "… and 2 more dead letters; --json shows up to 10,000\n"
    )
    assert heard.calls[:2] == [("queue", {"personality": "bob"}), ("dead", {"personality": "bob", "limit": 100})]
    assert heard.calls[3] == ("dead", {"limit": 10_000})
    assert shown["dead_total"] == 3
    assert [row["depth"] for row in shown["queues"]] == [3]
    assert [letter["message_id"] for letter in shown["dead"]] == [LETTER["message_id"]]
    assert all(row["host"] and row["tenant_id"] for row in shown["queues"] + shown["dead"])


@pytest.mark.parametrize(("older", "has_queue"), [("3725", True), ("1h", True), ("63m", False), ("2d", False)])
def test_queues_of_an_age(peerwake: Run, root: Root, older: str, has_queue: bool) -> None:
    with ControlServer(root.server_socket, spool) as heard:
        done = peerwake("queue", "--older", older)
        dead = peerwake("queue", "--dead", "--older", older)
    assert ("codex-bob  3 " in done.stdout) == has_queue
    assert dead.stdout.startswith("dead: m_0123456789abcdefghjk")
    assert {"older_seconds", "limit"} == set(heard.calls[-1][1])


def test_one_message(peerwake: Run, root: Root) -> None:
    with ControlServer(root.server_socket, spool) as heard:
        shown = peerwake("queue", "show", "m_1").stdout
        retried = peerwake("queue", "retry", "m_1")
        dropped = peerwake("queue", "drop", "m_1")
    assert "reason:       nobody answers\n" in shown
    assert "  2026-11-20T08:04:46.000+00:00  accepted\n" in shown
    assert shown.endswith("  | one\n  | \\x1b[2Jtwo\n")
    assert (retried.stdout, dropped.stdout) == ("m_1 queued again\n", "m_1 dropped\n")
    assert [verb for verb, _ in heard.calls] == ["show", "retry", "drop"]


def test_several_messages_of_which_one_is_refused(peerwake: Run, root: Root) -> None:
    with ControlServer(root.server_socket, spool) as heard:
        dropped = peerwake("queue", "drop", "m_1", "m_busy", "m_1", "m_2")
        document = json.loads(peerwake("queue", "retry", "m_1", "m_busy", "--json").stdout)
        shown = peerwake("queue", "show", "m_1", "m_gone")
    assert heard.calls[0] == ("drop", {"message_ids": ["m_1", "m_busy", "m_2"]})
    assert (dropped.returncode, dropped.stdout) == (4, "m_1 dropped\nm_2 dropped\n")
    assert dropped.stderr == "peerwake: m_busy is being delivered\n"
    assert [each["message_id"] for each in document["done"]] == ["m_1"]
    assert [each["code"] for each in document["refused"]] == ["message-state"]
    assert all(row["host"] and row["tenant_id"] for row in document["done"] + document["refused"])
    assert (shown.returncode, "reason:       nobody answers\n" in shown.stdout) == (4, True)
    assert "m_gone" in shown.stderr


def test_all_dead_letters(peerwake: Run, root: Root) -> None:
    with ControlServer(root.server_socket, spool) as heard:
        retried = peerwake("queue", "retry", "--all")
        dropped = peerwake("queue", "drop", "bob", "--all", "--older", "2d")
    assert (retried.stdout, dropped.stdout) == ("2 dead letters queued again\n", "2 dead letters dropped\n")
    assert [args for _, args in heard.calls] == [
        {"all": True},
        {"all": True, "personality": "bob", "older_seconds": 172800.0},
    ]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("retry",), "needs the ID of a message, or --all"),
        (("show",), "needs the ID of a message;"),
        (("drop", "--all", "bob", "carol"), "takes the name of one peer, not 2 words"),
        (("drop", "m_1", "--older", "1h"), "choose among all, not among ids"),
        (("show", "--all"), "choose among all"),
        (("retry", "m_1", "--dead"), "--dead goes with the list"),
        (("bob", "--all"), "--all goes with retry and drop"),
        (("--older", "soon"), "--older 'soon' is no age"),
        (("bob", "m_1"), "no queue command 'bob'"),
    ],
)
def test_what_queue_does_not_understand(peerwake: Run, argv: tuple[str, ...], says: str) -> None:
    done = peerwake("queue", *argv)
    assert done.returncode == 2
    assert says in done.stderr


def test_self_waits_inside_a_session_for_a_server_that_is_being_replaced(peerwake: Run, root: Root) -> None:
    said: list[subprocess.CompletedProcess[str]] = []
    worker = threading.Thread(target=lambda: said.append(peerwake("self", "done", PEER_IDENTITY="claude-alice")))
    worker.start()
    time.sleep(0.5)  # the command has found no server by now
    with ControlServer(root.server_socket, lambda verb, args: {"identity": "claude-alice", "ends": "task"}) as heard:
        worker.join(20)
    assert [verb for verb, _ in heard.calls] == ["self-done"]
    assert said[0].returncode == 0


@pytest.mark.parametrize("verb", ["done", "new"])
def test_self(peerwake: Run, root: Root, verb: str) -> None:
    answer = {"identity": "claude-alice", "ends": "task"}
    with ControlServer(root.server_socket, lambda verb, args: answer) as heard:
        done = peerwake("self", verb)
    assert done.returncode == 0
    assert heard.calls == [(f"self-{verb}", {})]


def test_an_answer_that_never_comes_is_unverified(peerwake: Run, root: Root) -> None:
    def vanish(verb: str, args: dict[str, Any]) -> None:
        raise ConnectionError

    with ControlServer(root.server_socket, vanish):
        done = peerwake("stop", "--all")
    assert done.returncode == 5
    assert "the connection to the server broke" in done.stderr


@pytest.mark.live
@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_attach_becomes_the_terminal_of_the_session(environ: dict[str, str], root: Root, tmp_path: Path) -> None:
    tmux = ["tmux", "-f", "/dev/null", "-S", str(root.run / "tmux" / "x.sock")]
    subprocess.run([*tmux, "new-session", "-d", "-s", "x", "echo here; exec cat"], check=True, env=environ)
    answer = {"identity": "x", "socket": tmux[-1], "session": "x", "state": "ready", "mode": "live"}
    leader, follower = pty.openpty()
    try:
        with ControlServer(root.server_socket, lambda verb, args: answer) as heard:
            process = subprocess.Popen(
                [sys.executable, "-m", "mcp_server", "attach", "bob", "--runtime", "x"],
                stdin=follower,
                stdout=follower,
                stderr=follower,
                env=environ | {"TERM": "xterm", "TMUX": "/nested,1,0"},
                cwd=tmp_path,
                start_new_session=True,
            )
            assert b"here" in read_until(leader, b"here")
        assert heard.calls == [("attach", {"name": "bob", "runtime": "x"})]
        subprocess.run([*tmux, "detach-client", "-s", "x"], check=True, env=environ)
        read_until(leader, b"detached")
        assert process.wait(10) == 0
    finally:
        subprocess.run([*tmux, "kill-server"], check=False, env=environ)
        os.close(leader)
        os.close(follower)


def read_until(descriptor: int, wanted: bytes, seconds: float = 20.0) -> bytes:
    """Read a terminal's output until it shows `wanted`, or for `seconds`."""
    seen, deadline = b"", time.monotonic() + seconds
    while wanted not in seen and time.monotonic() < deadline:
        if select.select([descriptor], [], [], 0.1)[0]:
            seen += os.read(descriptor, 65536)
    return seen
