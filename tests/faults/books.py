"""The books of a run: what senders were told, what agents took, what people typed, how sessions ended."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from tests.faults.sightings import Sightings

ROUNDING_SECONDS: Final = 0.002
LATE_SECONDS: Final = 10.0
BACKSPACE: Final = "\x7f"
UNSURE: Final = "was given up: it may have been taken"
NOTICE: Final = re.compile(r"^Your message (m_[0-9a-z]{20}) to (\S+) \((\S+)\) was given up", re.MULTILINE)


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
    """One prompt as an agent recorded it; `place` is its place in the recipient's life: session's start, line.

    `is_opening`: it says to be what its peer's sessions are told first.
    """

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
    is_opening: bool = False

    @property
    def is_ours(self) -> bool:
        """Tell whether the product itself wrote it: a notice, or what is told first."""
        return self.notice_of is not None or self.is_opening


@dataclass(frozen=True, slots=True)
class Reply:
    """A worker's reply to its task, told to be accepted or never told; `digest` is that of the body to arrive."""

    session: str
    at: float
    task: str | None
    digest: str = ""
    told: Told = Told.ACCEPTED


@dataclass(frozen=True, slots=True)
class Pressed:
    """Something that reached an agent where nothing may be typed, as it recorded it; `keys` is what exactly.

    `over` is what stood in its input line when the screen came up, known of what nobody could see (`in_flight`).
    """

    identity: str
    what: str
    keys: str = ""
    at: float = 0.0
    over: str = ""


@dataclass(slots=True)
class Sitting:
    """A person at an agent's terminal who types a text: wall seconds of the first key, and of when they are gone.

    `takes_back` is when they begin to delete or submit it themselves; `gone` is what stood there instead before.
    `is_judged`: it was looked at for so long that its end would have been noticed.
    """

    text: str
    began: float
    takes_back: float = float("inf")
    ended: float = float("inf")
    was_seen: bool = False
    is_judged: bool = False
    gone: str | None = None


@dataclass(frozen=True, slots=True)
class Broken:
    """One rule broken once."""

    rule: str
    text: str


@dataclass(slots=True)
class Books:
    """Everything that is known from outside.

    `ephemeral` are the identities of workers, `posts` those of who the senders are, `unready` those of peers that
    never take anything. `openings` are the digests of what is told first. `letters` are dead letters of the operator,
    who gets no notices. `in_flight` is what was typed before anybody could see where to.
    """

    sent: list[Sent] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    pressed: list[Pressed] = field(default_factory=list)
    in_flight: list[Pressed] = field(default_factory=list)
    ephemeral: Collection[str] = frozenset()
    posts: Collection[str] = frozenset()
    unready: Collection[str] = frozenset()
    openings: Mapping[str, str] = field(default_factory=dict)
    letters: Collection[str] = frozenset()
    drafts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    typed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    sittings: Mapping[str, Sequence[Sitting]] = field(default_factory=dict)
    seen: Sightings = field(default_factory=Sightings)

    @property
    def accepted(self) -> list[Sent]:
        return [each for each in self.sent if each.told is Told.ACCEPTED]

    @property
    def notices(self) -> list[Taken]:
        return [each for each in self.taken if each.notice_of is not None]

    def consumed(self) -> set[str]:
        """Return the ids of all messages that some agent took; neither notices nor what is told first."""
        return {each.message_id for each in self.taken if each.message_id is not None and not each.is_ours}

    def answered(self) -> set[str]:
        """Return the ids of the tasks with a reply from a session that took them.

        One that was never told whether its reply is accepted has replied if the reply arrived.
        """
        takes = {(each.session, each.message_id) for each in self.taken}
        arrived = {each.digest for each in self.taken if each.is_whole}
        return {
            each.task
            for each in self.replies
            if each.task is not None
            and (each.session, each.task) in takes
            and (each.told is Told.ACCEPTED or each.digest in arrived)
        }

    def noticed(self) -> set[str]:
        """Return the ids of the messages whose sender has read that they were given up."""
        senders = {each.message_id: each.sender for each in self.sent}
        return {
            each.notice_of
            for each in self.notices
            if each.notice_of and senders.get(each.notice_of, each.identity) == each.identity
        }

    def given_up(self) -> set[str]:
        """Return the ids of the messages that were given up, and whose senders know."""
        return self.noticed() | set(self.letters)

    def unsure(self) -> set[str]:
        """Return the ids of those whose notice says that nobody can know whether they were taken."""
        return {each.notice_of for each in self.notices if each.notice_of and UNSURE in each.text}

    def is_of_a_typist(self, pressed: Pressed) -> bool:
        """Tell whether somebody was typing just these characters then; what is stopped passes them on late."""
        at_work = [
            each.text
            for each in self.sittings.get(pressed.identity, ())
            if each.began - ROUNDING_SECONDS <= pressed.at <= each.ended + LATE_SECONDS
        ]
        return bool(pressed.keys and at_work) and set(pressed.keys) <= {BACKSPACE, *"".join(at_work)}

    def open(self) -> list[Sent]:
        """Return what was accepted and has not ended in one of the two ways."""
        consumed, answered, given_up = self.consumed(), self.answered(), self.given_up()

        def has_ended(sent: Sent) -> bool:
            if sent.message_id in given_up:
                return True
            if sent.recipient in self.ephemeral:
                return sent.message_id in answered
            return sent.message_id in consumed and sent.recipient not in self.unready

        return [each for each in self.accepted if not has_ended(each)]
