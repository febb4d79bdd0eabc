"""A screen that comes up where a message was about to be typed: a dialog, something unknown, a shell."""

from dataclasses import dataclass
from random import Random

from tests.faults.fault import SESSIONS, Field, Heal
from tests.faults.injections.grip import any_session

MOMENTS = ("now", "paste", "pasted")
LATEST_SECONDS = 0.02
MOST_BYTES = 400


@dataclass(frozen=True, slots=True)
class Appears:
    """The agent shows something else: now, at a byte of the next paste, or when that is complete and shown."""

    name: str
    show: str
    weight: float = 1.0

    def strike(self, field: Field, random: Random) -> Heal | None:
        held = any_session(field, random, *SESSIONS)
        when = random.choice(MOMENTS)
        size, delay = random.randrange(MOST_BYTES), random.random() * LATEST_SECONDS
        if held is None or not held.tell(show=self.show, when=when, bytes=size, delay=delay):
            return None
        field.trace(f"{self.name}: {held.peer.identity}, {when}, {size} bytes, {delay:.4f} s")
        return held.forget


DIALOGS = (Appears("permission dialog", "ask"), Appears("unknown screen", "unknown"), Appears("shell", "shell", 0.5))
