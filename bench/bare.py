"""The scripted agent in a tmux with our options and nothing of ours around it."""

import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.raw import open_pane, paste_to_line, poll
from lifecycle.runtimes.base import LaunchSpec
from lifecycle.runtimes.scripted import SCRIPTED
from lifecycle.states import Mode
from tests.live.world import until
from transport.process import ProcessId, identify, terminate
from transport.screen import read_screen
from transport.tmux import commands
from transport.tmux.pane import Pane
from transport.tmux.program import find_tmux, terminal_name
from transport.vocabulary import ScreenState

START: Final = "tmux new-session, ready, paste + Enter → transcript"
POLL_SECONDS: Final = 0.002


@dataclass(frozen=True, slots=True)
class Bare:
    """An agent at its ready input line: its pane, where its transcript will be, how long it took once tmux ran."""

    pane: Pane
    transcript: Path
    ready_seconds: float


@asynccontextmanager
async def bare_agent(run: Path, cwd: Path, env: dict[str, str], number: int) -> AsyncIterator[Bare]:
    """Start the agent in `cwd`, its tmux socket in `run`; both are ended with the block."""
    session_id = f"bare-{number}"
    command = SCRIPTED.command(LaunchSpec(Mode.FRESH, session_id, cwd, cwd, sys.executable))
    socket = run / f"bare{number}.sock"
    server, pane_id = start(socket, command, cwd, env)
    began = time.perf_counter()
    pane = open_pane(socket, "bare", server, pane_id)

    async def is_ready() -> bool:
        return read_screen(await pane.capture(), SCRIPTED.screen).state is ScreenState.READY

    try:
        await poll(is_ready, POLL_SECONDS)
        took = time.perf_counter() - began
        yield Bare(pane, cwd / ".peerwake/runtimes/scripted" / f"{session_id}.jsonl", took)
    finally:
        await pane.aclose()
        terminate(server)
        until(lambda: not server.is_alive(), 10, "the end of a bare tmux")


async def start_to_line(run: Path, cwd: Path, env: dict[str, str], number: int) -> float:
    """Return the seconds from starting tmux with the agent to the line of a pasted text in its transcript."""
    began = time.perf_counter()
    async with bare_agent(run, cwd, env, number) as agent:
        await paste_to_line(agent.pane, agent.transcript)
        return time.perf_counter() - began


def start(socket: Path, command: tuple[str, ...], cwd: Path, env: dict[str, str]) -> tuple[ProcessId, str]:
    """Start a tmux server with one session and the options of ours; returns the server and its pane."""
    options = (*commands.OPTIONS, ("-s", "default-terminal", terminal_name()))
    settings = socket.with_suffix(".conf")
    settings.write_text("".join(commands.line("set-option", *option) + "\n" for option in options))
    words = [find_tmux(), "-u", "-f", str(settings), "-S", str(socket), "new-session", "-d", "-P", "-F"]
    words += ["#{pid} #{pane_id}", "-s", "bare", "-x", "200", "-y", "50", "--", *command]
    pid, pane_id = subprocess.run(words, env=env, cwd=cwd, capture_output=True, text=True, check=True).stdout.split()
    server = identify(int(pid))
    assert server is not None
    return server, pane_id
