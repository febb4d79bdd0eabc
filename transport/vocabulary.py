"""The words of delivery: states, reasons and evidence. Imports nothing of ours."""

from enum import StrEnum


class ScreenState(StrEnum):
    """What a capture of a client's screen shows."""

    READY = "ready"
    DRAFT = "draft"
    BUSY = "busy"
    ASKS = "asks"
    UNKNOWN = "unknown"


class Hold(StrEnum):
    """Why an accepted message waits."""

    BUSY = "busy"
    WAKING = "waking"
    HANDING_OVER = "handing-over"
    EPHEMERAL = "ephemeral"
    DRAFT = "draft"
    ASKS = "asks"
    BLOCKED = "blocked"
    NO_SUPERVISOR = "no-supervisor"
    BACKOFF = "backoff"
    STOPPED = "stopped"
    CRASH_LOOPING = "crash-looping"
    UNKNOWN = "unknown"


class MessageState(StrEnum):
    """Where an accepted message stands in the spool."""

    QUEUED = "queued"
    LEASED = "leased"
    CONSUMED = "consumed"
    DEAD = "dead"


class Stage(StrEnum):
    """How far the hand-over of a leased message went, written before the step it names.

    `held`: leased, nothing typed. `pasting`: keys may have reached the terminal.
    `injected`: the client holds it in its own queue.
    """

    HELD = "held"
    PASTING = "pasting"
    INJECTED = "injected"


class Receipt(StrEnum):
    """Evidence that a message was taken."""

    INJECTED = "injected"
    CONSUMED = "consumed"


class Kind(StrEnum):
    """A notice reports a dead letter to its sender and never causes another notice."""

    MESSAGE = "message"
    NOTICE = "notice"


class Intelligence(StrEnum):
    """Who answers: an AI agent, a person, or a program."""

    ARTIFICIAL = "artificial"
    NATURAL = "natural"
    ABSENT = "absent"


class WakePolicy(StrEnum):
    """`warm` keeps a session between messages; `ephemeral` gives each task a fresh one."""

    WARM = "warm"
    EPHEMERAL = "ephemeral"
