"""`peerwake send` against a server: what it asks, what it prints, and what it makes of a broken connection."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcp_server.cli.exits import Exit
from tests.mcp_server.cli.conftest import Run
from tests.mcp_server.cli.control_server import Answer, ControlServer, Hangup, Refuse
from transport.clock import SystemClock
from transport.create import NewPeer, create
from transport.identity import Identity
from transport.paths import Root
from transport.registry import Registry
from transport.spool.store import SpoolStore

RESULT = {
    "message_id": "m_0123456789abcdefghjk",
    "status": "delivered",
    "personality": "bob",
    "runtime": "claude",
    "host": "here",
    "woke": True,
    "queue_depth": 0,
    "reason": None,
    "at": "2026-11-20T08:04:46.000+00:00",
    "removed_controls": 0,
    "duplicate": False,
}

GIVEN_UP = f"{RESULT['message_id']} was given up: bob was removed; see: peerwake queue show {RESULT['message_id']}"


def answering(**changes: Any) -> Answer:
    return lambda verb, args: RESULT | changes


@pytest.fixture
def server(root: Root) -> Callable[[Answer], ControlServer]:
    return lambda answer: ControlServer(root.server_socket, answer)


def test_delivered_is_zero(server, peerwake: Run) -> None:
    with server(answering()):
        done = peerwake("send", "bob", "hi")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "delivered to bob (claude), woken for it  m_0123456789abcdefghjk\n"


def test_queued_is_three(server, peerwake: Run) -> None:
    with server(answering(status="queued", reason="busy", queue_depth=3, removed_controls=2)):
        done = peerwake("send", "bob", "hi")
    assert (done.returncode, done.stderr) == (3, "")
    assert (
        done.stdout == "queued for bob (claude): busy, 2 ahead  m_0123456789abcdefghjk, 2 control characters removed\n"
    )


def test_refused_is_four(server, peerwake: Run) -> None:
    def stopped(verb: str, args: dict[str, Any]) -> None:
        raise Refuse("stopped", "bob is stopped; nothing was queued.\x1b[2J")

    with server(stopped):
        done = peerwake("send", "bob", "hi", "--json")
    assert done.returncode == 4
    assert done.stderr == "peerwake: bob is stopped; nothing was queued.\\x1b[2J\n"
    assert json.loads(done.stdout)["error"]["code"] == "stopped"


def test_a_fault_of_the_server_is_one(server, peerwake: Run) -> None:
    def broken(verb: str, args: dict[str, Any]) -> None:
        raise Refuse("internal", "the database is gone")

    with server(broken):
        assert peerwake("send", "bob", "hi").returncode == 1


def test_accepted_and_given_up_while_it_waited_is_an_outcome_of_its_own(server, peerwake: Run) -> None:
    def removed(verb: str, args: dict[str, Any]) -> None:
        raise Refuse("dead-letter", GIVEN_UP)

    with server(removed):
        done = peerwake("send", "bob", "hi", "--json")
    assert (done.returncode, done.stderr) == (7, f"peerwake: {GIVEN_UP}\n")
    assert json.loads(done.stdout)["error"] == {"code": "dead-letter", "message": GIVEN_UP}


def test_everything_given_reaches_the_server(server, peerwake: Run, tmp_path: Path) -> None:
    argv = ("bob", "hi", "--from", "alice", "--runtime", "codex", "--topic", "t", "--attach", "a.txt", "--attach", "/b")
    with server(answering()) as heard:
        done = peerwake(
            "send", *argv, "--reply-to", "m_1", "--key", "k", "--wait", "3.5", "--json", PEERWAKE_CREDENTIAL="c"
        )
    assert heard.hellos == [{"peerwake": 1, "role": "control", "credential": "c", "cwd": str(tmp_path)}]
    assert heard.calls == [
        (
            "send",
            {
                "personality": "bob",
                "message": "hi",
                "from": "alice",
                "runtime": "codex",
                "topic": "t",
                "attachments": [str(tmp_path / "a.txt"), "/b"],
                "reply_to": "m_1",
                "idempotency_key": "k",
                "wait_seconds": 3.5,
            },
        )
    ]
    shown = json.loads(done.stdout)
    assert shown.items() >= RESULT.items()
    assert shown["tenant_id"]


def test_a_send_without_a_key_gets_one(server, peerwake: Run) -> None:
    with server(answering()) as heard:
        peerwake("send", "bob", "hi")
        peerwake("send", "bob", "hi")
    keys = {args["idempotency_key"] for _, args in heard.calls}
    assert len(keys) == 2


def test_a_repetition_is_named(server, peerwake: Run) -> None:
    with server(answering(duplicate=True)):
        done = peerwake("send", "bob", "hi", "--key", "k")
    assert done.stdout.endswith(", sent before\n")


def test_a_broken_connection_is_asked_again_with_the_same_key(server, peerwake: Run) -> None:
    heard: list[dict[str, Any]] = []

    def once_deaf(verb: str, args: dict[str, Any]) -> dict[str, Any]:
        heard.append(args)
        if len(heard) == 1:
            raise Hangup
        return RESULT | {"duplicate": True}

    with server(once_deaf):
        done = peerwake("send", "bob", "hi")
    assert done.returncode == 0
    assert "sent before" not in done.stdout
    assert len(heard) == 2
    assert heard[0] == heard[1]


def test_a_broken_connection_does_not_hide_that_the_message_was_given_up(server, peerwake: Run) -> None:
    heard: list[dict[str, Any]] = []

    def once_deaf(verb: str, args: dict[str, Any]) -> None:
        heard.append(args)
        if len(heard) == 1:
            raise Hangup
        raise Refuse("dead-letter", GIVEN_UP)

    with server(once_deaf):
        done = peerwake("send", "bob", "hi", "--json")
    assert json.loads(done.stdout)["error"] == {"code": "dead-letter", "message": GIVEN_UP}
    assert done.returncode == Exit.GIVEN_UP
    assert heard[0] == heard[1]


def gone_after_one(root: Root) -> Answer:
    """Take one request, then go away for good without an answer."""

    def deaf(verb: str, args: dict[str, Any]) -> None:
        root.server_socket.unlink(missing_ok=True)
        raise Hangup

    return deaf


def test_a_server_that_stays_away_leaves_the_message_in_the_spool(server, peerwake: Run, root: Root) -> None:
    create(Registry(root), NewPeer(runtimes=("scripted",), name="bob"))
    with server(gone_after_one(root)) as heard:
        done = peerwake("send", "bob", "hi")
    assert done.returncode == 3
    assert "the server went away while sending; the message waits in the spool" in done.stderr
    with SpoolStore(root.spool) as store:
        lease = store.lease(Identity("scripted", "bob"), "test", 0.0)
    assert lease is not None
    assert lease.message.idempotency_key == heard.calls[0][1]["idempotency_key"]


def test_a_server_that_stays_away_does_not_hide_that_the_message_was_given_up(
    server, peerwake: Run, root: Root
) -> None:
    create(Registry(root), NewPeer(runtimes=("scripted",), name="bob"))
    assert peerwake("send", "bob", "hi", "--key", "k").returncode == Exit.QUEUED
    with SpoolStore(root.spool) as store:
        store.bury_all("bob", "bob was removed", SystemClock().wall())
    with server(gone_after_one(root)):
        done = peerwake("send", "bob", "hi", "--key", "k", "--json")
    assert json.loads(done.stdout)["error"]["code"] == "dead-letter"
    assert done.returncode == Exit.GIVEN_UP


@pytest.mark.parametrize("peers", [(), ("bob",)], ids=["refused-afterwards", "spool-damaged"])
def test_what_cannot_be_found_out_is_unverified(server, peerwake: Run, root: Root, peers: tuple[str, ...]) -> None:
    for name in peers:
        create(Registry(root), NewPeer(runtimes=("scripted",), name=name))
    root.spool.write_bytes(b"damaged" * 100)
    with server(gone_after_one(root)) as heard:
        done = peerwake("send", "bob", "hi", "--json")
    assert done.returncode == 5
    assert json.loads(done.stdout)["error"]["code"] == "unverified"
    assert f"--key {heard.calls[0][1]['idempotency_key']}" in done.stderr


@pytest.mark.parametrize(
    ("stdin", "argv", "message"),
    [
        (b"from a pipe\n", ["-"], "from a pipe\n"),
        ("ünï".encode(), ["--file", "-"], "ünï"),
        (b"", ["--", "-h"], "-h"),
        (b"", ["-x y"], "-x y"),
        (b"", [""], ""),
    ],
)
def test_where_the_text_comes_from(server, peerwake: Run, stdin: bytes, argv: list[str], message: str) -> None:
    with server(answering()) as heard:
        assert peerwake("send", "bob", *argv, stdin=stdin).returncode == 0
    assert heard.calls[0][1]["message"] == message


def test_text_from_a_file(server, peerwake: Run, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * (256 * 1024))
    with server(answering()) as heard:
        assert peerwake("send", "bob", "--file", "f").returncode == 0
    assert heard.calls[0][1]["message"] == "x" * (256 * 1024)


@pytest.mark.parametrize(
    ("stdin", "argv", "code", "problem"),
    [
        (b"x" * (256 * 1024 + 1), ["-"], 4, "standard input is longer than 262144 bytes"),
        (b"ab\xff", ["-"], 4, "standard input is not UTF-8 text (byte 2)"),
        (b"", ["--file", "missing"], 2, "cannot read --file 'missing': No such file or directory"),
        (b"", ["--file", "/"], 2, "cannot read --file '/': Is a directory"),
        (b"", ["hi", "--file", "f"], 2, "not both"),
        (b"", [], 2, "no message"),
        (b"", ["hi", "--wait", "-1"], 2, "--wait -1 is not between 0 and 120"),
        (b"", ["hi", "--wait", "nan"], 2, "--wait nan is not between 0 and 120"),
        (b"", ["\udcff"], 4, "not UTF-8"),
    ],
)
def test_bad_text_is_refused_and_nothing_is_asked(server, peerwake: Run, stdin, argv, code, problem) -> None:
    with server(answering()) as heard:
        done = peerwake("send", "bob", *argv, stdin=stdin)
    assert done.returncode == code
    assert problem in done.stderr
    assert done.stderr.count("\n") == 1
    assert heard.calls == []


def test_help_sends_nothing(server, peerwake: Run) -> None:
    with server(answering()) as heard:
        assert peerwake("send", "-h", "bob", "hi").returncode == 0
        assert peerwake("send", "bob", "hi", "--help").returncode == 0
    assert heard.hellos == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_an_output_that_is_full_hides_no_accepted_message(server, environ: dict[str, str], more: list[str]) -> None:
    with server(answering()), Path("/dev/full").open("wb") as full:
        words = [sys.executable, "-m", "mcp_server", "send", "bob", "hi", "--key", "k7", *more]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, env=environ, text=True, timeout=60)
    assert done.returncode == 1
    assert "cannot write the output" in done.stderr
    assert f"accepted (delivered) as {RESULT['message_id']}, --key k7" in done.stderr
