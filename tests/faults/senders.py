"""Senders: each a thread that sends one message after the other and writes down what it was told."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from tests.faults.bodies import compose, digest, to_arrive
from tests.faults.books import Sent, Told
from tests.faults.fault import Peer
from tests.faults.plan import actor
from tests.faults.wire import Answer, CommandLine, Connection

ANSWER_SECONDS: Final = 180.0
RETRY_SECONDS: Final = (0.02, 0.4)
CUT_SHARE: Final = 0.01
REPEAT_SHARE: Final = 0.01
DEEDS: Final = {"relay": 0.03, "work": 0.02, "toil": 0.003, "leave": 0.003}
WAIT_SHARE: Final = 0.1
POISON_SHARE: Final = 0.03
EPHEMERAL_SHARE: Final = 0.004
FULL_SECONDS: Final = 0.02
REFUSED_SECONDS: Final = 0.1


@dataclass(slots=True)
class Tally:
    """How much is on its way to each recipient, counted from outside; senders rest where it is too much.

    `consumed` are counts of what agents took, replaced by whoever reads the transcripts.
    """

    cap: int
    worker_cap: int
    sent: list[Sent] = field(default_factory=list)
    accepted: dict[str, int] = field(default_factory=dict)
    consumed: dict[str, int] = field(default_factory=dict)
    mutex: threading.Lock = field(default_factory=threading.Lock)

    def under_way(self, peer: Peer) -> int:
        return self.accepted.get(peer.identity, 0) - self.consumed.get(peer.identity, 0)

    def has_room(self, peer: Peer) -> bool:
        return self.under_way(peer) < (self.cap if peer.policy == "warm" else self.worker_cap)

    def write(self, sent: Sent) -> None:
        with self.mutex:
            self.sent.append(sent)
            if sent.told is Told.ACCEPTED:
                self.accepted[sent.recipient] = self.accepted.get(sent.recipient, 0) + 1


@dataclass(frozen=True, slots=True)
class Wish:
    """What one message is to be, whatever befell those before it; `order` is whom it goes to, the first with room.

    `relays` are names of which the first that is not the recipient's own gets what is relayed.
    """

    order: list[Peer]
    relays: list[str]
    deed: str
    text: str
    is_cut: bool
    is_repeated: bool
    waits: bool

    def body(self, peer: Peer, mark: str) -> str:
        """Return the body for the one whom it goes to."""
        if self.deed == "relay":
            return f"relay to {next(name for name in self.relays if name != peer.name)} {mark}"
        return f"{self.deed} {mark}" if self.deed else self.text


def wish(dice: Random, peers: Sequence[Peer], posts: Sequence[Peer], mark: str) -> Wish:
    """Return what one message is to be, from dice of its own."""
    policy = "ephemeral" if dice.random() < EPHEMERAL_SHARE else "warm"
    order = [peer for peer in peers if peer.policy == policy]
    dice.shuffle(order)
    relays = [peer.name for peer in (*peers, *posts) if peer.policy == "warm"]
    dice.shuffle(relays)
    if policy == "ephemeral":
        deed = "poison" if dice.random() < POISON_SHARE else "task"
    else:
        (deed,) = dice.choices([*DEEDS, ""], [*DEEDS.values(), 1 - sum(DEEDS.values())])
    if deed == "relay" and len(relays) < 2:
        deed = ""
    is_cut, is_repeated, waits = (dice.random() < share for share in (CUT_SHARE, REPEAT_SHARE, WAIT_SHARE))
    return Wish(order, relays, deed, "" if deed else compose(dice, mark), is_cut, is_repeated, waits)


@dataclass(slots=True)
class Sender:
    """One sender of a run with this seed; `pause_seconds` rest between two messages, `identity` who it is.

    `posts` are those who get what agents relay, beside the `peers`.
    """

    name: str
    identity: str
    connection: Connection | CommandLine
    peers: list[Peer]
    posts: list[Peer]
    tally: Tally
    seed: int
    over: threading.Event
    pause_seconds: float = 0.0
    number: int = 0
    cuts: int = 0
    repeats: int = 0
    attempts: int = 0
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, name=self.name)

    def _run(self) -> None:
        try:
            while not self.over.wait(self.pause_seconds):
                self.number += 1
                mark = f"{self.name}-{self.number}"
                wished = wish(actor(self.seed, f"{self.name}/{self.number}"), self.peers, self.posts, mark)
                peer = self._recipient(wished)
                if peer is not None:
                    self._send(wished, peer, mark)
        finally:
            self.connection.drop()

    def _recipient(self, wished: Wish) -> Peer | None:
        """Wait until one of those whom a message may go to has room; None without any, or at the end."""
        while wished.order and not self.over.is_set():
            found = next((peer for peer in wished.order if self.tally.has_room(peer)), None)
            if found is not None:
                return found
            self.over.wait(FULL_SECONDS)
        return None

    def _send(self, wished: Wish, peer: Peer, mark: str) -> None:
        arguments: dict[str, Any] = {
            "personality": peer.name,
            "message": wished.body(peer, mark),
            "idempotency_key": mark,
        }
        if not wished.waits:
            arguments["wait_seconds"] = 0
        pauses = actor(self.seed, f"{mark}/retries")
        began = time.time()
        if wished.is_cut:
            self.cuts += 1
            self.connection.cut(arguments)
        answer = self._until_told(arguments, pauses, is_first=not wished.is_cut)
        ended = time.time()
        self.tally.write(self._sent(peer, mark, arguments["message"], began, ended, answer))
        if answer.told is Told.REFUSED:
            time.sleep(REFUSED_SECONDS)
        elif answer.told is Told.ACCEPTED and wished.is_repeated:
            self._repeat(peer, mark, arguments, answer, pauses)

    def _until_told(self, arguments: dict[str, Any], pauses: Random, *, is_first: bool) -> Answer:
        """Repeat with the same key until the answer tells; a refusal after a lost answer tells nothing of the first."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            self.attempts += 1
            answer = self.connection.send(arguments)
            if answer.told is Told.ACCEPTED or (answer.told is Told.REFUSED and is_first):
                return answer
            is_first = False
            if time.monotonic() > deadline:
                return Answer(Told.UNKNOWN, note=answer.note)
            time.sleep(pauses.uniform(*RETRY_SECONDS))

    def _repeat(self, peer: Peer, mark: str, arguments: dict[str, Any], first: Answer, pauses: Random) -> None:
        """Say it once more with the same key: the same message, or the books hold a second one."""
        self.repeats += 1
        began = time.time()
        again = self._until_told(arguments | {"wait_seconds": 0}, pauses, is_first=False)
        if again.told is Told.ACCEPTED and again.structure["message_id"] != first.structure["message_id"]:
            self.tally.write(self._sent(peer, f"{mark} again", arguments["message"], began, time.time(), again))

    def _sent(self, peer: Peer, mark: str, body: str, began: float, ended: float, answer: Answer) -> Sent:
        return Sent(
            mark,
            self.identity,
            peer.identity,
            digest(to_arrive(body)),
            began,
            ended,
            answer.told,
            answer.structure.get("message_id"),
            answer.structure.get("status") == "delivered",
            answer.note[:300],
        )


@dataclass(slots=True)
class TaskWriter(Sender):
    """Gives a task to a worker that has none: without one there is no session of theirs to strike."""

    def _recipient(self, wished: Wish) -> Peer | None:
        free = [peer for peer in self.peers if self.tally.under_way(peer) <= 0]
        return actor(self.seed, f"{self.name}/{self.number}/recipient").choice(free) if free else None
