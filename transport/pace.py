"""How long each step of a hand-over may take, and waiting for its receipt."""

from dataclasses import dataclass
from typing import Final

from transport.clock import Clock
from transport.receipt import Transcript
from transport.vocabulary import Receipt

FASTEST: Final = 0.002


@dataclass(frozen=True, slots=True)
class Pace:
    """How long each step may take, in seconds, and how often the submit keys are pressed at most.

    `settle_seconds` is the wait before they are pressed a second time; it doubles before each further
    one. `consumed_seconds` is granted after `injected` for the transcript to say `consumed`,
    `grace_seconds` to an earlier attempt to leave a trace.
    """

    paste_seconds: float = 8.0
    settle_seconds: float = 0.8
    submits: int = 4
    receipt_seconds: float = 15.0
    consumed_seconds: float = 0.25
    grace_seconds: float = 3.0
    slowest_poll: float = 0.05


PACE: Final = Pace()


async def await_receipt(
    transcript: Transcript,
    message_id: str,
    *,
    seconds: float,
    clock: Clock,
    wanted: Receipt = Receipt.CONSUMED,
    pace: Pace = PACE,
) -> Receipt | None:
    """Poll until the evidence is `wanted` or stronger, at most `seconds`; returns the strongest seen."""
    started = clock.monotonic()
    while True:
        found = await transcript.find(message_id)
        if found is Receipt.CONSUMED or (found is not None and found is wanted):
            return found
        if clock.monotonic() >= started + seconds:
            return found
        await nap(clock, started, pace)


async def nap(clock: Clock, started: float, pace: Pace) -> None:
    """Sleep a tenth of what was waited already: what comes soon is seen soon, what takes long costs little."""
    waited = clock.monotonic() - started
    await clock.sleep(min(max(waited / 10, FASTEST), pace.slowest_poll))
