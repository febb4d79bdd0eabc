"""The words of `doctor`: what was looked at, how it is, why that matters, and what mends it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Level(StrEnum):
    """`warning`: works, but look at it. `error`: something does not work."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


MATTERS: Final[Mapping[str, str]] = {
    "root": "nothing can be stored or delivered without a root that is yours alone",
    "sockets": "a session whose socket path is too long cannot be started",
    "disk": "a message that cannot be written is refused, and logs have gaps",
    "modes": "who can read these files can read messages, or act in a peer's name",
    "secret": "without its key no session and no client can prove who it is",
    "settings": "the server does not start with settings it cannot use",
    "server": "without a server messages wait, and nobody is woken",
    "port": "clients over HTTP do not reach this server, and may give their credential to whoever listens there",
    "supervisor": "without a supervisor messages wait, and nobody is woken",
    "tmux": "every agent lives in tmux",
    "clients": "a peer is woken by starting its client, and its screen is read by rules for known versions",
    "runtimes": "a peer of this runtime cannot be woken",
    "registry": "a peer that is not registered cannot be found by its name",
    "changes": "until it is finished or undone, neither name can be relied on",
    "spool": "the queue of every peer is in this file",
    "dead letters": "these messages did not arrive; their senders were told",
    "peers": "nobody wakes this peer until somebody says start",
    "sessions": "a session without a readable record is neither used nor ended",
    "scopes": "a session is to outlive its server, whatever happens to that",
    "leftovers": "it is in the way of the next session, or uses memory for nothing",
    "canary": "the death of a tmux server would leave no cause behind",
    "clock": "times in logs, and what expires by time, are not what they seem",
    "logs": "what happened while lines are missing cannot be told afterwards",
    "mcp": "an agent whose client does not reach this server can neither send nor list peers",
}
"""Why a finding of a subject matters, said once."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `mend` is the command or the action that helps."""

    level: Level
    subject: str
    text: str
    mend: str | None = None

    @property
    def matters(self) -> str | None:
        """Why it matters, None when all is well."""
        return None if self.level is Level.OK else MATTERS.get(self.subject)


def ok(subject: str, text: str) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(Level.OK, subject, text)


def warning(subject: str, text: str, mend: str | None = None) -> Finding:
    """Return a finding to look at."""
    return Finding(Level.WARNING, subject, text, mend)


def error(subject: str, text: str, mend: str | None = None) -> Finding:
    """Return a finding that keeps something from working."""
    return Finding(Level.ERROR, subject, text, mend)


def some(names: list[str]) -> str:
    """Return the first three of some names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
