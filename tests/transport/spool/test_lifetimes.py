"""Any sequence of operations against a model: one end for each message, order, one lease, true counts."""

import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from tests.transport.spool.support import ALICE, BOB, NOW, check_counts, letter
from transport.identity import OPERATOR, SYSTEM, Identity
from transport.message import Message
from transport.spool.records import Buried, MessageSettled, SpoolCapped
from transport.spool.store import SpoolStore
from transport.vocabulary import Kind, MessageState, Stage

CAP, TTL, DAY = 6, 3600.0, 86_400.0
NAMES = st.sampled_from(["alice", "bob", "carol"])
PEERS = st.builds(Identity, st.sampled_from(["claude", "codex"]), NAMES)
SENDERS = st.sampled_from([ALICE, BOB, OPERATOR])


@dataclass
class Entry:
    """What the model knows of a message."""

    message: Message
    recipient: Identity
    queued_at: float
    state: str = "queued"
    stage: Stage | None = None
    attempts: int = 0
    not_before: float = 0.0
    settled_at: float = 0.0
    notices: int = 0


@dataclass
class Model:
    """All messages in the order of their places."""

    entries: list[Entry] = field(default_factory=list)

    def open(self, recipient: Identity) -> list[Entry]:
        return [entry for entry in self.entries if entry.recipient == recipient and entry.state in ("queued", "leased")]

    def find(self, message_id: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.message.id == message_id), None)


class Lifetimes(RuleBasedStateMachine):
    messages = Bundle("messages")

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="pw-"))
        self.path = self.directory / "spool.db"
        self.store = SpoolStore(self.path)
        self.model = Model()
        self.now = NOW

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.directory)

    @rule(target=messages, to=PEERS, sender=SENDERS, key=st.sampled_from([None, None, "k", "l"]))
    def enqueue(self, to: Identity, sender: Identity, key: str | None) -> object:
        message = letter(to=to, sender=sender, at=self.now, idempotency_key=key)
        first = self._first(sender, key)
        waiting = self.model.open(to)
        try:
            accepted = self.store.enqueue(message, cap=CAP, hop_limit=20)
        except SpoolCapped:
            assert first is None
            assert len(waiting) >= CAP
            return multiple()
        if first is not None:
            assert (accepted.message.id, accepted.duplicate) == (first.message.id, True)
            return multiple()
        assert len(waiting) < CAP
        assert (accepted.message, accepted.duplicate, accepted.depth) == (message, False, len(waiting) + 1)
        self.model.entries.append(Entry(message, to, self.now))
        return message.id

    @rule(recipient=PEERS)
    def lease(self, recipient: Identity) -> None:
        lease = self.store.lease(recipient, "fence", self.now)
        waiting = self.model.open(recipient)
        is_blocked = any(entry.state == "leased" for entry in waiting)
        if not waiting or is_blocked or waiting[0].not_before > self.now:
            assert lease is None
            return
        head = waiting[0]
        assert lease is not None
        assert (lease.message.id, lease.attempts, lease.stage) == (head.message.id, head.attempts, Stage.HELD)
        head.state, head.stage = "leased", Stage.HELD

    @rule(message_id=messages, reached=st.sampled_from([Stage.PASTING, Stage.INJECTED]))
    def stage(self, message_id: str, reached: Stage) -> None:
        entry = self.model.find(message_id)
        if self._allowed(entry, "leased", lambda: self.store.stage(message_id, reached, self.now)):
            entry.stage = reached

    @rule(message_id=messages)
    def consume(self, message_id: str) -> None:
        entry = self.model.find(message_id)
        if entry is not None and entry.state == "consumed":
            assert not self.store.consume(message_id, "transcript", self.now)
        elif self._allowed(entry, "queued leased", lambda: self.store.consume(message_id, "transcript", self.now)):
            entry.state, entry.settled_at = "consumed", self.now

    @rule(message_id=messages, wait=st.sampled_from([0.0, 5.0]), attempted=st.booleans())
    def release(self, message_id: str, wait: float, attempted: bool) -> None:
        entry = self.model.find(message_id)
        due = self.now + wait
        if self._allowed(
            entry,
            "leased",
            lambda: self.store.release(message_id, "busy", self.now, not_before=due, attempted=attempted),
        ):
            entry.state, entry.not_before = "queued", due
            entry.attempts += attempted

    @rule(target=messages, message_id=messages)
    def bury(self, message_id: str) -> object:
        entry, buried = self.model.find(message_id), []
        if self._allowed(
            entry, "queued leased", lambda: buried.append(self.store.bury(message_id, "poison", self.now))
        ):
            return self._given_up(buried, "dead")
        return multiple()

    @rule(target=messages, message_id=messages)
    def drop(self, message_id: str) -> object:
        entry, buried = self.model.find(message_id), []
        if self._allowed(entry, "queued dead", lambda: buried.append(self.store.drop(message_id, self.now))):
            return self._given_up(buried, "dropped")
        return multiple()

    @rule(target=messages)
    def expire(self) -> object:
        buried = self.store.expire(self.now, TTL)
        overdue = {
            entry.message.id
            for entry in self.model.entries
            if entry.state == "queued" and entry.queued_at < self.now - TTL
        }
        assert {one.id for one in buried} == overdue
        return self._given_up(buried, "dead")

    @rule(message_id=messages)
    def retry(self, message_id: str) -> None:
        entry = self.model.find(message_id)
        if self._allowed(entry, "dead", lambda: self.store.retry(message_id, self.now)):
            entry.state, entry.attempts, entry.not_before, entry.queued_at = "queued", 0, 0.0, self.now
            self.model.entries.remove(entry)
            self.model.entries.append(entry)

    @rule(old=NAMES, new=NAMES)
    def rename(self, old: str, new: str) -> None:
        if old == new:
            return
        theirs = [entry for entry in self.model.entries if entry.recipient.personality == old]
        moving = [entry for entry in theirs if entry.state in ("queued", "dead")]
        try:
            assert self.store.rename(old, new, self.now) == len(moving)
        except MessageSettled:
            assert any(entry.state == "leased" for entry in theirs)
            return
        for entry in moving:
            entry.recipient = Identity(entry.recipient.runtime, new)
        for entry in self.model.entries:
            record = self.store.message(entry.message.id)
            assert record is not None
            entry.message = record.message

    @rule(seconds=st.sampled_from([1.0, 10.0, TTL + 1, DAY + 1]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def purge(self) -> None:
        old = [
            entry
            for entry in self.model.entries
            if entry.state in ("consumed", "dropped")
            and entry.settled_at < self.now - TTL
            and (entry.message.idempotency_key is None or entry.message.accepted_at < self.now - DAY)
        ]
        assert self.store.purge(self.now - TTL, self.now) == len(old)
        for entry in old:
            self.model.entries.remove(entry)

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = SpoolStore(self.path)

    @rule(message_id=consumes(messages))
    def forget(self, message_id: str) -> None:
        """Let the rules turn to other messages."""

    @invariant()
    def counts_are_true(self) -> None:
        if not hasattr(self, "store"):
            return
        check_counts(self.store)
        depths = Counter(entry.recipient for entry in self.model.entries if entry.state in ("queued", "leased"))
        assert self.store.waiting() == depths
        leased = {lease.message.id for lease in self.store.all_leased()}
        assert leased == {entry.message.id for entry in self.model.entries if entry.state == "leased"}
        dead = {record.message.id for record in self.store.dead(limit=1000)}
        assert dead == {entry.message.id for entry in self.model.entries if entry.state == "dead"}

    @invariant()
    def every_message_stands_where_it_should(self) -> None:
        if not hasattr(self, "store"):
            return
        for entry in self.model.entries:
            record = self.store.message(entry.message.id)
            assert record is not None
            expected = MessageState.DEAD if entry.state == "dropped" else MessageState(entry.state)
            assert (record.state, record.attempts) == (expected, entry.attempts)
            assert record.stage == (entry.stage if entry.state == "leased" else None)
            assert len({(event.event, event.detail.split(" (")[0]) for event in record.events}) == len(record.events)
            is_due = entry.message.kind is Kind.MESSAGE and entry.message.sender not in (OPERATOR, SYSTEM)
            if expected is MessageState.DEAD:
                assert entry.notices == is_due

    def _allowed(self, entry: Entry | None, states: str, call: object) -> bool:
        """Make the call; return whether it was allowed, which must be what the model says."""
        if entry is None:
            return False
        try:
            call()
        except MessageSettled:
            assert entry.state not in states.split()
            return False
        assert entry.state in states.split()
        return True

    def _given_up(self, buried: list[Buried], state: str) -> object:
        notices = []
        for one in buried:
            entry = self.model.find(one.id)
            assert entry is not None
            entry.state, entry.settled_at = state, self.now
            entry.notices += one.notice is not None
            if one.notice is not None:
                assert one.notice.recipient == entry.message.sender
                self.model.entries.append(Entry(one.notice, one.notice.recipient, self.now))
                notices.append(one.notice.id)
        return multiple(*notices)

    def _first(self, sender: Identity, key: str | None) -> Entry | None:
        same = [
            entry
            for entry in self.model.entries
            if key is not None
            and entry.message.sender == sender
            and entry.message.idempotency_key == key
            and entry.message.accepted_at > self.now - DAY
        ]
        return same[-1] if same else None


TestLifetimes = Lifetimes.TestCase
TestLifetimes.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
