"""The command line as a whole: finding commands, help, version, errors, closed pipes, interrupts."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from mcp_server.cli.main import COMMANDS
from tests.mcp_server.cli.conftest import TOP, Run
from tests.mcp_server.cli.control_server import ControlServer
from transport.paths import Root


def test_without_arguments_it_says_what_it_can_do(peerwake: Run) -> None:
    done = peerwake()
    assert done.returncode == 2
    assert done.stdout == ""
    assert all(name in done.stderr for name in COMMANDS)


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["help"], ["help", "nonsense"]])
def test_help_lists_the_commands(peerwake: Run, argv: list[str]) -> None:
    done = peerwake(*argv)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_that_runs_nothing(peerwake: Run, name: str, root) -> None:
    before = sorted(root.home.rglob("*"))
    done = peerwake(name, "x", "--nonsense", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: peerwake {name}")
    assert sorted(root.home.rglob("*")) == before
    assert peerwake("help", name).stdout == done.stdout


def test_version(peerwake: Run) -> None:
    done = peerwake("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("peerwake ")
    assert peerwake("version").stdout == done.stdout


def test_a_mistyped_command(peerwake: Run) -> None:
    done = peerwake("snd", "bob")
    assert done.returncode == 2
    assert done.stderr == "peerwake: no command 'snd'; did you mean 'send'?; see: peerwake --help\n"


def test_errors_are_one_line_with_nothing_that_moves_the_cursor(peerwake: Run) -> None:
    done = peerwake("\x1b[2Jx\ny")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr


def test_errors_in_json_when_json_was_asked_for(peerwake: Run) -> None:
    done = peerwake("stop", "bob", "--json")
    assert done.returncode == 6
    shown = json.loads(done.stdout)
    assert shown["error"]["code"] == "no-server"
    assert shown["host"]
    assert shown["tenant_id"]
    assert "serve --background" in done.stderr


@pytest.mark.parametrize(
    "argv",
    [
        ["send", "--json"],
        ["--json", "list"],
        ["queue", "--jsn", "--json"],
        ["snd", "--json"],
        ["attach", "x", "--json"],
    ],
)
def test_a_command_line_that_cannot_be_read_is_an_error_in_json_too(peerwake: Run, argv: list[str]) -> None:
    done = peerwake(*argv)
    assert done.returncode == 2
    shown = json.loads(done.stdout)
    assert shown["error"]["code"] == "usage"
    assert shown["host"] and shown["tenant_id"]
    assert done.stderr == f"peerwake: {shown['error']['message']}\n"


def test_json_after_the_end_of_the_options_is_a_word(peerwake: Run) -> None:
    done = peerwake("list", "a", "--", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("peerwake: one word too many: '--json'")


def test_a_closed_pipe_is_quiet(environ: dict[str, str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "mcp_server", "--help"],
            stdout=writing,
            stderr=subprocess.PIPE,
            env=environ,
            timeout=60,
        )
    finally:
        os.close(writing)
    assert done.returncode == 141
    assert done.stderr == b""


def test_no_standard_output_at_all(environ: dict[str, str]) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "{sys.executable}" -m mcp_server version >&-'],
        env=environ,
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_behind_standard_output_is_told(environ: dict[str, str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mcp_server", "version"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environ,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr.startswith(b"peerwake: ")
    assert done.stderr.count(b"\n") == 1


def interrupted(environ: dict[str, str], tmp_path: Path, root: Root, *argv: str) -> tuple[int, bytes, bytes, Any]:
    """Interrupt a command whose request gets no answer; returns its code, what it printed, and what it had asked."""
    asked, over = threading.Event(), threading.Event()

    def never(verb: str, args: dict[str, Any]) -> None:
        asked.set()
        over.wait(20)

    with ControlServer(root.server_socket, never) as heard:
        process = subprocess.Popen(
            [sys.executable, "-m", "mcp_server", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
            cwd=tmp_path,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests run in the background ignore it
        )
        assert asked.wait(20)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
        over.set()
    ((_, args),) = heard.calls
    return process.returncode, out, err, args


def test_an_interrupt_leaves_no_traceback(environ: dict[str, str], tmp_path: Path, root: Root) -> None:
    assert interrupted(environ, tmp_path, root, "list")[:3] == (130, b"", b"")


@pytest.mark.parametrize("key", [(), ("--key", "mine")])
def test_an_interrupted_send_names_the_key_that_makes_its_repetition_harmless(
    environ: dict[str, str], tmp_path: Path, root: Root, key: tuple[str, ...]
) -> None:
    code, out, err, args = interrupted(environ, tmp_path, root, "send", "bob", "hi", *key)
    assert (code, out) == (130, b"")
    assert err.decode() == (
        "peerwake: interrupted: the message may have been accepted; to be sure repeat it with"
        f" --key {args['idempotency_key']}\n"
    )
    assert args["idempotency_key"].startswith(key[-1] if key else "cli-")


def test_the_fast_path_imports_the_standard_library_only() -> None:
    code = (
        "import sys, mcp_server.__main__, mcp_server.cli.main, mcp_server.cli.control;"
        "import mcp_server.cli.commands.send, mcp_server.cli.commands.list;"
        "print(' '.join(sorted(name.split('.')[0] for name in sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=TOP, check=True, timeout=60)
    loaded = set(done.stdout.split())
    assert not loaded & {
        "anyio",
        "pydantic",
        "mcp",
        "libtmux",
        "filelock",
        "starlette",
        "sqlite3",
        "dataclasses",
        "pathlib",
    }


@pytest.mark.parametrize("words", ["list", "serve --transport stdio", "serve --background"])
@pytest.mark.parametrize(("home", "problem"), [("relative", "is relative"), ("~nosuchuser/x", "no such home")])
def test_a_root_that_nobody_can_find_is_named(
    environ: dict[str, str], tmp_path: Path, words: str, home: str, problem: str
) -> None:
    (tmp_path / "gone").mkdir()
    done = subprocess.run(
        ["/bin/sh", "-c", f'rmdir "$PWD"; exec "{sys.executable}" -m mcp_server {words}'],
        env=environ | {"PEERWAKE_HOME": home},
        cwd=tmp_path / "gone",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "PEERWAKE_HOME" in done.stderr
    assert problem in done.stderr
    assert done.stderr.count("\n") == 1
