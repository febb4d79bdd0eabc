"""The books of a run: what senders were told against what agents took; each rule names what breaks it."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Final

ROUNDING_SECONDS: Final = 0.002
BACKSPACE: Final = "\x7f"
NOTICE: Final = re.compile(r"^Your message (m_[0-9a-z]{20}) to \S+ \(\S+\) was given up")


class Told(StrEnum):
    """What a sender knows in the end; `UNKNOWN` never got an answer that tells."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Sent:
    """One message as its sender recorded it; `mark` is its own name for it, `digest` that of the body to arrive.

    Wall seconds: `began` before the first attempt, `ended` after the last answer. `delivered` was the answer's word.
    """

    mark: str
    sender: str
    recipient: str
    digest: str
    began: float
    ended: float
    told: Told
    message_id: str | None = None
    delivered: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Taken:
    """One prompt as an agent recorded it; `place` is its place in the recipient's life: session's start, line."""

    identity: str
    session: str
    place: tuple[float, int]
    at: float
    message_id: str | None
    sender: str | None
    digest: str
    is_whole: bool
    text: str = ""
    notice_of: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A worker's reply that it was told is accepted; it ends the worker's task."""

    session: str
    at: float


@dataclass(frozen=True, slots=True)
class Pressed:
    """Something that reached an agent where nothing may be typed, as it recorded it; `keys` is what exactly."""

    identity: str
    what: str
    keys: str = ""


@dataclass(frozen=True, slots=True)
class Broken:
    """One rule broken once."""

    rule: str
    text: str


@dataclass(slots=True)
class Books:
    """Everything that is known from outside."""

    sent: list[Sent] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    pressed: list[Pressed] = field(default_factory=list)
    ephemeral: Collection[str] = frozenset()
    letters: Collection[str] = frozenset()
    drafts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    typed: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def accepted(self) -> list[Sent]:
        return [each for each in self.sent if each.told is Told.ACCEPTED]

    def consumed(self) -> set[str]:
        """Return the ids of all messages that some agent took."""
        return {each.message_id for each in self.taken if each.message_id is not None}

    def noticed(self) -> set[str]:
        """Return the ids of the messages whose sender has read that they were given up."""
        senders = {each.message_id: each.sender for each in self.sent}
        return {
            each.notice_of
            for each in self.taken
            if each.notice_of is not None and senders.get(each.notice_of, each.identity) == each.identity
        }

    def open(self) -> list[Sent]:
        """Return what was accepted and has not ended in one of the two ways."""
        settled = self.consumed() | self.noticed() | set(self.letters)
        return [each for each in self.accepted if each.message_id not in settled]


def audit(books: Books) -> list[Broken]:
    """Return every broken rule, each with the ids of its messages."""
    rules = (_lost, _strays, _envelopes, _matches, _doubled, _tasks, _order, _premature, _both, _unanswered, _pressed)
    return [broken for rule in rules for broken in rule(books)]


def _lost(books: Books) -> Iterator[Broken]:
    for each in books.open():
        yield Broken("lost", f"{each.message_id} ({each.mark}) to {each.recipient}: neither consumed nor given up")


def _strays(books: Books) -> Iterator[Broken]:
    """No draft in a prompt; no prompt that is no envelope but what a person submitted, each once."""
    left = {identity: Counter(texts) for identity, texts in books.typed.items()}
    for each in books.taken:
        yield from _drafts_in(each, books.drafts.get(each.identity, ()))
        if each.message_id is None:
            typed = left.get(each.identity, Counter())
            if typed[each.text] > 0:
                typed[each.text] -= 1
            else:
                yield Broken("stray", f"{each.identity} was given a prompt that nobody sent: {each.text[:200]!r}")


def _drafts_in(each: Taken, drafts: Sequence[str]) -> Iterator[Broken]:
    for draft in drafts:
        if draft and draft in each.text:
            yield Broken("draft submitted", f"{each.identity}: the draft {draft[:80]!r} is in {each.text[:200]!r}")


def _envelopes(books: Books) -> Iterator[Broken]:
    for each in books.taken:
        if each.message_id is not None and not each.is_whole:
            yield Broken(
                "merged", f"{each.message_id} to {each.identity} is not one whole envelope: {each.text[:300]!r}"
            )


def _matches(books: Books) -> Iterator[Broken]:
    """What is taken was sent: to this one, by that one, with this body, and not refused."""
    by_id = {each.message_id: each for each in books.sent if each.message_id is not None}
    by_digest = {each.digest: each for each in books.sent}
    for each in books.taken:
        if each.message_id is None or each.notice_of is not None or not each.is_whole:
            continue
        sent = by_id.get(each.message_id) or by_digest.get(each.digest)
        if sent is None:
            yield Broken(
                "from nowhere", f"{each.message_id} to {each.identity} was sent by nobody: {each.text[:200]!r}"
            )
            continue
        yield from _differences(each, sent)


def _differences(each: Taken, sent: Sent) -> Iterator[Broken]:
    what = f"{each.message_id} ({sent.mark})"
    if sent.told is Told.REFUSED:
        yield Broken("refused, but delivered", f"{what} to {each.identity}: the sender was told {sent.note[:200]!r}")
    if sent.message_id not in (None, each.message_id):
        yield Broken("second message", f"{what}: its sender was told of {sent.message_id} for the same key")
    if sent.recipient != each.identity:
        yield Broken("misplaced", f"{what} for {sent.recipient} was taken by {each.identity}")
    if sent.sender.partition("-")[2] != each.sender:
        yield Broken("misattributed", f"{what} from {sent.sender} was signed {each.sender}")
    if sent.digest != each.digest:
        yield Broken("altered", f"{what} to {each.identity} has another body: {each.text[:300]!r}")


def _doubled(books: Books) -> Iterator[Broken]:
    times = Counter((each.identity, each.message_id) for each in books.taken if each.identity not in books.ephemeral)
    for (identity, message_id), count in times.items():
        if message_id is not None and count > 1:
            yield Broken("doubled", f"{message_id} was taken {count} times by {identity}")
    by_digest: dict[str, set[str]] = defaultdict(set)
    for each in books.taken:
        if each.message_id is not None and each.notice_of is None and each.is_whole:
            by_digest[each.digest].add(each.message_id)
    # A worker that takes its task again may reply again, in the same words.
    again = {each.digest for each in books.sent if each.sender in books.ephemeral}
    for digest, ids in by_digest.items():
        if len(ids) > 1 and digest not in again:
            yield Broken("doubled", f"one send became {', '.join(sorted(ids))}")


def _tasks(books: Books) -> Iterator[Broken]:
    """A worker's session has one task; a task is taken again only after a worker that did not reply."""
    replied = {reply.session: reply.at for reply in books.replies}
    sessions: dict[str, set[str | None]] = defaultdict(set)
    takes: dict[str, list[Taken]] = defaultdict(list)
    for each in books.taken:
        if each.identity in books.ephemeral and each.message_id is not None:
            sessions[each.session].add(each.message_id)
            takes[each.message_id].append(each)
    for session, ids in sessions.items():
        if len(ids) > 1:
            yield Broken(
                "merged", f"the worker's session {session} was given {len(ids)} tasks: {sorted(map(str, ids))}"
            )
    for message_id, mine in takes.items():
        mine.sort(key=lambda each: each.place)
        for before, after in pairwise(mine):
            if before.session == after.session or replied.get(before.session, after.at) < after.at - ROUNDING_SECONDS:
                yield Broken("doubled", f"task {message_id} was taken again by {after.identity} after its reply")


def _order(books: Books) -> Iterator[Broken]:
    """Of two messages to one identity the one that was accepted before the other was even sent is taken first."""
    sent = {each.message_id: each for each in books.accepted}
    rows: dict[str, list[Taken]] = defaultdict(list)
    for each in sorted(books.taken, key=lambda each: each.place):
        rows[each.identity].append(each)
    for identity, row in rows.items():
        latest: Sent | None = None
        seen: set[str] = set()
        for each in row:
            mine = sent.get(each.message_id)
            if mine is None or each.message_id is None or each.message_id in seen:
                continue
            seen.add(each.message_id)
            if latest is not None and mine.ended + ROUNDING_SECONDS < latest.began:
                text = f"{identity} took {latest.message_id} ({latest.mark}) before {mine.message_id} ({mine.mark})"
                yield Broken("reordered", text)
            if latest is None or mine.began > latest.began:
                latest = mine


def _premature(books: Books) -> Iterator[Broken]:
    """`delivered` was said only of what stood in the transcript by then."""
    first: dict[str | None, float] = {}
    for each in books.taken:
        first[each.message_id] = min(each.at, first.get(each.message_id, each.at))
    for sent in books.accepted:
        if sent.delivered and first.get(sent.message_id, float("inf")) > sent.ended + ROUNDING_SECONDS:
            yield Broken("delivered without a receipt", f"{sent.message_id} ({sent.mark}) to {sent.recipient}")


def _both(books: Books) -> Iterator[Broken]:
    """A message ends in one of the two ways; a worker's poisoned task was taken before it was given up."""
    workers = {each.message_id for each in books.sent if each.recipient in books.ephemeral}
    for message_id in sorted(books.consumed() & (books.noticed() | set(books.letters)) - workers):
        yield Broken("consumed and given up", message_id)


def _unanswered(books: Books) -> Iterator[Broken]:
    for each in books.sent:
        if each.told is Told.UNKNOWN and not each.mark.startswith("relay"):
            yield Broken("unanswered", f"{each.mark} of {each.sender} to {each.recipient}: {each.note[:300]}")


def _pressed(books: Books) -> Iterator[Broken]:
    """What people type goes where they are, a few characters at a time; nothing else may be typed there."""
    for each in books.pressed:
        texts = (*books.drafts.get(each.identity, ()), *books.typed.get(each.identity, ()))
        if each.keys and texts and set(each.keys) <= {BACKSPACE, *"".join(texts)}:
            continue
        yield Broken("typed where it must not be", f"{each.identity}: {each.what[:300]}")
