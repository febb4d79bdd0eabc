"""Which processes belong to a world, and what each of them is."""

import os
import resource
import zlib
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Final

from tests.faults.fault import Peer
from tests.live.world import World
from transport.process import ProcessId, identify


class Role(StrEnum):
    """What a process is for, told by its command line."""

    SERVER = "server"
    BRIDGE = "bridge"
    AGENT = "agent"
    TMUX = "tmux"
    CONTROL = "control"
    WATCHER = "watcher"
    OTHER = "other"


MARKS: Final = (
    (Role.BRIDGE, b"bridge.py"),
    (Role.WATCHER, b"watcher.py"),
    (Role.AGENT, b"agents/scripted.py"),
    (Role.TMUX, b"tmux"),
    (Role.SERVER, b"mcp_server\0serve"),
)


BASE: Final = 1 << 49


def mark_of(world: World) -> int:
    """Return a number that stands for this root."""
    return BASE | zlib.crc32(bytes(world.root.home))


def mark(world: World, pid: int = 0) -> None:
    """Mark a process (0: ourselves) and all that it starts from now on, whatever they do with their environment.

    The mark is a hard limit that Linux has had no use for since 2.4.30; sessions have another one (transport/brand.py).
    """
    resource.prlimit(pid, resource.RLIMIT_RSS, (mark_of(world), mark_of(world)))


def _is_marked(world: World, pid: int) -> bool:
    return resource.prlimit(pid, resource.RLIMIT_RSS)[1] == mark_of(world)


def processes(world: World) -> Iterator[tuple[Role, ProcessId, bytes]]:
    """Yield role, process and command line of whatever was given this root or descends from us; by pid."""
    home = os.fsencode(world.root.home)
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        if pid == os.getpid():
            continue
        with suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            is_given = b"PEERWAKE_HOME=" + home + b"\0" in environment + b"\0" or home + b"\0" in words
            process = identify(pid) if is_given or _is_marked(world, pid) else None
            if process is not None:
                yield role_of(words), process, words


def locks(world: World) -> Iterator[tuple[Role, ProcessId, Path]]:
    """Yield who holds which lock of this root, also one that was inherited."""
    for role, process, _ in processes(world):
        with suppress(OSError):
            for entry in Path(f"/proc/{process.pid}/fd").iterdir():
                path = entry.readlink()
                if path.suffix == ".lock" and path.is_relative_to(world.root.home) and _locks(process.pid, entry.name):
                    yield role, process, path


def _locks(pid: int, descriptor: str) -> bool:
    return "\nlock:" in Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text()


def role_of(words: bytes) -> Role:
    """Return what a command line is of."""
    if words.split(b"\0")[0].endswith(b"tmux"):
        return Role.CONTROL if b"-C" in words.split(b"\0") else Role.TMUX
    return next((role for role, mark in MARKS if role is not Role.TMUX and mark in words), Role.OTHER)


def of_role(world: World, role: Role) -> list[ProcessId]:
    """Return the processes of one role, oldest pid first."""
    return [process for found, process, _ in processes(world) if found is role]


def has_client(world: World, identity: str) -> bool:
    """Tell whether a client of this identity runs, whatever its record says."""
    mark = b"PEER_IDENTITY=" + identity.encode() + b"\0"
    for client in of_role(world, Role.AGENT):
        with suppress(OSError):
            if mark in Path(f"/proc/{client.pid}/environ").read_bytes() + b"\0":
                return True
    return False


def supervisor(world: World) -> ProcessId | None:
    """Return the server that delivers."""
    pid = world.server_pid()
    return None if pid is None else identify(pid)


def standbys(world: World) -> list[ProcessId]:
    """Return the other servers."""
    first = supervisor(world)
    return [process for process in of_role(world, Role.SERVER) if process != first]


def agent_of(world: World, peer: Peer) -> ProcessId | None:
    """Return the client of a live session."""
    return _recorded(world, peer, "pane")


def tmux_of(world: World, peer: Peer) -> ProcessId | None:
    """Return the tmux server of a live session."""
    return _recorded(world, peer, "tmux")


def _recorded(world: World, peer: Peer, what: str) -> ProcessId | None:
    try:
        found = world.session(peer.identity)[what]
        process = ProcessId(found["pid"], found["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return process if process.is_alive() else None
