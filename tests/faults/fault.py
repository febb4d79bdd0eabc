"""What a fault is, what it may see and touch, and what it tells the books to accept."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Protocol

from tests.live.world import World

Heal = Callable[[], None]


class NotYet(Exception):
    """What a `Heal` raises that cannot be done now: it is called again a little later."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One recipient of the run; `policy` is "warm" or "ephemeral"."""

    name: str
    identity: str
    policy: str
    cwd: Path


class Expectations:
    """What faults tell the books of things that the senders did not do; safe to call from every thread.

    A draft stands in a composer and may never become a prompt, alone or as a part of one.
    A typed prompt is what a "person" typed and submitted, once: the only prompts without an envelope that may appear.
    A dialog is named by the text of its question, with the only answers that a "person" may have given it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._drafts: list[tuple[str, str]] = []
        self._typed: list[tuple[str, str]] = []
        self._answers: list[tuple[str, str, str]] = []

    def draft(self, identity: str, text: str) -> None:
        """A person types `text` and does not submit it: it must never be in a prompt."""
        with self._lock:
            self._drafts.append((identity, text))

    def typed(self, identity: str, text: str) -> None:
        """A person submits `text`: it may be a prompt of its own, once."""
        with self._lock:
            self._typed.append((identity, text))

    def answer(self, identity: str, question: str, answer: str) -> None:
        """A person answers a dialog: this record of an answer may appear, once."""
        with self._lock:
            self._answers.append((identity, question, answer))

    def drafts(self, identity: str) -> list[str]:
        with self._lock:
            return [text for of, text in self._drafts if of == identity]

    def prompts(self, identity: str) -> list[str]:
        with self._lock:
            return [text for of, text in self._typed if of == identity]

    def answers(self, identity: str) -> list[tuple[str, str]]:
        with self._lock:
            return [(question, answer) for of, question, answer in self._answers if of == identity]


@dataclass
class Field:
    """What a fault may see and touch. `trace` writes one line into the run's log: its seconds come by themselves."""

    world: World
    peers: list[Peer]
    trace: Callable[[str], None]
    expects: Expectations = field(default_factory=Expectations)


class Fault(Protocol):
    """One kind of blow; `strike` and what it returns run in the machine's driver thread, one at a time."""

    @property
    def name(self) -> str:
        """What it is called in plans, logs and on the command line; no two have the same."""
        ...

    def strike(self, field: Field, random: Random) -> Heal | None:
        """Strike, and return what undoes it; None when nothing is there to strike.

        The machine calls `Heal` after a random while, and at the end in any case. While it runs nothing else
        is struck or healed, so one that depends on others raises NotYet instead of waiting for them.
        """
        ...
