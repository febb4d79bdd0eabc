"""A message to a sleeping scripted peer: from the send to its receipt, beside the same agent in a bare tmux."""

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import anyio

from bench.ground import ground, live_peer, median_ms, seconds_of, spread
from bench.raw import open_pane, paste_to_line, poll
from bench.rows import Row, answer
from lifecycle.runtimes.base import LaunchSpec
from lifecycle.runtimes.scripted import SCRIPTED
from lifecycle.states import Mode
from tests.live.control import Control
from tests.live.world import World, until
from transport.process import ProcessId, identify, terminate
from transport.screen import read_screen
from transport.tmux import commands
from transport.tmux.program import find_tmux, terminal_name
from transport.vocabulary import ScreenState

FLOOR: Final = "tmux new-session, ready, paste + Enter → transcript"
SECONDS: Final = re.compile(r" ev=boot identity=scripted-alice end=ready seconds=(\S+)")
POLL_SECONDS: Final = 0.002


def run(quick: bool) -> list[Row]:
    """Wakes and bare starts take turns."""
    count = 4 if quick else 20
    with ground() as world, live_peer(world, "alice") as control:
        wakes: list[float] = []
        floor: list[float] = []
        for number in range(count):
            put_to_sleep(world, control, "alice")
            wakes.append(seconds_of(lambda: _wake(control)))
            floor.append(anyio.run(bare, world, number))
        boots = [float(found) for found in SECONDS.findall(world.log("lifecycle"))][-count:]
    value, bare_value = median_ms(wakes), median_ms(floor)
    return [
        Row(FLOOR, bare_value, "ms", note=spread(floor)),
        answer("wake", value, ratio=value / bare_value, of=FLOOR, note=spread(wakes)),
        Row("of that, start → ready", median_ms(boots), "ms", note=spread(boots)),
    ]


def put_to_sleep(world: World, control: Control, name: str) -> None:
    """Close a peer's session and let it be woken again."""
    tmux = world.tmux(f"scripted-{name}")
    assert control.call("stop", name=name)["ok"]
    until(lambda: not tmux.is_alive(), 10, "the end of the session")
    assert control.call("start", name=name)["ok"]


def _wake(control: Control) -> None:
    result = control.send("alice", "x" * 200, wait_seconds=60)
    assert (result["status"], result["woke"]) == ("delivered", True), result


async def bare(world: World, number: int) -> float:
    """Return the seconds from starting tmux with the agent to the line of a pasted text in its transcript."""
    cwd = world.root.peers / "alice"
    session_id = f"bare-{number}"
    command = SCRIPTED.command(LaunchSpec(Mode.FRESH, session_id, cwd, cwd, sys.executable))
    socket = world.root.run / f"bare{number}.sock"
    began = time.perf_counter()
    server, pane_id = start(socket, command, cwd, world.env)
    pane = open_pane(socket, "bare", server, pane_id)

    async def is_ready() -> bool:
        return read_screen(await pane.capture(), SCRIPTED.screen).state is ScreenState.READY

    try:
        await poll(is_ready, POLL_SECONDS)
        await paste_to_line(pane, cwd / ".peerwake/runtimes/scripted" / f"{session_id}.jsonl")
        return time.perf_counter() - began
    finally:
        await pane.aclose()
        terminate(server)
        until(lambda: not server.is_alive(), 10, "the end of a bare tmux")


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
