"""Looks at what people have typed: it stands in the input line until they take it away themselves."""

import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from tests.faults.books import Sitting
from tests.faults.fault import Field, Peer
from tests.faults.injections.grip import Grip, grip
from transport.process import ProcessId, is_stopped

LOOK_SECONDS: Final = 0.2
GONE_SECONDS: Final = 1.0
FIRST_CHARS: Final = 6
LEAST_SIZE: Final = (60, 15)


@dataclass(slots=True)
class Standing:
    """What is known of one draft in one session; a look that shows no whole input line says nothing.

    `is_judged` once a look has told of it so much later than the first one that its end would have been noticed.
    """

    text: str
    seen_at: float | None = None
    is_judged: bool = False
    gone_since: float | None = None

    @property
    def was_seen(self) -> bool:
        return self.seen_at is not None

    def look(self, shown: str | None, now: float) -> bool:
        """Tell whether the beginning of the draft has been missing for a while after it had been seen."""
        if shown is not None and self.seen_at is not None and now - self.seen_at >= GONE_SECONDS:
            self.is_judged = True
        if shown is None:
            self.gone_since = None
        elif self.text[:FIRST_CHARS] in "".join(shown.split()):
            self.seen_at, self.gone_since = now if self.seen_at is None else self.seen_at, None
        elif self.was_seen:
            self.gone_since = now if self.gone_since is None else self.gone_since
            return now - self.gone_since >= GONE_SECONDS
        return False


@dataclass(slots=True)
class Vigil:
    """Looks at every draft at the peers of these fields, in a thread of its own from `start` to `stop`."""

    fields: Collection[Field]
    _standing: dict[int, tuple[ProcessId, Standing]] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name="vigil", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            for each in self.fields:
                for peer in each.peers:
                    self._look_at(each, peer)

    def _look_at(self, field: Field, peer: Peer) -> None:
        for sitting in field.expects.sittings(peer.identity):
            if sitting.takes_back > time.time() and sitting.gone is None:
                self._look(field, peer, sitting)

    def _look(self, field: Field, peer: Peer, sitting: Sitting) -> None:
        held = grip(field, peer)
        if held is None:
            return
        agent, standing = self._standing.setdefault(id(sitting), (held.agent, Standing(sitting.text)))
        if agent != held.agent:
            return
        shown = input_line(held)
        is_gone = standing.look(shown, time.time())
        sitting.was_seen, sitting.is_judged = standing.was_seen, standing.is_judged
        # Asked last: whoever began to take it back in the meantime is the author.
        if is_gone and held.is_there() and time.time() < sitting.takes_back:
            sitting.gone = shown


def input_line(held: Grip) -> str | None:
    """Return what stands in the input line of a session that is as it should be, None when that cannot be told."""
    size = (held.ask("#{window_width} #{window_height}") or "").split()
    if len(size) != 2 or int(size[0]) < LEAST_SIZE[0] or int(size[1]) < LEAST_SIZE[1]:
        return None
    return None if is_stopped(held.agent.pid) else held.composer()
