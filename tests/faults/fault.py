"""What a fault is, what it may see and touch, and what it tells the books to accept."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final, Protocol

from tests.faults.books import Sitting
from tests.live.world import World

Heal = Callable[[], int | None]


class NotYet(Exception):
    """What a `Heal` raises that cannot be done now: it is called again a little later."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One recipient of the run; `policy` is "warm", "ephemeral", or "unready" of one that takes nothing.

    `opening` is what each of its sessions is told first, if anything.
    """

    name: str
    identity: str
    policy: str
    cwd: Path
    opening: str | None = None


class Expectations:
    """What faults tell the books of things that the senders did not do; safe to call from every thread.

    A draft stands in a composer and may never become a prompt, alone or as a part of one.
    A typed prompt is what a "person" typed and submitted, once: the only prompts without an envelope that may appear.
    A sitting is the time of one "person" at one terminal.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._drafts: list[tuple[str, str]] = []
        self._typed: list[tuple[str, str]] = []
        self._sittings: list[tuple[str, Sitting]] = []
        self._blows: dict[int, str] = {}
        self._flags: list[tuple[str, str]] = []

    def draft(self, identity: str, text: str) -> None:
        """A person types `text` and does not submit it: it must never be in a prompt."""
        with self._lock:
            self._drafts.append((identity, text))

    def typed(self, identity: str, text: str) -> None:
        """A person submits `text`: it may be a prompt of its own, once."""
        with self._lock:
            self._typed.append((identity, text))

    def sits(self, identity: str, text: str) -> Sitting:
        """A person begins to type `text`; whoever plays them says when they take it back and when they are gone."""
        sitting = Sitting(text, time.time())
        with self._lock:
            self._sittings.append((identity, sitting))
        return sitting

    def struck(self, pid: int, name: str) -> None:
        """A process is killed."""
        with self._lock:
            self._blows[pid] = name

    def flagged(self, identity: str, flag: str) -> None:
        """A flag is set."""
        with self._lock:
            self._flags.append((identity, flag))

    def drafts(self, identity: str) -> list[str]:
        with self._lock:
            return [text for of, text in self._drafts if of == identity]

    def prompts(self, identity: str) -> list[str]:
        with self._lock:
            return [text for of, text in self._typed if of == identity]

    def blows(self) -> dict[int, str]:
        with self._lock:
            return dict(self._blows)

    def flags(self, identity: str) -> frozenset[str]:
        with self._lock:
            return frozenset(flag for of, flag in self._flags if of == identity)

    def sittings(self, identity: str) -> list[Sitting]:
        with self._lock:
            return [sitting for of, sitting in self._sittings if of == identity]


# Whom a fault of sessions strikes: warm peers, and where there are none, workers.
SESSIONS: Final = ("warm", "ephemeral")


@dataclass
class Field:
    """What a fault may see and touch. `trace` writes one line into the run's log: its seconds come by themselves."""

    world: World
    peers: list[Peer]
    trace: Callable[[str], None]
    expects: Expectations = field(default_factory=Expectations)

    def of(self, *policies: str) -> list[Peer]:
        """Return the peers of the first of these policies that any peer here has."""
        return next((found for policy in policies if (found := [p for p in self.peers if p.policy == policy])), [])


class Fault(Protocol):
    """One kind of blow; `strike` and what it returns run in the machine's driver thread, one at a time."""

    @property
    def name(self) -> str:
        """What it is called in plans, logs and on the command line; no two have the same."""
        ...

    def strike(self, field: Field, random: Random) -> Heal | None:
        """Strike, and return what undoes it; None when nothing is there to strike.

        The machine calls `Heal` after a random while, and at the end in any case. While it runs nothing else
        is struck or healed, so one that depends on others raises NotYet instead of waiting for them. It returns
        how often the strike hit something, None where nobody counts.
        """
        ...
