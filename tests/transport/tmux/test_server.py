"""Starting real tmux servers."""

import json
import os
import signal
import socket as sockets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.terminal import directory, until
from tests.tmux_servers import ENV, running, sh, written
from transport import files
from transport.errors import InvalidInput
from transport.logs import quote
from transport.paths import RootUnusable
from transport.process import DeadlinePassed, Finished, ProcessId, ancestry, identify
from transport.tmux import server as server_module
from transport.tmux.ending import wait_noticed
from transport.tmux.exit_script import exit_script
from transport.tmux.listener import answers, listener
from transport.tmux.program import find_tmux
from transport.tmux.server import (
    AgentExited,
    ServerRunning,
    StartFailed,
    start,
)

pytestmark = pytest.mark.live


def ask(socket: Path, *words: str) -> str:
    argv = [find_tmux(), "-S", str(socket), *words]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=10).stdout


def environment(pid: int) -> set[str]:
    if not sys.platform.startswith("linux"):
        pytest.skip("the environment of another process is read below /proc")
    return set(Path(f"/proc/{pid}/environ").read_text().split("\0"))


async def test_words_and_environment_arrive_as_they_are() -> None:
    words = ("a b", "c;", ";", "#{pid}", "$HOME", "it's", '"', "\\", "", "é", "%d", "~")
    dump = "import json,os,sys; open('out','w').write(json.dumps([sys.argv[1:], dict(os.environ)])+'\\n'); input()"
    with directory() as path:
        spec = sh(path, "", argv=(sys.executable, "-c", dump, *words))
        async with running(spec) as started:
            argv, env = json.loads(await written(path / "out"))
            assert tuple(argv) == words
            assert {name: env[name] for name in ENV} == ENV
            own = {
                "TMUX",
                "TMUX_PANE",
                "TERM",
                "TERM_PROGRAM",
                "TERM_PROGRAM_VERSION",
                "PWD",
                "SHLVL",
                "_",
                "COLORTERM",
            }
            assert set(env) - set(ENV) <= own
            assert env["TMUX_PANE"] == started.pane_id


async def test_what_loads_code_into_programs_is_for_the_session_alone() -> None:
    """A peer's launch.env must not bring code into processes outside its session, nor into its tmux."""
    with directory() as path:
        env = ENV | {"LD_PRELOAD": "", "LD_AUDIT": "", "DYLD_X": "a b;"}
        async with running(sh(path, "echo $DYLD_X >out; read x", env=env)) as started:
            assert await written(path / "out") == "a b;\n"
            assert "DYLD_X=a b;" in environment(started.pane.pid)
            assert {"LD_PRELOAD=", "LD_AUDIT="} <= environment(started.pane.pid)
            assert not {name for name in environment(started.tmux.pid) if name.startswith(("LD_", "DYLD_"))}


@pytest.mark.parametrize("name", ["a b", "it's", "100%#{pid}##[x", "$(x)", "grüße"])
async def test_any_directory(name: str) -> None:
    with directory() as top:
        path = top / name
        path.mkdir()
        hook = exit_script(path / "exits.log", "claude-alice")
        spec = sh(path, "pwd >out; echo shown; read x; exit 7", exit_hook=hook, pane_log=path / "pane.log")
        async with running(spec) as started:
            assert await written(path / "out") == f"{path}\n"
            await until(lambda: (path / "pane.log").exists() and "shown" in (path / "pane.log").read_text())
            ask(spec.socket, "send-keys", "Enter")
            with anyio.fail_after(8):
                assert await wait_noticed(started.tmux, started.pane)
            line = (path / "exits.log").read_text()
            assert line.startswith("ts=20") and line.count("\n") == 1
            server = f"server_pid={started.tmux.pid} server_started={quote(started.tmux.started)}"
            assert f" identity=claude-alice dead_status=7 dead_signal= cause=exit:7 by=tmux {server}\n" in line


async def test_what_an_agent_starts_stays_below_its_server() -> None:
    with directory() as path:
        script = "setsid sh -c 'sh -c \"echo \\$\\$ >out; sleep 60\" & exit' & sleep 60"
        async with running(sh(path, script)) as started:
            orphan = int(await written(path / "out"))
            await until(lambda: started.tmux.pid in set(ancestry(orphan)))
            os.kill(orphan, signal.SIGKILL)


async def test_a_server_is_nobodys_child_and_survives_its_starter() -> None:
    with directory() as path:
        async with running(sh(path, "read x")) as started:
            assert os.getpid() not in set(ancestry(started.tmux.pid))
            assert os.getsid(started.tmux.pid) == started.tmux.pid


async def test_a_living_server_is_never_replaced() -> None:
    with directory() as path:
        async with running(sh(path, "read x")) as started:
            with pytest.raises(ServerRunning):
                await start(sh(path, "read x"))
            os.kill(started.tmux.pid, signal.SIGSTOP)
            with pytest.raises(ServerRunning):
                await start(sh(path, "read x"))
            os.kill(started.tmux.pid, signal.SIGCONT)
            assert started.tmux.is_alive()


async def test_a_stale_socket_is_replaced() -> None:
    with directory() as path:
        with sockets.socket(sockets.AF_UNIX) as stale:
            stale.bind(str(path / "t.sock"))
        assert (path / "t.sock").exists() and not answers(path / "t.sock")
        async with running(sh(path, "read x")) as started:
            assert started.tmux.is_alive()


async def test_a_user_configuration_is_not_read() -> None:
    with directory() as path:
        (path / ".tmux.conf").write_text("set -g status on\nset -g prefix C-a\n")
        async with running(sh(path, "read x", env=ENV | {"HOME": str(path)})) as started:
            assert ask(path / "t.sock", "show-options", "-gv", "status") == "off\n"
            assert started.pane_id == "%0"


@pytest.mark.parametrize("argv", [("/nonexistent/agent", "x"), ("/nonexistent/agent",), ("/bin/false", "x")])
async def test_an_agent_that_ends_at_once(argv: tuple[str, ...]) -> None:
    with directory() as path:
        hook = exit_script(path / "exits.log", "claude-alice")
        try:
            started = await start(sh(path, "", argv=argv, exit_hook=hook))
        except AgentExited as error:
            assert argv[0] in str(error)
        else:
            with anyio.fail_after(8):
                assert await wait_noticed(started.tmux, started.pane)
        line = (path / "exits.log").read_text()
        assert "ev=session-exit" in line and "dead_status=0" not in line


async def test_what_cannot_be_started_is_refused_and_leaves_nothing() -> None:
    with directory() as path:
        with pytest.raises(RootUnusable):
            await start(sh(path, "read x", socket=path / ("x" * 100)))
        for argv in [(), ("a\0", "b"), ("a=b",)]:
            with pytest.raises(InvalidInput):
                await start(sh(path, "", argv=argv))
        with pytest.raises(StartFailed):
            await start(sh(path, "read x", cwd=path / "missing"))
        assert not (path / "t.sock").exists()


async def test_a_pane_log_that_cannot_be_moved_away_leaves_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with directory() as path:
        spec = sh(path, "sleep 100", pane_log=path / "pane.log")
        (path / "pane.log").write_text("of the session before\n")
        real, begun = server_module.identify, []

        def identify_and_note(pid: int) -> ProcessId | None:
            begun.append(real(pid))
            return begun[-1]

        def full(source: Path, target: Path) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(server_module, "identify", identify_and_note)
        monkeypatch.setattr(files, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            await start(spec)
        await until(lambda: not begun[0].is_alive())
        assert not spec.socket.exists()
        assert (path / "pane.log").read_text() == "of the session before\n"


async def test_a_server_whose_launcher_answers_too_late_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who starts it was stopped meanwhile (a suspended machine, SIGSTOP), and its patience is over when it goes on."""
    with directory() as path:
        spec = sh(path, "sleep 100")
        real, lost = server_module.run, []

        def run_late(argv: list[str], **options: Any) -> Finished:
            done = real(argv, **options)
            if str(server_module.LAUNCHER) in argv:
                lost.append(identify(int(done.stdout)))
                await_socket(spec.socket)
                raise DeadlinePassed("too late")
            return done

        monkeypatch.setattr(server_module, "run", run_late)
        with pytest.raises(StartFailed):
            await start(spec)
        await until(lambda: not lost[0].is_alive())
        monkeypatch.setattr(server_module, "run", real)
        async with running(spec) as started:
            assert started.tmux.is_alive()


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The place of a user manager, and of the programs on the PATH: tmux alone."""
    with directory() as path:
        (path / "systemd").mkdir()
        (path / "systemd" / "private").touch()
        (path / "tmux").symlink_to(find_tmux())
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(path))
        monkeypatch.setenv("PATH", str(path))
        yield path


def systemd_run(manager: Path, script: str) -> None:
    """Put a program of this name on the PATH."""
    (manager / "systemd-run").write_text(f"#!/bin/sh\n{script}\n")
    (manager / "systemd-run").chmod(0o700)


async def test_a_session_has_a_scope_of_its_own_where_systemd_gives_one(
    manager: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "SCOPE_SECONDS", 60.0)
    systemd_run(manager, 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"')
    with directory() as path:
        async with running(sh(path, "read x", scope=True), 120) as started:
            assert (started.is_scoped, started.no_scope) == (True, None)
        async with running(sh(path, "read x")) as started:
            assert (started.is_scoped, started.no_scope) == (False, None)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "cannot run systemd-run"),
        ("echo 'Failed to connect to bus' >&2; exit 1", "no scope could be had: Failed to connect to bus"),
        ("exit 1", "no scope could be had: systemd-run ended with status 1"),
        ("while :; do /bin/sleep 600; done", "systemd-run gave no answer in 0.3 s"),
    ],
    ids=["absent", "fails", "fails silently", "hangs"],
)
async def test_a_session_starts_also_where_no_scope_can_be_had(
    manager: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, reason: str
) -> None:
    if script is not None:
        systemd_run(manager, script)
    if "sleep" in (script or ""):
        monkeypatch.setattr(server_module, "SCOPE_SECONDS", 0.3)
    with directory() as path:
        async with running(sh(path, "read x", scope=True)) as started:
            assert not started.is_scoped and started.no_scope is not None
            assert started.no_scope.startswith(reason)
            assert listener(path / "t.sock") == started.tmux


@pytest.mark.parametrize("when", ["before it is given up", "before the other", "after the other"])
async def test_a_server_that_a_hanging_user_manager_is_late_with_is_no_second_one(
    manager: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    with directory() as path:
        spec = sh(path, "read x", scope=True)
        real, late, told = server_module.run, [], []

        def come_up() -> None:
            job = told.pop()
            late.append(int(real(job["argv"], deadline=60, stdin=job["stdin"]).stdout))

        def run_late(argv: list[str], **options: Any) -> Finished:
            if argv[0] == "systemd-run":
                told.append({"argv": argv[argv.index("--") + 1 :], "stdin": options["stdin"]})
                if when == "before it is given up":
                    come_up()
                    await_socket(spec.socket)
                raise DeadlinePassed("systemd-run gave no answer")
            if when == "before the other" and told and str(server_module.LAUNCHER) in argv:
                come_up()
                await_socket(spec.socket)
                done = real(argv, **options)
                await_end(int(done.stdout))
                return done
            return real(argv, **options)

        monkeypatch.setattr(server_module, "run", run_late)
        async with running(spec) as started:
            if when == "after the other":
                come_up()
                await until(lambda: identify(late[0]) is None)
            assert late and (late[0] == started.tmux.pid) is (when == "before the other")
            assert listener(spec.socket) == started.tmux
            assert started.tmux.is_alive() and started.pane.is_alive()
            assert ask(spec.socket, "list-sessions", "-F", "#{session_name}") == "claude-alice\n"
        await until(lambda: identify(late[0]) is None)


def await_socket(path: Path) -> None:
    deadline = time.monotonic() + 10
    while not answers(path) and time.monotonic() < deadline:
        time.sleep(0.01)


def await_end(pid: int) -> None:
    deadline = time.monotonic() + 10
    while identify(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
