"""Faults of processes and files: killed, stopped for a while, removed, started twice, flagged."""

import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final

from tests.faults.fault import SESSIONS, Field, Heal, NotYet
from tests.faults.processes import Role, agent_of, of_role, standbys, supervisor, tmux_of
from transport.process import ProcessId, is_stopped, terminate

Choose = Callable[[Field, Random], ProcessId | None]
NOBODYS_TASK: Final = f"m_{0:020d}"


def the_supervisor(field: Field, random: Random) -> ProcessId | None:
    return supervisor(field.world)


def a_standby(field: Field, random: Random) -> ProcessId | None:
    found = standbys(field.world)
    return random.choice(found) if found else None


def a_bridge(field: Field, random: Random) -> ProcessId | None:
    found = of_role(field.world, Role.BRIDGE)
    return random.choice(found) if found else None


def an_agent(field: Field, random: Random) -> ProcessId | None:
    return _first(field, random, agent_of)


def a_tmux(field: Field, random: Random) -> ProcessId | None:
    return _first(field, random, tmux_of)


def the_watcher(field: Field, random: Random) -> ProcessId | None:
    found = of_role(field.world, Role.WATCHER)
    return found[0] if found else None


def _first(field: Field, random: Random, find: Callable[..., ProcessId | None]) -> ProcessId | None:
    """Return the process of the first peer in a random order that has one."""
    peers = list(field.peers)
    random.shuffle(peers)
    return next((found for peer in peers if (found := find(field.world, peer)) is not None), None)


@dataclass(frozen=True, slots=True)
class Kill:
    """A process gets a signal that ends it; whoever is to start it again does so."""

    name: str
    choose: Choose
    number: int = signal.SIGKILL

    def strike(self, field: Field, random: Random) -> Heal | None:
        process = self.choose(field, random)
        if process is not None:
            field.expects.struck(process.pid, self.name)
        if process is None or not terminate(process, self.number):
            return None
        field.trace(f"{self.name}: pid {process.pid}")
        return _nothing


@dataclass(frozen=True, slots=True)
class Stop:
    """A process is stopped (SIGSTOP) until it is healed (SIGCONT): it neither works nor dies."""

    name: str
    choose: Choose

    def strike(self, field: Field, random: Random) -> Heal | None:
        process = self.choose(field, random)
        if process is None or not terminate(process, signal.SIGSTOP):
            return None
        field.trace(f"{self.name}: pid {process.pid}")
        return partial(_continue, process)


def _continue(process: ProcessId) -> None:
    terminate(process, signal.SIGCONT)


def _nothing() -> None:
    """There is nothing to undo."""


@dataclass(frozen=True, slots=True)
class RemoveServerSocket:
    """The server's socket file is removed; the server is to put it back itself."""

    name: str = "server.sock removed"

    def strike(self, field: Field, random: Random) -> Heal | None:
        path = field.world.root.server_socket
        try:
            path.unlink()
        except FileNotFoundError:
            return None
        field.trace(self.name)
        return _nothing


@dataclass(frozen=True, slots=True)
class RemoveTmuxSocket:
    """The socket file of a live session's tmux server is removed."""

    name: str = "tmux socket removed"

    def strike(self, field: Field, random: Random) -> Heal | None:
        peers = list(field.peers)
        random.shuffle(peers)
        for peer in peers:
            path = field.world.root.run / "tmux" / f"{peer.identity}.sock"
            if tmux_of(field.world, peer) is not None and path.exists():
                path.unlink(missing_ok=True)
                field.trace(f"{self.name}: {peer.identity}")
                return _nothing
        return None


@dataclass(frozen=True, slots=True)
class FlagAppears:
    """A flag file appears, as another process of the host may set it; who may not be woken is started again.

    The flags of workers name a task that nobody has, as one that a crash left behind: no task may end for it.
    """

    name: str
    flag: str
    policies: tuple[str, ...] = ("warm",)
    text: str = ""
    weight: float = 1.0

    def strike(self, field: Field, random: Random) -> Heal | None:
        peers = field.of(*self.policies)
        if not peers:
            return None
        peer = random.choice(peers)
        path = field.world.root.state / f"{peer.identity}.{self.flag}"
        if path.is_symlink() or path.exists():
            return None
        field.expects.flagged(peer.identity, self.flag)
        path.touch(0o600)
        with suppress(OSError):  # on a full disk it stays empty
            path.write_text(self.text)
        field.trace(f"{self.name}: {peer.identity}")
        return partial(start_again, field, peer.name) if self.flag in ("stopped", "failed") else _nothing


def start_again(field: Field, name: str) -> None:
    """Start a peer as an operator does, again until a server has done it: there may be none, or one that is stopped."""
    server = supervisor(field.world)
    if server is None or is_stopped(server.pid) or field.world.run("start", name).returncode:
        raise NotYet(f"peerwake start {name}")


@dataclass(frozen=True, slots=True)
class TwoAtOnce:
    """Every server is killed, and two are started at the same moment."""

    name: str = "all servers killed, two started at once"

    def strike(self, field: Field, random: Random) -> Heal | None:
        found = of_role(field.world, Role.SERVER)
        for process in found:
            terminate(process, signal.SIGKILL)
        field.trace(f"{self.name}: {len(found)} killed")
        for _ in range(2):
            field.world.start_server()
        return _nothing


@dataclass(frozen=True, slots=True)
class Leftovers:
    """A half-written file of a process that died appears where the next one writes."""

    name: str = "leftovers of a crash"

    def strike(self, field: Field, random: Random) -> Heal | None:
        peer = random.choice(field.peers)
        died = subprocess.Popen(["true"])
        died.wait()
        made = field.world.root.state / f".{peer.identity}.session.{died.pid}.{random.randrange(1 << 32):08x}.tmp"
        with suppress(OSError):
            made.write_bytes(b'{"version": 1, "identi')
        field.trace(f"{self.name}: {made.name}")
        return _nothing


BLOWS: Final = (
    Kill("server killed", the_supervisor),
    Kill("server terminated", the_supervisor, signal.SIGTERM),
    Kill("standby killed", a_standby),
    Kill("bridge killed", a_bridge),
    Kill("agent killed", an_agent),
    Kill("tmux server killed", a_tmux),
    Kill("watcher killed", the_watcher),
    Stop("server stopped", the_supervisor),
    Stop("standby stopped", a_standby),
    Stop("bridge stopped", a_bridge),
    Stop("agent stopped", an_agent),
    Stop("tmux server stopped", a_tmux),
    Stop("watcher stopped", the_watcher),
    RemoveServerSocket(),
    RemoveTmuxSocket(),
    FlagAppears("flag .new", "new"),
    FlagAppears("flag .refresh", "refresh"),
    FlagAppears("flag .stopped", "stopped", SESSIONS),
    FlagAppears("flag .failed", "failed", SESSIONS, "it dies again and again"),
    FlagAppears("flag .armed", "armed", ("ephemeral",), NOBODYS_TASK, 0.5),
    FlagAppears("flag .repeated", "repeated", ("ephemeral",), f"{NOBODYS_TASK} 1.0", 0.5),
    TwoAtOnce(),
    Leftovers(),
)
