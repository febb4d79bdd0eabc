"""The words of `doctor`: what was looked at, how it is, and what mends it."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """`warning`: works, but look at it. `error`: something does not work."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `mend` is the command or the action that helps."""

    level: Level
    subject: str
    text: str
    mend: str | None = None


def ok(subject: str, text: str) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(Level.OK, subject, text)


def warning(subject: str, text: str, mend: str | None = None) -> Finding:
    """Return a finding to look at."""
    return Finding(Level.WARNING, subject, text, mend)


def error(subject: str, text: str, mend: str | None = None) -> Finding:
    """Return a finding that keeps something from working."""
    return Finding(Level.ERROR, subject, text, mend)
