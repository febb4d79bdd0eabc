"""Flag files: one fact about one identity, set and read by any process of the host."""

import os
from enum import StrEnum
from typing import Final

from transport.errors import PeerwakeError
from transport.files import read_regular, sync_directory, write_atomic
from transport.identity import Identity
from transport.message import CONTROLS
from transport.paths import Root

TEXT_BYTES: Final = 1 << 16
SHOWN: Final = 500


class FlagUnusable(PeerwakeError):
    """A flag could not be set or cleared; the user mends what the text names and repeats."""

    code = "flag-unusable"


class Flag(StrEnum):
    """The flags; a file's presence is the fact, its text only explains."""

    STOPPED = "stopped"
    NEW = "new"
    REFRESH = "refresh"
    FAILED = "failed"
    ARMED = "armed"
    REPEATED = "repeated"


class Flags:
    """The flag files of one root."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._prefix = f"{root.state}{os.sep}"

    def is_set(self, identity: Identity, flag: Flag) -> bool:
        """Tell whether the flag file exists, whatever it contains; while nobody can tell, it may, and counts as set."""
        try:
            os.lstat(f"{self._prefix}{identity}.{flag}")  # asked twice for each message
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    def set_at(self, identity: Identity, flag: Flag) -> float | None:
        """Return when a flag was written (wall seconds of the file system), None when it is not set."""
        try:
            return self._root.flag(identity, flag).lstat().st_mtime
        except OSError:
            return None

    def mark(self, identity: Identity, flag: Flag) -> str | None:
        """Return what tells a flag from one that is set anew, None when it is not set."""
        try:
            status = self._root.flag(identity, flag).lstat()
        except OSError:
            return None
        return f"{status.st_ino} {status.st_mtime_ns} {status.st_size}"

    def text(self, identity: Identity, flag: Flag) -> str:
        """Return the explanation in a flag file as one plain line, empty when there is none or it is unreadable."""
        try:
            data, _ = read_regular(self._root.flag(identity, flag), limit=TEXT_BYTES)
        except OSError:
            return ""
        return " ".join(CONTROLS.sub(" ", data.decode("utf-8", "replace")).split())[:SHOWN]

    def set(self, identity: Identity, flag: Flag, text: str = "") -> None:
        """Set a flag durably; raises FlagUnusable. One without a text needs no room on the disk."""
        path = self._root.flag(identity, flag)
        try:
            write_atomic(path, f"{text}\n".encode("utf-8", "replace") if text else b"")
        except OSError as error:
            raise FlagUnusable(f"{path} cannot be written: {error.strerror}; mend that and repeat") from error

    def clear(self, identity: Identity, flag: Flag) -> bool:
        """Clear a flag durably; tells whether it was set. Raises FlagUnusable."""
        path = self._root.flag(identity, flag)
        try:
            path.unlink()
            sync_directory(self._root.state)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise FlagUnusable(f"{path} cannot be removed: {error.strerror}; remove it and repeat") from error
        return True
