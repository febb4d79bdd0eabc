"""One tmux server per identity: start it, and know it by pid and start time."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from transport import files
from transport.clock import Clock, SystemClock
from transport.errors import InvalidInput, PeerwakeError
from transport.paths import check_socket_path
from transport.process import DeadlinePassed, ProcessId, ProgramMissing, identify, run
from transport.scope import scope_command
from transport.tmux import commands
from transport.tmux.control import CLIENT_ENV
from transport.tmux.ending import HANGUP_SECONDS, nudge_reaper, remove, slay
from transport.tmux.exit_script import of_server
from transport.tmux.listener import answers, listener
from transport.tmux.program import find_tmux, terminal_name, version

LAUNCHER: Final = Path(__file__).with_name("launcher.py")
HISTORY_LINES: Final = 5_000
LOADERS: Final = ("LD_", "DYLD_", "GCONV_PATH")
PANE_LOG_BYTES: Final = 8 << 20
UNNAMED_SECONDS: Final = 0.5
SCOPE_SECONDS: Final = 5.0


class ServerRunning(PeerwakeError):
    """A live tmux server answers on the socket; it is never replaced, the caller adopts or ends it."""

    code = "tmux-running"


class StartFailed(PeerwakeError):
    """tmux could not be started; the text says why."""

    code = "tmux-start-failed"


class AgentExited(PeerwakeError):
    """The agent's program ended as soon as it was started; the user mends its installation or arguments."""

    code = "agent-exited"


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """What a session is to be: `env` is complete (nothing else is inherited), sizes are in cells.

    `exit_hook` is a script of shell builtins (see `exit_script`) run with `ts`, `status` and
    `signal` set when the agent ends, after which the server ends; without it a dead pane stays.
    `pane_log` gets the pane's first 8 MiB of output. `mark` is put on all its processes (`transport.brand`).
    """

    socket: Path
    session: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    width: int = 200
    height: int = 50
    exit_hook: str | None = None
    pane_log: Path | None = None
    scope: bool = False
    mark: int | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """A new session: its server, its pane's id and the agent's process.

    `is_scoped` tells that the server has a systemd scope of its own, `no_scope` why it has none though it was to.
    """

    tmux: ProcessId
    pane_id: str
    pane: ProcessId
    is_scoped: bool = False
    no_scope: str | None = None


async def start(spec: ServerSpec, deadline: float = 20.0, clock: Clock | None = None) -> Started:
    """Start a tmux server with one session that runs `spec.argv`, without a shell, in `deadline` seconds.

    Raises TmuxMissing, TmuxTooOld, RootUnusable (socket path), ServerRunning, StartFailed, AgentExited.
    Whatever was started is ended again when it fails.
    """
    clock = clock or SystemClock()
    _check(spec)
    tmux = await anyio.to_thread.run_sync(find_tmux)
    if answers(spec.socket):
        raise ServerRunning(f"a tmux server runs on {spec.socket}; stop that session first")
    remove(spec.socket)
    server: ProcessId | None = None
    try:
        with anyio.fail_after(deadline):
            scope = scope_command() if spec.scope else []
            server, no_scope = await _launched(tmux, spec, scope, deadline, clock)
            while not answers(spec.socket):
                if not server.is_alive() and not answers(spec.socket):
                    raise StartFailed(f"tmux ended at once on {spec.socket}; is its directory writable?")
                await clock.sleep(0.001)
            # Of two servers the one that came first stays: tmux takes its socket under a lock, and the other leaves.
            server = listener(spec.socket) or server
            started = await anyio.to_thread.run_sync(lambda: _set_up(tmux, spec, server, deadline))
            return replace(started, is_scoped=bool(scope) and no_scope is None, no_scope=no_scope)
    except BaseException as error:
        is_late = isinstance(error, (TimeoutError, DeadlinePassed))
        if server is not None:
            if isinstance(error, AgentExited) and spec.exit_hook is not None:
                await _let_hook_run(server, clock)
            await slay(spec.socket, server, clock)
        elif is_late:
            await _end_unnamed(spec.socket, clock)
        if is_late:
            raise StartFailed(f"tmux did not start {spec.session} in {deadline:g} s") from error
        raise


def _check(spec: ServerSpec) -> None:
    check_socket_path(spec.socket)
    if not spec.argv or any("\0" in word for word in (*spec.argv, *spec.env, *spec.env.values())):
        raise InvalidInput("argv", "a command needs at least one word, and no word may hold NUL")
    if len(spec.argv) == 1 and "=" in spec.argv[0]:
        raise InvalidInput("argv", f"{spec.argv[0]!r:.80} holds '='; give it a path without one")


async def _launched(
    tmux: str, spec: ServerSpec, scope: list[str], deadline: float, clock: Clock
) -> tuple[ProcessId, str | None]:
    """Start the server process in the scope or, where that cannot be had, in none; return it, and why it is in none.

    A user manager that hangs gets a part of the time, and what it comes up with after that is ended.
    """
    no_scope = None
    if scope:
        patience = min(deadline / 2, SCOPE_SECONDS)
        try:
            return await anyio.to_thread.run_sync(lambda: _launch(tmux, spec, scope, patience)), None
        except (ProgramMissing, StartFailed) as error:
            no_scope = str(error)
        except DeadlinePassed as error:
            no_scope = str(error)
            await _end_unnamed(spec.socket, clock)
            deadline -= patience
    return await anyio.to_thread.run_sync(lambda: _launch(tmux, spec, [], deadline)), no_scope


async def _end_unnamed(socket: Path, clock: Clock) -> None:
    """End the server of a launcher that did not come to tell its pid: nobody else ever would."""
    until = clock.monotonic() + UNNAMED_SECONDS
    while clock.monotonic() < until:
        server = listener(socket)
        if server is not None:
            await slay(socket, server, clock)
            return
        await clock.sleep(0.02)


async def _let_hook_run(server: ProcessId, clock: Clock) -> None:
    """Give a server whose agent ended a second to write why."""
    until = clock.monotonic() + HANGUP_SECONDS
    while server.is_alive() and clock.monotonic() < until:
        nudge_reaper(server)
        await clock.sleep(0.02)


def _launch(tmux: str, spec: ServerSpec, scope: list[str], deadline: float) -> ProcessId:
    """Start the server process and return it; blocking. Raises StartFailed, ProgramMissing, DeadlinePassed."""
    argv = [*scope, sys.executable, "-I", "-S", str(LAUNCHER)]
    server_argv = commands.foreground_server(tmux, spec.socket)
    pairs = (f"{name}={value}" for name, value in spec.env.items() if not is_loaders(name))
    mark = "" if spec.mark is None else str(spec.mark)
    job = os.fsencode("\0".join([str(spec.cwd), mark, str(len(server_argv)), *server_argv, *pairs]))
    spec.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    done = run(argv, deadline=deadline, stdin=job)
    if done.status:
        why = done.stderr.strip()[-300:] or f"{argv[0]} ended with status {done.status}"
        raise StartFailed(f"{'no scope could be had' if scope else 'tmux could not be started'}: {why}")
    # Another server that came first is as good: it is the same.
    server = identify(int(done.stdout)) or listener(spec.socket)
    if server is None:
        raise StartFailed(f"tmux ended at once on {spec.socket}; is its directory writable?")
    return server


def _set_up(tmux: str, spec: ServerSpec, server: ProcessId, deadline: float) -> Started:
    """Configure the server and create its session; blocking."""
    steps = commands.set_up(
        session=spec.session,
        argv=spec.argv,
        env={name: value for name, value in spec.env.items() if is_loaders(name)},
        size=(spec.width, spec.height),
        terminal=terminal_name(),
        shell=_shell(spec.env),
        history=HISTORY_LINES,
        passthrough=version(tmux) >= (3, 3),
        exit_hook=None if spec.exit_hook is None else of_server(spec.exit_hook, server.started),
        pane_log=spec.pane_log,
        pane_log_bytes=PANE_LOG_BYTES,
    )
    if spec.pane_log is not None and os.path.lexists(spec.pane_log):
        files.replace(spec.pane_log, spec.pane_log.with_name(f"{spec.pane_log.name}.1"))
    # A client that creates a session gives it its own PATH.
    env = CLIENT_ENV | {name: spec.env[name] for name in ("PATH",) if name in spec.env}
    done = run(commands.client(tmux, spec.socket, *steps), deadline=deadline, env=env, cwd=spec.cwd)
    found = done.stdout.split()
    if len(found) < 3:
        raise StartFailed(f"tmux refused to create {spec.session}: {done.stderr.strip()[-300:] or 'no reason given'}")
    running, pane = identify(int(found[0])), identify(int(found[2]))
    if running is None or pane is None:
        raise AgentExited(f"{spec.argv[0]} ended at once; try it in {spec.cwd} by hand")
    return Started(running, found[1], pane)


def is_loaders(name: str) -> bool:
    """Tell what loads code into every program: it is for the session's own processes, not for its tmux."""
    return name.startswith(LOADERS)


def _shell(env: Mapping[str, str]) -> str:
    """Return the SHELL that tmux is to pass on: it overwrites the variable with its own setting."""
    shell = env.get("SHELL", "")
    return shell if Path(shell).is_absolute() and os.access(shell, os.X_OK) else "/bin/sh"
