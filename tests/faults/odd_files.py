"""Flags and records that are not what they should be: garbage, far too much, a directory, a link."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

from tests.faults.blows import start_again
from tests.faults.fault import SESSIONS, Field, Heal, NotYet, Peer
from tests.faults.processes import supervisor
from transport.process import is_stopped

FLAGS: Final = {"warm": ("new", "refresh", "stopped", "failed"), "ephemeral": ("armed", "repeated")}
# Of control characters alone: text that somebody wrote into `.new` by hand is what a session is told first.
GARBAGE: Final = bytes([*range(9), *range(14, 32)])
MOST_BYTES: Final = 1 << 18
HELD: Final = "held by a link"
Put = Callable[[Path, Random], None]


def garbage(path: Path, random: Random) -> None:
    path.write_bytes(_noise(random))


def directory(path: Path, random: Random) -> None:
    path.mkdir(0o700)


def link(path: Path, random: Random) -> None:
    """Link to a file that is not to be touched, or to nothing; on a full disk to nothing."""
    target = path.parent / f"{path.name}.target"
    if random.random() < 0.5:
        try:
            target.write_text(HELD)
        except OSError:
            target.unlink(missing_ok=True)
    path.symlink_to(target)


def _noise(random: Random) -> bytes:
    count = random.choice((1, 100, MOST_BYTES))
    return bytes(random.choices(GARBAGE, k=count))


@dataclass(frozen=True, slots=True)
class OddFlag:
    """Something odd stands where a flag would; healed, a directory is removed, and the peer is started."""

    name: str
    put: Put
    weight: float = 0.5

    def strike(self, field: Field, random: Random) -> Heal | None:
        peer = random.choice([peer for peer in field.peers if peer.policy in FLAGS])
        flag = random.choice(FLAGS[peer.policy])
        path = field.world.root.state / f"{peer.identity}.{flag}"
        target = path.parent / f"{path.name}.target"
        if path.is_symlink() or path.exists() or target.exists():
            return None
        field.expects.flagged(peer.identity, flag)
        with suppress(OSError):  # on a full disk: what is left of it is odd as well
            self.put(path, random)
        field.trace(f"{self.name}: {path.name}")
        return partial(_mend, field, peer, path, target)


def _mend(field: Field, peer: Peer, path: Path, target: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    if target.exists():
        assert target.read_text() == HELD, f"{path.name}: what a link names was written to"
        target.unlink()
    start_again(field, peer.name)


@dataclass(frozen=True, slots=True)
class OddRecord:
    """A peer's record of a session is garbage; healed as its message says: the peer is stopped, and started again.

    `must_exist`: only where there is such a record.
    """

    name: str
    suffix: str
    must_exist: bool
    weight: float = 0.5

    def strike(self, field: Field, random: Random) -> Heal | None:
        state = field.world.root.state
        found = [(peer, state / f"{peer.identity}.{self.suffix}") for peer in field.of(*SESSIONS)]
        found = [(peer, path) for peer, path in found if path.exists() or not self.must_exist]
        if not found:
            return None
        peer, path = random.choice(found)
        with suppress(OSError):  # as above
            path.write_bytes(_noise(random))
        field.trace(f"{self.name}: {path.name}")
        return partial(_renew, field, peer)


def _renew(field: Field, peer: Peer) -> None:
    field.expects.flagged(peer.identity, "stopped")
    server = supervisor(field.world)
    if server is None or is_stopped(server.pid) or field.world.run("stop", peer.name).returncode:
        raise NotYet(f"peerwake stop {peer.name}")
    start_again(field, peer.name)


ODD_FILES: Final = (
    OddFlag("garbage in a flag", garbage),
    OddFlag("directory for a flag", directory),
    OddFlag("link for a flag", link),
    OddRecord("garbage in a session's record", "session", must_exist=True),
    OddRecord("garbage in the last record", "last", must_exist=False),
)
