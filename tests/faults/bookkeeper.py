"""Keeps the books while a run goes on, and waits until nothing is open in them."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from tests.faults.bodies import digest
from tests.faults.books import Books, Broken
from tests.faults.cast import Cast
from tests.faults.fault import Expectations
from tests.faults.senders import Tally
from tests.faults.transcripts import Transcripts
from tests.faults.witness import Witness
from tests.live.world import World

READ_SECONDS: Final = 0.2
LOOK_SECONDS: Final = 1.0
DRAIN_SECONDS: Final = 120.0
OPERATOR: Final = "cli-operator"
WHYS: Final = 20


@dataclass(slots=True)
class Bookkeeper:
    """Reads the transcripts in a thread of its own from `start` to `stop`."""

    world: World
    cast: Cast
    tally: Tally
    expects: Expectations
    transcripts: Transcripts = field(init=False)
    witness: Witness = field(init=False)
    letters: set[str] = field(default_factory=set)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.transcripts = Transcripts(self.cast.every)
        self.witness = Witness(self.world)
        self._thread = threading.Thread(target=self._read, name="bookkeeper")

    def start(self) -> None:
        self._thread.start()
        self.witness.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _read(self) -> None:
        while not self._over.wait(READ_SECONDS):
            self.transcripts.read()
            self.tally.consumed = dict(self.transcripts.consumed)

    def close(self) -> Books:
        """Read to the end of everything, and return the books."""
        self.transcripts.finish()
        self.witness.read_logs()
        seen, everybody = self.witness.seen, [peer.identity for peer in self.cast.every]
        seen.blows = self.expects.blows()
        seen.flags = {identity: self.expects.flags(identity) for identity in everybody}
        return self.books()

    def books(self) -> Books:
        """Return the books as they stand."""
        every = [peer.identity for peer in self.cast.every]
        return Books(
            sent=[*self.tally.sent, *self.transcripts.sent],
            taken=self.transcripts.taken,
            replies=self.transcripts.replies,
            pressed=self.transcripts.pressed,
            in_flight=self.transcripts.in_flight,
            ephemeral=frozenset(peer.identity for peer in self.cast.recipients if peer.policy == "ephemeral"),
            posts=frozenset(peer.identity for peer in self.cast.posts),
            unready=frozenset(peer.identity for peer in self.cast.unready),
            openings={peer.identity: digest(peer.opening) for peer in self.cast.every if peer.opening is not None},
            letters=self.letters,
            drafts={identity: self.expects.drafts(identity) for identity in every},
            typed={identity: self.expects.prompts(identity) for identity in every},
            seen=self.witness.seen,
            sittings={identity: self.expects.sittings(identity) for identity in every},
        )

    def drain(self, tell: Callable[[str], None]) -> list[Broken]:
        """Wait until nothing is open, here and in the queues, for a bounded time; what then is open is saved."""
        deadline = time.monotonic() + DRAIN_SECONDS
        while True:
            self.transcripts.read()
            self._read_letters()
            left = len(self.books().open())
            if left == 0 and self._depth() == 0:
                return []
            if time.monotonic() > deadline:
                return self._save(left)
            tell(f"draining: {left} open")
            time.sleep(LOOK_SECONDS)

    def _depth(self) -> int | None:
        with suppress(ValueError, AssertionError, KeyError):
            return sum(int(row["depth"]) for row in self.world.json("queue")["queues"])
        return None

    def _read_letters(self) -> None:
        """Take the dead letters of the operator, who gets no notices."""
        with suppress(ValueError, AssertionError, KeyError):
            dead = self.world.json("queue", "--dead")["dead"]
            self.letters |= {row["message_id"] for row in dead if row["sender"] == OPERATOR}

    def _save(self, left: int) -> list[Broken]:
        """Keep what the product says of what does not move."""
        home = self.world.root.home
        for words in (("queue", "--json"), ("doctor",), ("list", "--json")):
            (home / f"{words[0]}.txt").write_text(self.world.run(*words).stdout)
        names = sorted({each.recipient.partition("-")[2] for each in self.books().open()})
        whys = [f"## {name}\n{self.world.run('why', name).stdout}" for name in names[:WHYS]]
        (home / "why.txt").write_text("\n\n".join(whys))
        return [Broken("not drained", f"{self._depth()} in the queues, {left} open after {DRAIN_SECONDS:g} s")]
