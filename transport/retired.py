"""Names whose peers were removed or renamed: each of them ends the credentials that were made until then."""

import os
from pathlib import Path
from typing import Final

from transport.files import append_line, fsync, read_regular

FILE: Final = "retired"
LIMIT: Final = 16 << 20


class Retired:
    """One name a line, in a file that only grows; read again when it has changed. All methods may raise OSError."""

    def __init__(self, home: Path) -> None:
        self._path = home / FILE
        self._seen: tuple[int, int, int] | None = None
        self._counts: dict[str, int] = {}

    def count(self, name: str) -> int:
        """Return how many peers of this name are gone."""
        try:
            status = os.lstat(self._path)
        except FileNotFoundError:
            return 0
        seen = (status.st_ino, status.st_size, status.st_mtime_ns)
        if seen != self._seen:
            data, _ = read_regular(self._path, follow=False, limit=LIMIT)
            self._counts.clear()
            for line in data.decode("utf-8", "replace").split():
                self._counts[line] = self._counts.get(line, 0) + 1
            self._seen = seen
        return self._counts.get(name, 0)

    def add(self, name: str) -> None:
        """End the credentials of a name, durably; repeating it ends those made in between."""
        append_line(self._path, name, mend=True)
        descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fsync(descriptor)
        finally:
            os.close(descriptor)
