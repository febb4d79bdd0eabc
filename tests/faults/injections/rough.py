"""A terminal that is slow, flooded or stopped."""

import os
import termios
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from tests.faults.fault import SESSIONS, Field, Heal
from tests.faults.injections.grip import any_session


@dataclass(frozen=True, slots=True)
class Manner:
    """The agent draws slowly, or writes for some seconds without a pause."""

    name: str
    antic: str
    seconds: tuple[float, float]
    weight: float = 0.7

    def strike(self, field: Field, random: Random) -> Heal | None:
        held = any_session(field, random, *SESSIONS)
        seconds = random.uniform(*self.seconds)
        if held is None or not held.tell(**{self.antic: seconds}):
            return None
        field.trace(f"{self.name}: {held.peer.identity}, {seconds:.2f} s")
        return held.forget


@dataclass(frozen=True, slots=True)
class OutputStopped:
    """Flow control stops the agent's output, as Ctrl-S does."""

    name: str = "output stopped"
    weight: float = 0.7

    def strike(self, field: Field, random: Random) -> Heal | None:
        held = any_session(field, random, *SESSIONS)
        tty = None if held is None else held.ask("#{pane_tty}")
        if held is None or not tty or not flow(tty, termios.TCOOFF):
            return None
        field.trace(f"{self.name}: {held.peer.identity}")

        def heal() -> None:
            flow(tty, termios.TCOON)

        return heal


def flow(tty: str, action: int) -> bool:
    """Stop or continue the output of a terminal; False when it is gone."""
    with suppress(OSError, termios.error):
        descriptor = os.open(tty, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            termios.tcflow(descriptor, action)
            return True
        finally:
            os.close(descriptor)
    return False


MANNERS = (
    Manner("slow terminal", "slow", (0.05, 0.6)),
    Manner("echoes nothing", "slow", (1.5, 2.5), 0.4),
    Manner("output flood", "flood", (0.3, 2.0)),
    OutputStopped(),
)
