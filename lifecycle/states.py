"""The words of lifecycle: states, results and causes. Imports nothing of ours."""

from enum import StrEnum


class PeerState(StrEnum):
    """What one presence of a peer is doing."""

    LIVE = "live"
    BUSY = "busy"
    ASLEEP = "asleep"
    STOPPED = "stopped"
    BOOTING = "booting"
    BLOCKED = "blocked"
    FAILED = "failed"


class RuntimeKind(StrEnum):
    """An agent lives in a terminal; a service is run by the service manager."""

    AGENT = "agent"
    SERVICE = "service"


class Mode(StrEnum):
    """How a session starts."""

    FRESH = "fresh"
    RESUME = "resume"


class StartReason(StrEnum):
    """Why a session starts fresh or resumes."""

    NEW = "new"
    REFRESH = "refresh"
    ASKED = "asked"
    FIRST = "first"
    EPHEMERAL = "ephemeral"
    NATURAL = "natural"
    TOPIC = "topic"
    NO_TOPIC = "no-topic"
    NEW_TOPIC = "new-topic"
    CRASH = "crash"
    ENDED = "ended"
    CANNOT_RESUME = "cannot-resume"
    RESUME_FAILED = "resume-failed"


class End(StrEnum):
    """Why a session was ended by somebody; one without an end died by itself."""

    IDLE = "idle"
    STOPPED = "stopped"
    NEW = "new"
    SELF = "self"
    TASK = "task"
    REMOVED = "removed"


class SendStatus(StrEnum):
    """The answer to an accepted message: the name of its evidence."""

    DELIVERED = "delivered"
    QUEUED = "queued"
