"""The end of a tmux server: bring it about, wait for it, notice it."""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from transport.clock import Clock, SystemClock
from transport.process import DeadlinePassed, ProcessId, group, identify, terminal_leaders, terminate
from transport.tmux.control import TmuxUnknown
from transport.tmux.listener import answers
from transport.tmux.peer import ForeignSocket, check_socket

HANGUP_SECONDS: Final = 1.0
NUDGES: Final = (0.03, 0.1, 0.3, 1.0, 2.0, 2.0)


async def kill(
    socket: Path,
    server: ProcessId,
    deadline: float = 5.0,
    *,
    pane: ProcessId | None = None,
    clock: Clock | None = None,
) -> None:
    """End a server deliberately (no exit line is written) and what is left of its pane's process group.

    Where nobody knows the pane any more, these are the groups of all its panes. Exactly this process gets SIGTERM,
    which is all that tmux does on `kill-server`, and SIGKILL after `deadline` seconds; what is on the socket is not
    asked, it may be another one. Raises TmuxUnknown should it survive even that.
    """
    clock = clock or SystemClock()
    agents = await anyio.to_thread.run_sync(lambda: _all_agents(server) if pane is None else _agents(pane))
    if server.is_alive():
        terminate(server)
        if not await _gone_within(server, deadline, clock):
            terminate(server, signal.SIGKILL)
            if not await _gone_within(server, deadline, clock):
                raise TmuxUnknown(f"tmux server {server.pid} on {socket} does not die")
    await _end_all(agents, clock)
    if not _is_foreign(socket) and not answers(socket):
        remove(socket)


async def slay(socket: Path, server: ProcessId, clock: Clock) -> None:
    """End a server that did not get as far as a session, at once, with whatever it has started; not cancelled."""
    with anyio.CancelScope(shield=True):
        try:
            agents = await anyio.to_thread.run_sync(_all_agents, server)
        except (DeadlinePassed, OSError):
            agents = ()
        terminate(server, signal.SIGKILL)
        remove(socket)
        await _end_all(agents, clock)


def remove(socket: Path) -> None:
    """Remove the socket file of a server that has ended."""
    socket.unlink(missing_ok=True)


def _is_foreign(socket: Path) -> bool:
    """Tell whether it is certain that a socket is another user's."""
    with suppress(OSError):
        try:
            check_socket(socket)
        except ForeignSocket:
            return True
    return False


def _agents(pane: ProcessId) -> tuple[ProcessId, ...]:
    """Return what lives of a pane's process group, nothing where its pid is somebody else's by now."""
    return group(pane.pid) if identify(pane.pid) in (None, pane) else ()


def _all_agents(server: ProcessId) -> tuple[ProcessId, ...]:
    """Return what lives of the process groups of all panes of a server."""
    leaders = terminal_leaders(server.pid) if server.is_alive() else ()
    return tuple(process for leader in leaders for process in group(leader.pid))


async def wait_agents(pane: ProcessId, seconds: float, *, clock: Clock) -> None:
    """Wait for the end of what is left of a pane's process group, at most so long."""
    try:
        agents = await anyio.to_thread.run_sync(_agents, pane)
    except (DeadlinePassed, OSError):
        agents = (pane,)
    await _left_after(agents, seconds, clock)


async def _end_all(processes: Iterable[ProcessId], clock: Clock) -> None:
    """Give processes a second after their terminal's hangup, then SIGKILL to exactly these."""
    for process in await _left_after(processes, HANGUP_SECONDS, clock):
        terminate(process, signal.SIGKILL)
        await _gone_within(process, HANGUP_SECONDS, clock)


async def _left_after(processes: Iterable[ProcessId], seconds: float, clock: Clock) -> list[ProcessId]:
    """Return which processes are still alive after some time; at once when none is."""
    until = clock.monotonic() + seconds
    left = [process for process in processes if process.is_alive()]
    while left and clock.monotonic() < until:
        await clock.sleep(0.01)
        left = [process for process in left if process.is_alive()]
    return left


async def _gone_within(process: ProcessId, seconds: float, clock: Clock) -> bool:
    with anyio.move_on_after(seconds):
        await wait_dead(process, clock=clock)
    return not process.is_alive()


async def wait_dead(process: ProcessId, *, clock: Clock | None = None) -> None:
    """Return as soon as exactly this process is dead; costs nothing while it lives (Linux)."""
    clock = clock or SystemClock()
    if not hasattr(os, "pidfd_open"):
        while process.is_alive():
            await clock.sleep(0.05)
        return
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if process.is_alive():
            await anyio.wait_readable(descriptor)
    finally:
        os.close(descriptor)


async def wait_noticed(server: ProcessId, pane: ProcessId, *, clock: Clock | None = None) -> bool:
    """Return when the agent and its server are dead, True; False when the server does not notice that death.

    tmux loses a SIGCHLD now and then when a pane ends (3.3a with libutempter runs a helper with SIGCHLD
    at its default; one death in five to thirty was lost): the dead agent stays a zombie and the hook
    never runs until another SIGCHLD comes, so the server gets some.
    """
    clock = clock or SystemClock()
    await wait_dead(pane, clock=clock)
    for pause in NUDGES:
        with anyio.move_on_after(pause):
            await wait_dead(server, clock=clock)
        if not server.is_alive():
            return True
        nudge_reaper(server)
    return False


def nudge_reaper(server: ProcessId) -> None:
    """Make a server look for ended children once more; harmless when there are none."""
    terminate(server, signal.SIGCHLD)
