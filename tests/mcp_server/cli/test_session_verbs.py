"""The commands about one peer's session: what each asks, prints and exits with."""

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.mcp_server.cli.conftest import Run
from tests.mcp_server.cli.control_server import ControlServer, Refuse
from transport.paths import Root

ANSWERS = {
    "new": {"identity": "x-bob", "state": "ready", "mode": "fresh"},
    "refresh": {"identity": "x-bob", "state": "fresh at its next wake", "live": True},
    "interrupt": {"identity": "x-bob", "state": "ready", "draft": None, "excerpt": "a\nb"},
    "compact": {"identity": "x-bob", "state": "busy", "draft": None, "excerpt": ""},
}


@pytest.mark.parametrize(
    ("argv", "asked", "says"),
    [
        (("new", "bob"), {"name": "bob"}, "x-bob: fresh and ready\n"),
        (
            ("new", "bob", "--runtime", "x", "--seed", "go on"),
            {"name": "bob", "runtime": "x", "seed": "go on"},
            "x-bob: fresh and ready\n",
        ),
        (("refresh", "bob"), {"name": "bob"}, "x-bob: fresh at its next wake; its session goes on until then\n"),
        (("interrupt", "bob"), {"name": "bob"}, "x-bob: interrupted, its screen is ready\n"),
        (("compact", "bob"), {"name": "bob"}, "x-bob: the client took the command, its screen is busy\n"),
    ],
)
def test_what_is_asked_and_said(
    peerwake: Run, root: Root, argv: tuple[str, ...], asked: dict[str, str], says: str
) -> None:
    with ControlServer(root.server_socket, lambda verb, args: ANSWERS[verb]) as heard:
        plain, document = peerwake(*argv), peerwake(*argv, "--json")
    assert (plain.returncode, plain.stdout, plain.stderr) == (0, says, "")
    assert heard.calls == [(argv[0], asked)] * 2
    shown = json.loads(document.stdout)
    assert shown.items() >= ANSWERS[argv[0]].items()
    assert {"host", "tenant_id"} <= shown.keys()


def test_a_draft_that_was_left_is_told(peerwake: Run, root: Root) -> None:
    answer = ANSWERS["interrupt"] | {"state": "draft", "draft": "<peer-message …>\nhello"}
    with ControlServer(root.server_socket, lambda verb, args: answer):
        done = peerwake("interrupt", "bob")
    assert (done.returncode, done.stdout) == (0, "x-bob: interrupted, its screen is draft\n")
    assert "put its prompt back into the composer" in done.stderr
    assert done.stderr.endswith("peerwake attach bob\n")


@pytest.mark.parametrize(
    ("verb", "code", "status"),
    [
        *(("interrupt", code, 4) for code in ("asleep", "not-busy", "held", "no-keys")),
        *(("new", code, 4) for code in ("stopped", "crash-looping", "ephemeral", "unknown-peer")),
        *(("new", code, 1) for code in ("wake-failed", "not-ready", "session-unreadable")),
        ("interrupt", "keys-unanswered", 1),
    ],
)
def test_refused_and_failed_are_told_apart(peerwake: Run, root: Root, verb: str, code: str, status: int) -> None:
    def refuse(verb: str, args: dict[str, Any]) -> None:
        raise Refuse(code, "this is why")

    with ControlServer(root.server_socket, refuse):
        done = peerwake(verb, "bob", "--json")
    assert (done.returncode, done.stderr) == (status, "peerwake: this is why\n")
    assert json.loads(done.stdout)["error"] == {"code": code, "message": "this is why"}


def test_self_new_hands_its_seed_over(peerwake: Run, root: Root) -> None:
    with ControlServer(root.server_socket, lambda verb, args: {"identity": "x-bob"}) as heard:
        done = peerwake("self", "new", "go on\nwith this")
    assert (done.returncode, done.stdout) == (0, "a fresh session will follow when this turn is over\n")
    assert heard.calls == [("self-new", {"seed": "go on\nwith this"})]


@pytest.mark.parametrize("ends", ["task", "session"])
def test_self_done_says_what_ends(peerwake: Run, root: Root, ends: str) -> None:
    with ControlServer(root.server_socket, lambda verb, args: {"identity": "x-bob", "ends": ends}):
        done = peerwake("self", "done")
    assert f"this {'task' if ends == 'task' else 'session'}" in done.stdout or "the task is done" in done.stdout


@pytest.mark.parametrize(
    "argv",
    [
        *(("new",), ("new", "bob", "carol"), ("refresh",), ("interrupt",), ("compact", "bob", "--seed", "x")),
        *(("self", "done", "a seed"), ("watch",), ("run", "x", "y")),
    ],
)
def test_usage(peerwake: Run, argv: tuple[str, ...]) -> None:
    done = peerwake(*argv)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("argv", [("attach", "bob"), ("watch", "bob"), ("run",)])
def test_a_terminal_is_needed_before_anything_is_asked(peerwake: Run, argv: tuple[str, ...]) -> None:
    done = peerwake(*argv)
    assert done.returncode == 2
    assert f"{argv[0]} needs a terminal" in done.stderr


@pytest.mark.parametrize("verb", ["new", "refresh", "interrupt", "compact"])
def test_without_a_server_each_says_how_to_start_one(peerwake: Run, verb: str) -> None:
    done = peerwake(verb, "bob")
    assert done.returncode == 6
    assert done.stderr.endswith("; start one with: peerwake serve --background\n")


@contextmanager
def at_a_terminal(environ: dict[str, str], cwd: Path, *argv: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a command on a terminal of its own; yields the process and the other end."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mcp_server", *argv],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environ | {"TERM": "xterm", "TMUX": "/nested,1,0"},
        cwd=cwd,
        start_new_session=True,
    )
    os.close(follower)
    try:
        yield process, leader
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(leader)


def read_until(terminal: int, wanted: bytes, seconds: float = 20.0) -> bytes:
    """Read a terminal's output until it shows `wanted`, its program is gone, or for `seconds`."""
    seen, deadline = b"", time.monotonic() + seconds
    while wanted not in seen and time.monotonic() < deadline:
        try:
            seen += os.read(terminal, 65536) if select.select([terminal], [], [], 0.1)[0] else b""
        except OSError:
            break
    return seen


@pytest.fixture
def session(environ: dict[str, str], root: Root) -> Iterator[list[str]]:
    """A tmux session named x that shows `here`; yields the words that begin a command for it."""
    tmux = ["tmux", "-f", "/dev/null", "-S", str(root.run / "tmux" / "x.sock")]
    subprocess.run([*tmux, "new-session", "-d", "-s", "x", "echo here; exec cat"], check=True, env=environ)
    yield tmux
    subprocess.run([*tmux, "kill-server"], check=False, env=environ, capture_output=True)


@pytest.mark.live
@pytest.mark.parametrize(
    ("argv", "asked", "flags"),
    [
        (("attach", "bob", "--runtime", "x"), {"name": "bob", "runtime": "x"}, "0"),
        (("watch", "bob"), {"name": "bob"}, "1"),
        (("run",), {}, "0"),
        (("run", "x", "--replace"), {"runtime": "x", "replace": True}, "0"),
    ],
)
def test_each_becomes_a_terminal_of_its_kind(
    environ: dict[str, str],
    root: Root,
    tmp_path: Path,
    session: list[str],
    argv: tuple[str, ...],
    asked: dict[str, Any],
    flags: str,
) -> None:
    place = {"identity": "x", "socket": session[-1], "session": "x", "state": "ready", "mode": "live", "first": False}
    with (
        ControlServer(root.server_socket, lambda verb, args: place) as heard,
        at_a_terminal(environ, tmp_path, *argv) as (process, terminal),
    ):
        assert b"here" in read_until(terminal, b"here")
        rows = [*session, "list-clients", "-F", "#{client_readonly}"]
        assert subprocess.run(rows, check=True, env=environ, capture_output=True, text=True).stdout == f"{flags}\n"
        os.write(terminal, b"\x02d")
        assert b"detached" in read_until(terminal, b"detached")
        assert process.wait(10) == 0
    assert heard.calls == [(argv[0], asked)]


@pytest.mark.live
@pytest.mark.parametrize(("first", "says"), [(True, b"it never ran before"), (False, b"a fresh start was wished for")])
def test_attach_says_when_it_is_no_resume(
    environ: dict[str, str], root: Root, tmp_path: Path, session: list[str], first: bool, says: bytes
) -> None:
    place = {"identity": "x", "socket": session[-1], "session": "x", "state": "ready", "mode": "fresh", "first": first}
    with (
        ControlServer(root.server_socket, lambda verb, args: place),
        at_a_terminal(environ, tmp_path, "attach", "bob") as (_, terminal),
    ):
        assert says in read_until(terminal, b"here")


@pytest.mark.live
def test_run_outside_every_peers_directory_says_what_to_do(environ: dict[str, str], root: Root, tmp_path: Path) -> None:
    def refuse(verb: str, args: dict[str, Any]) -> None:
        raise Refuse("invalid", "cwd: it is no peer's directory, nor below one; make it one: peerwake init")

    with ControlServer(root.server_socket, refuse), at_a_terminal(environ, tmp_path, "run") as (process, terminal):
        said = read_until(terminal, b"peerwake init\r\n")
        assert f"peerwake: {tmp_path} is no peer's directory; make it one: peerwake init".encode() in said
        assert process.wait(10) == 4


@pytest.mark.parametrize("argv", [("attach", "bob", "--runtime", ""), ("watch", "bob", "--runtime", ""), ("run", "")])
def test_an_empty_runtime_at_a_terminal_is_the_servers_to_refuse(
    environ: dict[str, str], tmp_path: Path, root: Root, argv: tuple[str, ...]
) -> None:
    def refuse(verb: str, args: dict[str, Any]) -> None:
        raise Refuse("invalid", "runtime: '' is not a runtime's name")

    with ControlServer(root.server_socket, refuse) as heard, at_a_terminal(environ, tmp_path, *argv) as (_, terminal):
        read_until(terminal, b"name\r\n")
    assert [args["runtime"] for _, args in heard.calls] == [""]
