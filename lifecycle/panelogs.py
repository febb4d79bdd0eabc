"""The pane logs' budget: rotated in place, old ones removed, never one that is being written to."""

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from transport.identity import Identity
from transport.paths import Root

ROTATE_BYTES: Final = 4 << 20
BUDGET_BYTES: Final = 256 << 20
AGE_SECONDS: Final = 14 * 86_400.0
FORMER: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True, slots=True)
class PaneLogs:
    """Keeps `logs/panes` small; sizes in bytes, ages in seconds."""

    root: Root
    rotate_bytes: int = ROTATE_BYTES
    budget_bytes: int = BUDGET_BYTES
    age_seconds: float = AGE_SECONDS

    def trim(self, live: Collection[Identity], now: float) -> int:
        """Rotate what is written to, remove what is too old or too much; returns how many files failed. Blocking."""
        written = {str(self.root.pane_log(identity)) for identity in live}
        failures = self.rotate(live)
        kept = sorted(self._files())
        total = sum(size for _, size, _ in kept)
        for at, size, path in kept:
            if path not in written and (now - at > self.age_seconds or total > self.budget_bytes):
                total -= size
                failures += not _remove(path)
        return failures

    def rotate(self, live: Collection[Identity]) -> int:
        """Rotate what is written to and full; returns how many files failed. Blocking."""
        return sum(not self._rotate(self.root.pane_log(identity)) for identity in live)

    def _files(self) -> Iterator[tuple[float, int, str]]:
        """Yield when each log was written to, its size and its path."""
        with suppress(OSError), os.scandir(self.root.logs / "panes") as entries:
            for entry in entries:
                if ".log" in entry.name:
                    try:
                        status = entry.stat()
                    except OSError:
                        continue
                    yield status.st_mtime, status.st_size, entry.path

    def _rotate(self, path: Path) -> bool:
        """Move the content aside and empty the file itself: its writer appends and goes on."""
        try:
            if path.lstat().st_size < self.rotate_bytes:
                return True
            with _opened(path, os.O_RDWR) as source, _opened(path.with_name(f"{path.name}.1"), FORMER) as target:
                shutil.copyfileobj(source, target)
                source.truncate(0)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True


def _opened(path: Path, flags: int) -> BinaryIO:
    """Open a file of ours, never what a link in its place leads to; raises OSError."""
    return os.fdopen(os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600), "rb+" if flags == os.O_RDWR else "wb")


def _remove(path: str) -> bool:
    try:
        os.unlink(path)  # noqa: PTH108 (thousands of them)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
