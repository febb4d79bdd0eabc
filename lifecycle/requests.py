"""What callers ask of the lifecycle and what they are told: values and refusals."""

from dataclasses import dataclass, field

from lifecycle.states import PeerState, SendStatus
from transport.errors import PeerwakeError
from transport.message import Draft


class Refused(PeerwakeError):
    """The request was refused, nothing was queued and nothing will happen."""


class UnknownPeer(Refused):
    """No such peer; the text carries the nearest names."""

    code = "unknown-peer"


class SelfSend(Refused):
    """A peer cannot send to itself."""

    code = "self"


class UndeclaredRuntime(Refused):
    """The peer does not declare the runtime that was asked for."""

    code = "undeclared-runtime"


class PeerStopped(Refused):
    """The peer is stopped: tell the sender, do not retry."""

    code = "stopped"


class ForeignService(Refused):
    """The peer is a service that somebody else runs: it is never started, stopped or written to from here."""

    code = "foreign-service"


class CrashLooping(Refused):
    """The peer dies again and again; an operator must start it."""

    code = "crash-looping"


class RateLimited(Refused):
    """The sender sends too fast; retry later."""

    code = "rate-limited"


class NoSuchMessage(Refused):
    """No message has this id."""

    code = "no-such-message"


class NotAllowed(Refused):
    """The caller's credential does not permit this."""

    code = "not-allowed"


class DeadLetter(PeerwakeError):
    """The message was accepted but has been given up; it is kept, and its sender gets a notice."""

    code = "dead-letter"


@dataclass(frozen=True, slots=True)
class SendRequest:
    """One message to one peer; `wait_seconds` None waits only while progress is under way."""

    personality: str
    draft: Draft
    runtime: str | None = None
    wait_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class SendResult:
    """What is known of a message at the moment of the answer; `status` is the name of its evidence."""

    message_id: str
    status: SendStatus
    personality: str
    runtime: str
    host: str
    woke: bool
    queue_depth: int
    reason: str | None
    at: str
    removed_controls: int = 0
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class RuntimeRow:
    """One presence of a peer in a list."""

    runtime: str
    state: PeerState
    queue_depth: int
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class PeerRow:
    """One peer in a list."""

    name: str
    host: str
    tenant_id: str
    intelligence: str
    wake_policy: str
    default_runtime: str
    description: str
    cwd: str
    runtimes: tuple[RuntimeRow, ...]


@dataclass(frozen=True, slots=True)
class PeerPage:
    """Some rows, and how many there are in all."""

    rows: tuple[PeerRow, ...]
    total: int
    offset: int


@dataclass(frozen=True, slots=True)
class QueueRow:
    """The queue of one identity; times are ISO 8601, ages seconds, `detail` what more is known of `hold`."""

    identity: str
    host: str
    tenant_id: str
    depth: int
    in_flight: str | None
    head_age_seconds: float | None
    last_receipt_at: str | None
    dead: int
    hold: str | None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """Messages by id; without ids the dead letters of one peer (None: of all) given up that long ago or longer."""

    message_ids: tuple[str, ...] = ()
    personality: str | None = None
    older_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class MessageReport:
    """One message's whole history, without its body."""

    message_id: str
    sender: str
    recipient: str
    state: str
    stage: str | None
    attempts: int
    accepted_at: str
    settled_at: str | None
    reason: str | None
    host: str
    tenant_id: str
    events: tuple[tuple[str, str, str], ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Letters:
    """Some dead letters, and how many there are in all."""

    rows: tuple[MessageReport, ...]
    total: int
