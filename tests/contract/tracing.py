"""Whether the system calls of a server can be looked at here."""

import os
import sys

from transport.process import ProgramMissing, run


def can_trace() -> bool:
    """Tell whether there is an strace that may trace a process of its own."""
    try:
        return (
            sys.platform == "linux" and run(["strace", "-D", "-qq", "-o", os.devnull, "true"], deadline=10).status == 0
        )
    except ProgramMissing:
        return False
