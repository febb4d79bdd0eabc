"""On what the figures were measured."""

import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from transport.errors import PeerwakeError
from transport.process import run

TOP: Final = Path(__file__).parent.parent


def describe() -> str:
    """Return cores, memory, kernel, Python, tmux, commit and date in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    version = ".".join(map(str, sys.version_info[:3]))
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}, Python {version},"
        f" {_first_line('tmux', '-V')}, commit {_commit()}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    )


def _commit() -> str:
    commit = _first_line("git", "-C", str(TOP), "rev-parse", "--short", "HEAD")
    changed = _first_line("git", "-C", str(TOP), "status", "--porcelain", "--untracked-files=no")
    return f"{commit} with changes" if changed not in ("", "unknown") else commit


def _first_line(*argv: str) -> str:
    try:
        done = run(argv, deadline=10)
    except PeerwakeError:
        return "unknown"
    return done.stdout.partition("\n")[0] if done.status == 0 else "unknown"
