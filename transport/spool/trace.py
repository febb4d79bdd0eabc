"""Whether a file may have been written since the last look, told by its time stamp: no thread, no lock, no read."""

import os
import time
from pathlib import Path
from typing import Final

SETTLED_NS: Final = 10_000_000_000


class Trace:
    """The last look at one file.

    A commit shows to readers a while after its last write to the file, and two writes within the grain
    of a time stamp look like one: only a file left alone for ten seconds is believed to be unchanged.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._seen: tuple[int, int, int] | None = None

    def forget(self) -> None:
        """Let the next look tell that the file may have changed: nobody has made use of this one."""
        self._seen = None

    def may_have_changed(self) -> bool:
        """Tell whether the file was written since the last look, or so lately that nobody knows."""
        try:
            status = os.stat(self._path)  # noqa: PTH116 (asked four times a second)
        except OSError:
            return True
        now = (status.st_mtime_ns, status.st_size, status.st_ino)
        if now == self._seen:
            return False
        self._seen = now if time.time_ns() - status.st_mtime_ns > SETTLED_NS else None
        return True
