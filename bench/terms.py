"""The bounds: what the contract promises in numbers, in its order, and beside it what we hold ourselves to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

NUMBERS: Final = "the contract's numbers"
PROCESSES: Final = "processes"
OWN: Final = "our own"


def number(value: float) -> str:
    """Return a figure with three significant digits, or all of them from 100 on."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


class Side(Enum):
    """On which side of its limit a figure is to lie."""

    AT_MOST = "≤"
    AT_LEAST = "≥"
    EXACTLY = ""


COMPARE: Final[Mapping[Side, Callable[[float, float], bool]]] = MappingProxyType(
    {
        Side.AT_MOST: lambda found, limit: found <= limit,
        Side.AT_LEAST: lambda found, limit: found >= limit,
        Side.EXACTLY: lambda found, limit: found == limit,
    }
)


@dataclass(frozen=True, slots=True)
class Bound:
    """A limit of a figure, or of its ratio to its floor."""

    side: Side
    limit: float
    is_ratio: bool = False

    def holds(self, value: float, ratio: float | None) -> bool:
        """Tell whether the figure is on the right side; raises ValueError where a ratio is needed and there is none."""
        if not self.is_ratio:
            return COMPARE[self.side](value, self.limit)
        if ratio is None:
            raise ValueError(f"{self} is about a ratio, and none was measured")
        return COMPARE[self.side](ratio, self.limit)

    def __str__(self) -> str:
        return f"{self.side.value} {number(self.limit)}{' ×' if self.is_ratio else ''}".strip()


def at_most(limit: float, *, is_ratio: bool = False) -> Bound:
    return Bound(Side.AT_MOST, limit, is_ratio)


def at_least(limit: float, *, is_ratio: bool = False) -> Bound:
    return Bound(Side.AT_LEAST, limit, is_ratio)


ZERO: Final = Bound(Side.EXACTLY, 0)


@dataclass(frozen=True, slots=True)
class Term:
    """One figure that has a bound: in the contract's words, with the unit both are given in."""

    what: str
    unit: str
    bound: Bound | None
    group: str = NUMBERS


KILLED: Final = "20 queued, server killed with SIGKILL, restarted"
BURST: Final = "burst of 1,000 to one busy recipient"
IDLE: Final = "idle, 50 live sessions"
TICK: Final = "supervise tick, 1,000 sleeping peers"
EACH: Final = "each"
STARTED: Final = "processes started for"
_TERMS: Final = {
    "send.idle": Term("send_to_peer to an idle live scripted session, call → receipt", "ms", at_most(20)),
    "send.claude": Term("… to Claude Code, beyond its own Enter → transcript", "ms", at_most(60)),
    "send.codex": Term("… to Codex, beyond its own Enter → transcript", "ms", at_most(60)),
    "mcp.share": Term(
        "accepted sends, MCP on the unix socket, 32 callers, as a share of an empty tool",
        "/s",
        at_least(0.8, is_ratio=True),
    ),
    "mcp.rate": Term("… ten times the best peer", "/s", at_least(2_410)),
    "spool.server": Term("the spool alone, 32 writers in the server", "/s", at_least(10_000)),
    "spool.processes": Term("the spool alone, 4 processes", "/s", at_least(3_000)),
    "spool.wait": Term("… longest wait of one of these writers", "ms", at_most(50)),
    "mcp.one": Term("accepted sends one after the other, one MCP caller", "/s", at_least(500)),
    "cli.rate": Term("… peerwake send", "/s", at_least(15)),
    "killed.lost": Term(f"{KILLED}: never delivered", "", ZERO),
    "killed.doubled": Term("… delivered twice", "", ZERO),
    "killed.reordered": Term("… out of order", "", ZERO),
    "burst.lost": Term(f"{BURST}: lost", "", ZERO),
    "burst.doubled": Term("… doubled", "", ZERO),
    "burst.reordered": Term("… reordered", "", ZERO),
    "burst.merged": Term("… merged", "", ZERO),
    "wake": Term("sleeping scripted peer, send → consumed", "ms", at_most(250)),
    "wake.claude": Term("wake of Claude Code, beyond its own boot to ready", "ms", at_most(150)),
    "wake.codex": Term("wake of Codex, beyond its own boot to ready", "ms", at_most(150)),
    "bridge.start": Term("stdio: process start → tools/list, with a server running", "ms", at_most(30)),
    "bridge.resident": Term("memory of one bridge, resident", "MiB", at_most(12)),
    "bridge.proportional": Term("memory of one bridge, proportional", "MiB", at_most(6)),
    "tools.list": Term("tools/list", "bytes", at_most(4_800)),
    "cli.send": Term("peerwake send, server running", "ms", at_most(60)),
    "cli.list": Term("peerwake list", "ms", at_most(60)),
    "cli.ps": Term("peerwake ps --json", "ms", at_most(60)),
    "idle.processor": Term(f"{IDLE}: processor of everything of ours", "% of a core", at_most(0.4)),
    "idle.memory": Term("… memory without agents, their tmux servers and bridges", "MB", at_most(100)),
    "tick": Term(TICK, "ms of processor", at_most(10)),
    "tick.started": Term("… processes started", "", ZERO),
    "death.line": Term("tmux server killed → line in exits.log", "ms", at_most(50)),
    "registry.resolve": Term("registry with 10,000 peers: resolve", "ms", at_most(1)),
    "registry.page": Term("registry with 10,000 peers: first page", "ms", at_most(5)),
    "started.warm": Term(f"{STARTED} a message to a live session", EACH, ZERO, PROCESSES),
    "started.quiet": Term("… the first in more than control_idle_seconds", EACH, None, PROCESSES),
    "started.look": Term("… and the looks at its session in the ticks after it", EACH, None, PROCESSES),
    "started.busy": Term("… to a busy session", EACH, ZERO, PROCESSES),
    "started.mcp": Term("… sent through MCP on the unix socket", EACH, ZERO, PROCESSES),
    "started.bridge": Term("… sent through a bridge that runs", EACH, ZERO, PROCESSES),
    "started.http": Term("… sent through MCP over HTTP", EACH, ZERO, PROCESSES),
    "started.cli": Term("… sent by peerwake send, the command itself included", EACH, None, PROCESSES),
    "started.wake": Term("… to a sleeping peer, tmux and the agent included", EACH, None, PROCESSES),
    "started.ephemeral": Term("… to an ephemeral worker, its whole session included", EACH, None, PROCESSES),
    "started.tick": Term(f"{STARTED} a tick over live sessions in which nothing happens", EACH, ZERO, PROCESSES),
    "started.list": Term(f"{STARTED} each quiet live session that list_peers shows", EACH, None, PROCESSES),
    "spool.cost": Term("processor time of one enqueue", "µs", at_most(40), OWN),
    "ephemeral.depth": Term("a task with 10,000 waiting", "µs", at_most(1.5, is_ratio=True), OWN),
    "doctor": Term("peerwake doctor, 1,000 peers", "ms", at_most(1_000), OWN),
    "death.snapshot": Term("tmux server killed → snapshot complete", "ms", at_most(1_000), OWN),
}
TERMS: Final[Mapping[str, Term]] = MappingProxyType(_TERMS)
