"""What somebody may put in the place of a server's log."""

import os
from pathlib import Path
from typing import Final

KINDS: Final = ("link", "pipe", "directory")


def take_place_of(log: Path, kind: str) -> Path:
    """Put something else where a log is to be, and return the file that a link there names."""
    target = log.with_name("target")
    target.write_text("mine")
    match kind:
        case "link":
            log.symlink_to(target)
        case "pipe":
            os.mkfifo(log)
        case _:
            log.mkdir()
    return target
