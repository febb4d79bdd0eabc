"""What processes that died in the middle of `files.write_atomic` or of binding a socket left half-made."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_MADE_BY: Final = re.compile(r"\.(?:.+\.)?(?P<pid>[1-9][0-9]{0,9})\.(?:[0-9a-f]{8}\.tmp|s)")


def clear_leftovers(directories: Iterable[Path]) -> int:
    """Remove what no living process will finish, from these directories alone; returns how many. Blocking."""
    return sum(_clear(directory) for directory in directories)


def _clear(directory: Path) -> int:
    try:
        names = os.listdir(directory)
    except OSError:
        return 0
    count = 0
    for name in names:
        made_by = _MADE_BY.fullmatch(name) if name.startswith(".") else None
        if made_by is None or _is_there(int(made_by["pid"])):
            continue
        try:
            (directory / name).unlink()
            count += 1
        except OSError:
            continue
    return count


def _is_there(pid: int) -> bool:
    """Tell whether some process has this pid: then the file may be in use, and the next look decides."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
