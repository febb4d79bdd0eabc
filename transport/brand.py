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


def brand(home: Path) -> int:
    """Return the mark of the sessions of one root, by whatever path it is named."""
    return BASE | zlib.crc32(bytes(home.resolve()))


def brand_of(pid: int) -> int | None:
    """Return the mark of a process, None where there is none, it is gone, or this is not Linux."""
    if not sys.platform.startswith("linux"):
        return None
    import resource

    try:
        _, hard = resource.prlimit(pid, LIMIT)
    except OSError:
        return None
    return hard if hard & BASE and hard > 0 else None
