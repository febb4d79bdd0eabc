"""A mark on every process of a session that none of them can take off: a hard limit that Linux has no use for.

RLIMIT_LOCKS (10 in `linux/resource.h`) has been without effect since Linux 2.4.25. A hard limit is inherited, kept over
exec, and raised only with CAP_SYS_RESOURCE.
"""

import sys
import zlib
from pathlib import Path
from typing import Final

LIMIT: Final = 10
BASE: Final = 1 << 48
NAME: Final = "Max file locks"


def brand(home: Path) -> int:
    """Return the mark of the sessions of one root, by whatever path it is named."""
    return BASE | zlib.crc32(bytes(home.resolve()))


def hard_limit(pid: int) -> int | None:
    """Return this hard limit of a process; None where there is none, the process is gone, or this is not Linux.

    It is 0, which no process outside of sessions has, where nobody can tell.
    """
    if not sys.platform.startswith("linux"):
        return None
    import resource

    try:
        _, hard = resource.prlimit(pid, LIMIT)
    except ProcessLookupError:
        return None
    except OSError:
        return _listed(pid)
    return hard if hard >= 0 else None


def is_marked(limit: int | None, mark: int, usual: int | None) -> bool:
    """Tell whether a process with this hard limit comes from a session of the root with this mark.

    What was inherited can be lowered and never raised, so every lower limit counts as the mark, except the
    one that is `usual` outside of sessions.
    """
    return limit is not None and (limit == mark or (limit < mark and limit != usual))


def _listed(pid: int) -> int | None:
    """Read the limit from what everybody may read, also of a process of the same user in another group."""
    try:
        for line in Path(f"/proc/{pid}/limits").read_text("utf-8").splitlines():
            if line.startswith(NAME):
                hard = line.removeprefix(NAME).split()[1]
                return None if hard == "unlimited" else int(hard)
    except (OSError, ValueError, IndexError):
        pass
    return 0
