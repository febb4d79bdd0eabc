"""What ends a command early: one line for people, a stable code for programs, an exit code."""

from mcp_server.cli.exits import Exit
from transport.errors import PeerwakeError

REFUSALS = frozenset(
    {
        *("unknown-peer", "self", "undeclared-runtime", "stopped", "crash-looping", "foreign-service", "hop-limit"),
        *("rate-limited", "queue-full", "no-such-message", "not-allowed", "bad-credential", "invalid", "too-large"),
        *("live", "messages-waiting", "already-waking", "no-profile", "corrupt-profile"),
        *("name-taken", "directory-taken", "peers-below", "not-registered", "message-state", "unknown-runtime"),
        "global-settings",
        *("asleep", "already-live", "cannot-resume", "ephemeral", "not-busy", "held", "no-keys"),
    }
)
"""Codes of errors that say: understood, refused, nothing changed."""

UNCERTAIN = frozenset({"spool-uncertain"})
"""Codes of errors that say: it may or may not have happened."""

DEAD_LETTERS = frozenset({"dead-letter"})
"""Codes of errors that say: it was accepted, and given up since."""


class Failure(PeerwakeError):
    """The command ends here with `exit_code`; the text says what to do."""

    code = "error"
    exit_code = Exit.FAILED

    def __init__(self, text: str, code: str | None = None) -> None:
        super().__init__(text)
        self.code = code or self.code


class BadUsage(Failure):
    """The command line cannot be understood; the user corrects it."""

    code = "usage"
    exit_code = Exit.USAGE


class Refused(Failure):
    """The request was understood and refused: nothing was changed."""

    code = "refused"
    exit_code = Exit.REFUSED


class NoServer(Failure):
    """No server answers on this root; the user starts one."""

    code = "no-server"
    exit_code = Exit.NO_SERVER


class Unverified(Failure):
    """The connection broke after the request: it may or may not have been carried out."""

    code = "unverified"
    exit_code = Exit.UNVERIFIED


class GivenUp(Failure):
    """The message was accepted and has been given up; it is kept, and repeating the send changes nothing."""

    code = "dead-letter"
    exit_code = Exit.GIVEN_UP


def failure(code: str, message: str) -> Failure:
    """Return the exception for an error with a code, wherever it was raised; an unknown code is a fault."""
    if code in REFUSALS:
        return Refused(message, code)
    if code in UNCERTAIN:
        return Unverified(message, code)
    if code in DEAD_LETTERS:
        return GivenUp(message, code)
    return Failure(message, code)
