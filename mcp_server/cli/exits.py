"""The exit codes of `peerwake`, one meaning each (docs/cli.md)."""

from enum import IntEnum


class Exit(IntEnum):
    """What a script learns from `$?`."""

    OK = 0
    FAILED = 1
    USAGE = 2
    QUEUED = 3
    REFUSED = 4
    UNVERIFIED = 5
    NO_SERVER = 6
    GIVEN_UP = 7
    INTERRUPTED = 130
    PIPE_CLOSED = 141
