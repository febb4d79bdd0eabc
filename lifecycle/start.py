"""Fresh or resume: what the next session of an identity starts from, decided purely."""

from dataclasses import dataclass
from typing import assert_never

from lifecycle.runtimes.base import CannotResume
from lifecycle.states import End, Mode, StartReason
from lifecycle.topics import normal
from transport.vocabulary import Intelligence, WakePolicy


@dataclass(frozen=True, slots=True)
class Last:
    """How the last session of an identity ended: `end` None means that it died by itself.

    `reference` names its conversation, `obstacle` says why that cannot be resumed.
    """

    end: End | None
    reference: str | None
    topics: tuple[str, ...] = ()
    obstacle: str | None = None


@dataclass(frozen=True, slots=True)
class StartFacts:
    """All that decides how a session starts; `topic` is that of the message which wakes it."""

    is_renewed: bool
    is_refreshed: bool
    asked: Mode | None
    wake_policy: WakePolicy
    intelligence: Intelligence
    last: Last | None
    topic: str | None


@dataclass(frozen=True, slots=True)
class Start:
    """How a session starts, from which conversation, and why; `obstacle` is what kept it from resuming."""

    mode: Mode
    reason: StartReason
    reference: str | None = None
    obstacle: str | None = None


def choose_start(facts: StartFacts) -> Start:
    """Return how the next session starts; raises CannotResume when that was asked for and cannot be."""
    if facts.is_renewed:
        return Start(Mode.FRESH, StartReason.NEW)
    if facts.is_refreshed:
        return Start(Mode.FRESH, StartReason.REFRESH)
    if facts.asked is Mode.FRESH:
        return Start(Mode.FRESH, StartReason.ASKED)
    if facts.last is None:
        return Start(Mode.FRESH, StartReason.FIRST)
    if facts.asked is Mode.RESUME:
        return _resumed(facts.last, StartReason.ASKED, is_demanded=True)
    if facts.wake_policy is WakePolicy.EPHEMERAL:
        return Start(Mode.FRESH, StartReason.EPHEMERAL)
    if facts.intelligence is Intelligence.NATURAL:
        return _resumed(facts.last, StartReason.NATURAL)
    return _by_topic(facts.last, facts.topic)


def _by_topic(last: Last, topic: str | None) -> Start:
    match last.end:
        case End.IDLE | End.STOPPED:
            if topic is None:
                return Start(Mode.FRESH, StartReason.NO_TOPIC)
            known = normal(topic) in map(normal, last.topics)
            return _resumed(last, StartReason.TOPIC) if known else Start(Mode.FRESH, StartReason.NEW_TOPIC)
        case None:
            return Start(Mode.FRESH, StartReason.CRASH)
        case End.NEW | End.SELF | End.TASK | End.REMOVED:
            return Start(Mode.FRESH, StartReason.ENDED)
        case _:
            assert_never(last.end)


def _resumed(last: Last, reason: StartReason, *, is_demanded: bool = False) -> Start:
    obstacle = last.obstacle
    if obstacle is None and last.reference is None:
        obstacle = "its last session left no conversation that could be resumed"
    if obstacle is None:
        return Start(Mode.RESUME, reason, last.reference)
    if is_demanded:
        raise CannotResume(obstacle)
    return Start(Mode.FRESH, StartReason.CANNOT_RESUME, obstacle=obstacle)
