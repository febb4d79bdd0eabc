"""Control clients that hold a lock file open though nobody wrote down that they do."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from transport.process import ProcessId, identify, run

LSOF_SECONDS: Final = 5.0


def clients_holding(path: Path) -> list[ProcessId]:
    """Return the tmux control clients of this user that have `path` open. Blocking: looks at every process."""
    found = [identify(pid) for pid in _openers(path) if _is_control_client(pid)]
    return [process for process in found if process is not None]


def _openers(path: Path) -> Iterator[int]:
    if not sys.platform.startswith("linux"):
        lsof = shutil.which("lsof") or "/usr/sbin/lsof"
        words = run([lsof, "-t", "--", str(path)], deadline=LSOF_SECONDS).stdout.split()
        yield from (int(word) for word in words if word.isdigit())
        return
    wanted = path.stat()
    for name in os.listdir("/proc"):
        if name.isdigit() and _has_open(f"/proc/{name}/fd", wanted):
            yield int(name)


def _has_open(directory: str, wanted: os.stat_result) -> bool:
    """Tell whether a process has a file open; what ends meanwhile or is not ours has not."""
    try:
        descriptors = os.listdir(directory)
    except OSError:
        return False
    for descriptor in descriptors:
        try:
            status = os.stat(f"{directory}/{descriptor}")  # noqa: PTH116 (thousands of them)
        except OSError:
            continue
        if (status.st_dev, status.st_ino) == (wanted.st_dev, wanted.st_ino):
            return True
    return False


def _is_control_client(pid: int) -> bool:
    if sys.platform.startswith("linux"):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace").split("\0")
        except OSError:
            return False
    else:
        words = run(["/bin/ps", "-o", "command=", "-p", str(pid)], deadline=LSOF_SECONDS).stdout.split()
    return Path(words[0]).name == "tmux" and "-C" in words if words else False
