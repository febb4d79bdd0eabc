"""Senders: each a thread that sends one message after the other and writes down what it was told."""

import threading
import time
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from tests.faults.bodies import compose, digest, to_arrive
from tests.faults.books import Sent, Told
from tests.faults.fault import Peer
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

    def has_room(self, peer: Peer) -> bool:
        way = self.accepted.get(peer.identity, 0) - self.consumed.get(peer.identity, 0)
        return way < (self.cap if peer.policy == "warm" else self.worker_cap)

    def write(self, sent: Sent) -> None:
        with self.mutex:
            self.sent.append(sent)
            if sent.told is Told.ACCEPTED:
                self.accepted[sent.recipient] = self.accepted.get(sent.recipient, 0) + 1


@dataclass(slots=True)
class Sender:
    """One sender; `pause_seconds` rest between two messages, `identity` who it is."""

    name: str
    identity: str
    connection: Connection | CommandLine
    peers: list[Peer]
    tally: Tally
    random: Random
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
                peer = self._recipient()
                if peer is None:
                    time.sleep(FULL_SECONDS)
                    continue
                self._send(peer)
        finally:
            self.connection.drop()

    def _recipient(self) -> Peer | None:
        policy = "ephemeral" if self.random.random() < EPHEMERAL_SHARE else "warm"
        open_to = [peer for peer in self.peers if peer.policy == policy and self.tally.has_room(peer)]
        return self.random.choice(open_to) if open_to else None

    def _send(self, peer: Peer) -> None:
        self.number += 1
        mark = f"{self.name}-{self.number}"
        arguments: dict[str, Any] = {
            "personality": peer.name,
            "message": self._body(peer, mark),
            "idempotency_key": mark,
            "wait_seconds": None if self.random.random() < WAIT_SHARE else 0,
        }
        if arguments["wait_seconds"] is None:
            del arguments["wait_seconds"]
        began = time.time()
        is_cut = self.random.random() < CUT_SHARE
        if is_cut:
            self.cuts += 1
            self.connection.cut(arguments)
        answer = self._until_told(arguments, is_first=not is_cut)
        ended = time.time()
        self.tally.write(self._sent(peer, mark, arguments["message"], began, ended, answer))
        if answer.told is Told.REFUSED:
            time.sleep(REFUSED_SECONDS)
        elif answer.told is Told.ACCEPTED and self.random.random() < REPEAT_SHARE:
            self._repeat(peer, mark, arguments, answer)

    def _body(self, peer: Peer, mark: str) -> str:
        if peer.policy == "ephemeral":
            return f"{'poison' if self.random.random() < POISON_SHARE else 'task'} {mark}"
        others = [each.name for each in self.peers if each.policy == "warm" and each != peer]
        (deed,) = self.random.choices([*DEEDS, ""], [*DEEDS.values(), 1 - sum(DEEDS.values())])
        if deed == "relay" and others:
            return f"relay to {self.random.choice(others)} {mark}"
        return f"{deed} {mark}" if deed else compose(self.random, mark)

    def _until_told(self, arguments: dict[str, Any], *, is_first: bool) -> Answer:
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
            time.sleep(self.random.uniform(*RETRY_SECONDS))

    def _repeat(self, peer: Peer, mark: str, arguments: dict[str, Any], first: Answer) -> None:
        """Say it once more with the same key: the same message, or the books hold a second one."""
        self.repeats += 1
        began = time.time()
        again = self._until_told(arguments | {"wait_seconds": 0}, is_first=False)
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
