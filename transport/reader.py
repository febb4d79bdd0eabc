"""Whether the program at a terminal has read what was typed there."""

import array
import fcntl
import os
import termios
from pathlib import Path
from typing import Final

from transport.process import DeadlinePassed, ProcessUnknown, foreground, group, thread_states

ASLEEP: Final = frozenset("SI")


def waits_for_input(pid: int, tty: Path) -> bool:
    """Tell whether nothing typed at `tty` is unread and all who may read it are asleep; what is unknown is False.

    `pid` is a process of that terminal. One that is stopped, swapped in or at work has perhaps read what
    it has not dealt with. Blocks.
    """
    try:
        leader = foreground(pid)
        if leader is None or _unread(tty) != 0:
            return False
        states = [state for process in group(leader) for state in thread_states(process.pid)]
    except (ProcessUnknown, DeadlinePassed):
        return False
    return bool(states) and set(states) <= ASLEEP and _unread(tty) == 0


def _unread(tty: Path) -> int | None:
    """Return how many bytes wait in a terminal for its reader, None when that cannot be told."""
    count = array.array("i", [0])
    try:
        descriptor = os.open(tty, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, termios.FIONREAD, count)
        finally:
            os.close(descriptor)
    except OSError:
        return None
    return count[0]
