"""Flag files: one fact about one identity, set and read by any process of the host."""

from enum import StrEnum

from transport.files import sync_directory, write_atomic
from transport.identity import Identity
from transport.paths import Root


class Flag(StrEnum):
    """The flags; a file's presence is the fact, its text only explains."""

    STOPPED = "stopped"
    NEW = "new"
    FAILED = "failed"
    ARMED = "armed"


class Flags:
    """The flag files of one root."""

    def __init__(self, root: Root) -> None:
        self._root = root

    def is_set(self, identity: Identity, flag: Flag) -> bool:
        """Tell whether the flag file exists, whatever it contains."""
        return self._root.flag(identity, flag).exists()

    def text(self, identity: Identity, flag: Flag) -> str:
        """Return the explanation in a flag file, empty when there is none or it is unreadable."""
        try:
            return self._root.flag(identity, flag).read_text("utf-8", "replace")[:500].strip()
        except OSError:
            return ""

    def set(self, identity: Identity, flag: Flag, text: str = "") -> None:
        """Set a flag durably."""
        write_atomic(self._root.flag(identity, flag), text + "\n")

    def clear(self, identity: Identity, flag: Flag) -> bool:
        """Clear a flag durably; tells whether it was set."""
        try:
            self._root.flag(identity, flag).unlink()
        except FileNotFoundError:
            return False
        sync_directory(self._root.state)
        return True
