"""Under a real `systemd --user` sessions and their canary outlive the unit of the server, whatever happens to it."""

import os
import signal
import sys

import pytest

from tests.live.test_deaths import exits, under_watch, watcher
from tests.live.user_manager import scope_of, user_manager
from tests.live.world import TOP, World, until
from transport.paths import Root
from transport.process import terminate

pytestmark = pytest.mark.live

UNIT = "peerwake-under-test"


def test_a_restart_of_the_unit_ends_neither_sessions_nor_their_canary(root: Root) -> None:
    with user_manager(root.home) as manager:
        world = World(root, extra=manager.env)
        root.config.write_text("tcp = false\nsystemd_scope = true\n")
        try:
            world.create("alice")
            settings = [f"--setenv={name}={value}" for name, value in world.env.items()]
            serve = [sys.executable, "-m", "mcp_server", "serve"]
            words = ("--user", "--quiet", f"--unit={UNIT}", f"--working-directory={TOP}", *settings, *serve)
            manager.run("systemd-run", *words)
            first = until(world.server_pid, 20, "the start of the server")
            assert world.send("alice", "hello")["status"] == "delivered"
            tmux, canary = world.tmux("scripted-alice"), until(lambda: watcher(world), 10, "the watcher")
            assert scope_of(first) == f"{UNIT}.service"
            scopes = [scope_of(tmux.pid), scope_of(canary.pid)]
            assert len(set(scopes)) == 2 and all(each.endswith(".scope") for each in scopes), scopes
            manager.run("systemctl", "--user", "kill", "--signal=SIGKILL", "--kill-whom=all", UNIT)
            until(lambda: scope_of_dead(first), 20, "the end of the server")
            assert tmux.is_alive() and canary.is_alive()
            under_watch(world, tmux)
            terminate(tmux, signal.SIGKILL)
            (line,) = until(lambda: exits(world), 10, "the line")
            assert (line["ev"], line["cause"]) == ("server-exit", "SIGKILL")
        finally:
            world.close()


def test_a_session_that_got_no_scope_is_named_before_a_restart_ends_it(root: Root) -> None:
    with user_manager(root.home) as manager:
        world = World(root, extra=manager.env)
        root.config.write_text("tcp = false\nsystemd_scope = true\n")
        program = root.home / "bin" / "systemd-run"
        program.parent.mkdir()
        program.write_text("#!/bin/sh\nexit 1\n")
        program.chmod(0o700)
        try:
            world.create("alice")
            env = world.env | {"PATH": f"{program.parent}:{os.environ['PATH']}"}
            settings = [f"--setenv={name}={value}" for name, value in env.items()]
            serve = [sys.executable, "-m", "mcp_server", "serve"]
            words = ("--user", "--quiet", f"--unit={UNIT}", f"--working-directory={TOP}", *settings, *serve)
            manager.run("systemd-run", *words)
            until(world.server_pid, 20, "the start of the server")
            assert world.send("alice", "hello")["status"] == "delivered"
            assert scope_of(world.tmux("scripted-alice").pid) == f"{UNIT}.service"
            assert "ev=no-scope identity=scripted-alice" in world.log("lifecycle")
            (found,) = [each for each in world.json("doctor")["findings"] if each["subject"] == "scopes"]
            assert found["text"].startswith(f"scripted-alice is in {UNIT}.service with the server")
        finally:
            world.close()


def scope_of_dead(pid: int) -> bool:
    """Tell whether a process is gone."""
    try:
        return scope_of(pid) == ""
    except OSError:
        return True
