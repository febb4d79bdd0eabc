"""Which tmux there is, and whether it is new enough."""

import re
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Final

from transport.errors import PeerwakeError
from transport.process import run
from transport.tmux import commands

OLDEST: Final = (3, 2)
TERMINFO: Final = ("/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo", "/usr/lib/terminfo")


class TmuxMissing(PeerwakeError):
    """tmux is not installed; the user installs it."""

    code = "tmux-missing"


class TmuxTooOld(PeerwakeError):
    """The installed tmux lacks what we need; the user upgrades it."""

    code = "tmux-too-old"


def find_tmux(search_path: str | None = None) -> str:
    """Return the absolute path of a tmux that is new enough, asked once per installed file.

    `search_path` is a PATH, by default that of this process. Raises TmuxMissing, TmuxTooOld.
    """
    path = shutil.which("tmux", path=search_path)
    if path is None:
        raise TmuxMissing(
            "tmux is not installed or not in PATH; install it (Debian: apt install tmux, macOS: brew install tmux)"
        )
    version(path)
    return path


def version(path: str) -> tuple[int, int]:
    """Return the version of this tmux, (99, 0) for a development build; raises TmuxMissing, TmuxTooOld."""
    try:
        return _version(path, Path(path).stat().st_mtime_ns)
    except OSError as error:
        raise TmuxMissing(f"{path} cannot be used: {error.strerror}; install tmux") from error


@lru_cache(maxsize=16)
def _version(path: str, mtime: int) -> tuple[int, int]:
    text = run(commands.version_query(path), deadline=10).stdout.strip()
    found = re.search(r"(\d+)\.(\d+)", text)
    if found is None or "openbsd" in text:
        return (99, 0)
    known = (int(found[1]), int(found[2]))
    if known < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise TmuxTooOld(f"{path} is {text}; peerwake needs tmux {wanted} or newer, please upgrade it")
    return known


def terminal_name() -> str:
    """Return the TERM for panes: `tmux-256color` where this machine describes it."""
    for name in ("tmux-256color", "screen-256color"):
        for directory in (*TERMINFO, str(Path.home() / ".terminfo")):
            if any((Path(directory) / letter / name).exists() for letter in (name[0], f"{ord(name[0]):x}")):
                return name
    return "screen"
