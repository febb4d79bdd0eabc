"""A live session as a person at its host sees it: its tmux, its screen, its agent."""

import json
import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from lifecycle.runtimes.agents.antics import FILE
from lifecycle.runtimes.scripted import SCRIPTED
from tests.faults.fault import Field, NotYet, Peer
from transport.identity import parse_identity
from transport.process import ProcessId, is_stopped
from transport.screen import Reading, read_screen, screen_of
from transport.tmux.program import find_tmux
from transport.vocabulary import ScreenState

TMUX_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Grip:
    """One session; everything answers None or False once it is gone, or when its tmux gives no answer."""

    peer: Peer
    socket: Path
    server: ProcessId
    agent: ProcessId
    pane: str

    def is_there(self) -> bool:
        """Tell whether it is still this session, and not stopped."""
        return self.server.is_alive() and self.agent.is_alive() and not is_stopped(self.server.pid)

    def tmux(self, *words: str) -> str | None:
        """Run a tmux command as a person at a shell would; returns what it printed."""
        if not self.is_there():
            return None
        argv = [find_tmux(), "-N", "-S", str(self.socket), *words]
        with suppress(subprocess.SubprocessError):
            return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=TMUX_SECONDS).stdout
        return None

    def ask(self, format: str) -> str | None:
        """Return what tmux says of the agent's pane."""
        said = self.tmux("display-message", "-p", "-t", self.pane, format)
        return None if said is None else said.rstrip("\n")

    def reading(self) -> Reading | None:
        """Return what the screen shows."""
        text = self.tmux("capture-pane", "-p", "-e", "-t", self.pane)
        where = (self.ask("#{cursor_x} #{cursor_y} #{pane_in_mode}") or "").split()
        if text is None or len(where) != 3:
            return None
        screen = screen_of(text.removesuffix("\n"), cursor=(int(where[0]), int(where[1])), in_mode=where[2] != "0")
        return read_screen(screen, SCRIPTED.screen)

    def composer(self) -> str | None:
        """Return what stands in the input line, None without one."""
        reading = self.reading()
        return None if reading is None else reading.input_text

    def tell(self, **antics: object) -> bool:
        """Have the agent do something now; False when it is not ready to be told, or the disk is full."""
        if not self.is_there() or not _catches(self.agent.pid, signal.SIGUSR1):
            return False
        try:
            self._write(antics)
        except OSError:
            return False
        with suppress(ProcessLookupError):
            os.kill(self.agent.pid, signal.SIGUSR1)
            return True
        return False

    def forget(self) -> None:
        """Have the agent be itself again; raises NotYet while the disk is full."""
        if not self.tell() and self.is_there() and _is_full(self.peer.cwd):
            raise NotYet("the disk is full")
        (self.peer.cwd / FILE).unlink(missing_ok=True)

    def _write(self, antics: dict[str, object]) -> None:
        fresh = self.peer.cwd / f"{FILE}.new"
        fresh.write_text(json.dumps(antics))
        fresh.replace(self.peer.cwd / FILE)


def grip(field: Field, peer: Peer) -> Grip | None:
    """Return the live session of a peer, None when it has none."""
    root = field.world.root
    try:
        record = json.loads((root.state / f"{peer.identity}.session").read_text())
        server, agent = (ProcessId(record[name]["pid"], record[name]["started"]) for name in ("tmux", "pane"))
        found = Grip(peer, root.tmux_socket(parse_identity(peer.identity)), server, agent, str(record["pane_id"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if found.is_there() else None


def any_session(field: Field, random: Random, *policies: str, ready: bool = False) -> Grip | None:
    """Return a live session at random; one with a ready or busy input line, if `ready`."""
    peers = field.of(*policies) if policies else [*field.peers]
    random.shuffle(peers)
    for peer in peers:
        found = grip(field, peer)
        if found is not None and (not ready or _is_ready(found)):
            return found
    return None


def _is_ready(found: Grip) -> bool:
    reading = found.reading()
    return reading is not None and reading.state in (ScreenState.READY, ScreenState.BUSY)


def _is_full(place: Path) -> bool:
    return os.statvfs(place).f_bavail == 0


def _catches(pid: int, number: int) -> bool:
    """Tell whether a process has a handler for a signal; without one it would die of it (Linux)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)
