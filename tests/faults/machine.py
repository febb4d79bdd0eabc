"""One run: peers, senders, an operator, faults in their turn, a drain, and the books."""

import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from tests.faults.audit import audit
from tests.faults.bookkeeper import Bookkeeper
from tests.faults.books import Books, Broken
from tests.faults.cast import Size, make_cast, make_senders
from tests.faults.desks import clear_desks, is_of_people
from tests.faults.fault import Expectations, Fault, Field, Heal, NotYet
from tests.faults.injections import sabotage_bridges, sabotaged
from tests.faults.nobody import Registrar
from tests.faults.operator import Operator, is_served
from tests.faults.plan import Strike, Whom, actor, targets
from tests.faults.processes import mark
from tests.faults.remains import shut_down
from tests.faults.scores import Scores
from tests.faults.senders import Sender, Tally
from tests.faults.vigil import Vigil
from tests.live.world import World, until
from transport.paths import Root

SERVE_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.02
AGAIN_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 4.0
LATE_SECONDS: Final = 20.0
HEAL_SECONDS: Final = 180.0
TELL_SECONDS: Final = 10.0
CAP: Final = 40
WORKER_CAP: Final = 3
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Order:
    """What a run is to be; `is_sabotaged`: with servers whose files, database and clocks can be made to fail."""

    seed: int
    seconds: float
    size: Size
    home: Path
    is_sabotaged: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run."""

    broken: list[Broken]
    books: Books
    scores: Scores
    seconds: float
    drain_seconds: float
    home: Path
    servers: int
    senders: list[Sender]


class Machine:
    """Builds a world, strikes it as planned, and balances the books from outside."""

    def __init__(self, order: Order, strikes: list[Strike], faults: Mapping[str, Fault]) -> None:
        self.order = order
        self._due = [(strike.at, strike) for strike in strikes]
        self._faults = faults
        self.root = Root(order.home)
        self.root.prepare()
        self._log = (self.root.home / "faults.log").open("a", buffering=1)
        self._began = time.monotonic()
        self.world = World(self.root, {"PEERWAKE_TCP": "true", "PEERWAKE_PORT": str(_free_port())}, is_cold=True)
        self._operator = Operator(self.world, order.seed)
        self._heals: list[tuple[float, str, Heal]] = []
        self._scores = Scores()
        self._scores.planned.update(strike.fault for strike in strikes)
        self._broken: list[Broken] = []

    def trace(self, text: str) -> None:
        """Write one line into the run's log, which is on the disk that may be full."""
        with suppress(OSError):
            self._log.write(f"{self._now:9.3f} {text}\n")

    @property
    def _now(self) -> float:
        return time.monotonic() - self._began

    def run(self, tell: Tell) -> Outcome:
        """Run to the end; whatever happens, nothing of the world runs afterwards."""
        try:
            return self._run(tell)
        finally:
            self._operator.stop()
            self.world.close()
            self._log.close()

    def _run(self, tell: Tell) -> Outcome:
        mark(self.world)
        with sabotaged(self.world) if self.order.is_sabotaged else nullcontext():
            return self._play(tell)

    def _play(self, tell: Tell) -> Outcome:
        cast, tally, expects = make_cast(self.world, self.order.size), Tally(CAP, WORKER_CAP), Expectations()
        for peer in cast.every if self.order.is_sabotaged else ():
            sabotage_bridges(self.world, peer.cwd)
        keeper = Bookkeeper(self.world, cast, tally, expects)
        registrar = Registrar(self.world, actor(self.order.seed, "registrar"), self.trace)
        self._operator.start()
        until(lambda: is_served(self.world), SERVE_SECONDS, f"the start of a server in {self.root.home}")
        senders = make_senders(self.world, cast, self.order.size, self.order.seed, tally)
        fields = {
            Whom.RECIPIENTS: Field(self.world, cast.recipients, self.trace, expects),
            Whom.POSTS: Field(self.world, cast.posts, self.trace, expects),
            Whom.WORKERS: Field(self.world, cast.workers, self.trace, expects),
        }
        vigil = Vigil([fields[Whom.RECIPIENTS], fields[Whom.POSTS]])
        self._began = time.monotonic()
        keeper.start()
        registrar.start()
        vigil.start()
        try:
            for sender in senders:
                sender.thread.start()
            self._strike_all(fields, tally, tell)
        finally:
            vigil.stop()
            _end(senders)
            if not registrar.stop():
                self._failed("a peer could not be removed")
            keeper.stop()
        sent_seconds = self._now
        self.trace("the senders have ended")
        self._broken += keeper.drain(tell)
        keeper.witness.stop()
        drained_at = self._now
        self._operator.stop()
        self.trace("shutting down")
        self._broken += shut_down(self.world)
        books = keeper.close()
        return Outcome(
            [*audit(books), *self._broken],
            books,
            self._scores,
            sent_seconds,
            drained_at - sent_seconds,
            self.root.home,
            self._operator.started,
            senders,
        )

    def _strike_all(self, fields: Mapping[Whom, Field], tally: Tally, tell: Tell) -> None:
        """Strike and heal in time; what is late strikes late, and the rest is healed at the end."""
        next_tell = TELL_SECONDS
        while (now := self._now) < self.order.seconds or (self._due and now < self.order.seconds + LATE_SECONDS):
            for due in [heal for heal in self._heals if heal[0] <= now]:
                self._heal(due)
                if is_of_people(due[1]) and not any(is_of_people(name) for _, name, _ in self._heals):
                    _clear_desks(fields)
            if self._due and self._due[0][0] <= now:
                self._strike(self._due.pop(0)[1], fields)
            if now >= next_tell:
                next_tell += TELL_SECONDS
                counts = f"{sum(tally.accepted.values())} accepted, {sum(tally.consumed.values())} taken"
                tell(f"{now:5.0f} s  {counts}, {sum(self._scores.struck.values())} faults")
            time.sleep(LOOK_SECONDS)
        deadline = time.monotonic() + HEAL_SECONDS
        while self._heals and time.monotonic() < deadline:
            for due in list(self._heals):
                self._heal(due)
        _clear_desks(fields)
        for _, name, _ in self._heals:
            self._failed(f"{name} could not be healed in {HEAL_SECONDS:g} s")

    def _strike(self, strike: Strike, fields: Mapping[Whom, Field]) -> None:
        """Strike whom the plan names; the recipients, where there is nothing else to strike."""
        heal = None
        try:
            for whom in targets(strike, self._now, PATIENCE_SECONDS):
                heal = heal or self._faults[strike.fault].strike(fields[whom], Random(strike.seed))
        except Exception as error:  # the boundary of one fault: the run goes on and ends as failed
            self._failed(f"{strike.fault}: {error!r}")
            return
        if heal is None:
            self._again(strike)
            return
        self._scores.struck[strike.fault] += 1
        self._heals.append((self._now + strike.heal_after, strike.fault, heal))

    def _again(self, strike: Strike) -> None:
        """There was nothing to strike: look again a little later, a few times."""
        now = self._now
        if now < strike.at + PATIENCE_SECONDS:
            self._due.append((now + AGAIN_SECONDS, strike))
            self._due.sort(key=lambda due: due[0])
        else:
            self.trace(f"missed: {strike.fault}")

    def _heal(self, due: tuple[float, str, Heal]) -> None:
        at, name, heal = due
        self._heals.remove(due)
        try:
            self._scores.healed(name, heal())
        except NotYet:
            self._heals.append((at + AGAIN_SECONDS, name, heal))
        except Exception as error:  # as above
            self._failed(f"healing {name}: {error!r}")

    def _failed(self, text: str) -> None:
        self.trace(f"FAILED {text}")
        self._broken.append(Broken("the machine", text))


def _clear_desks(fields: Mapping[Whom, Field]) -> None:
    for field in fields.values():
        clear_desks(field)


def _end(senders: list[Sender]) -> None:
    for sender in senders:
        sender.over.set()
    for sender in senders:
        if sender.thread.ident is not None:
            sender.thread.join()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def new_home() -> Path:
    """Return a new directory for a run, short enough for sockets."""
    return Path(tempfile.mkdtemp(prefix="pwf-", dir="/tmp"))


def discard(outcome: Outcome) -> None:
    """Remove the root of a run that nobody needs any more."""
    shutil.rmtree(outcome.home, ignore_errors=True)
