"""The clock of this machine: whether it jumped since the server started, and files that are from the future."""

import json
import os
import shlex
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from mcp_server.cli.context import Context
from mcp_server.cli.control import ask
from mcp_server.cli.doctor.finding import Finding, ok, warning
from mcp_server.cli.failures import Failure
from transport.paths import Root

TOLERANCE_SECONDS: Final = 5.0
STATUS_SECONDS: Final = 3.0
MEND: Final = "see that the clock is set by the network: timedatectl (Linux), sntp -d time.apple.com (macOS)"


def clock(context: Context, root: Root) -> Iterator[Finding]:
    """The wall clock went on with the monotonic one, and no file of ours is from the future."""
    found = [*_jump(context, root), *_future(root)]
    yield from found or [ok("clock", "steady")]


def _jump(context: Context, root: Root) -> Iterator[Finding]:
    try:
        started = datetime.fromisoformat(json.loads(root.discovery.read_text("utf-8"))["started_at"]).timestamp()
        asked = time.time()
        uptime = float(ask(context, "status", seconds=STATUS_SECONDS)["uptime_seconds"])
    except (Failure, OSError, ValueError, KeyError, TypeError):
        return  # without a server there is nothing to compare; that it is missing is said elsewhere
    # The answer was right at some moment between the question and now: a slow one is no jump.
    behind = started + uptime - time.time()
    ahead = asked - started - uptime
    if behind > TOLERANCE_SECONDS:
        yield warning("clock", f"it was set back by {behind:.0f} s since the server started", MEND)
    elif ahead - _asleep() > TOLERANCE_SECONDS:
        yield warning("clock", f"it jumped ahead by {ahead:.0f} s since the server started", MEND)


def _asleep() -> float:
    """Return how long this machine was suspended since it was started, 0 where that is not told."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


def _future(root: Root) -> Iterator[Finding]:
    now = time.time() + TOLERANCE_SECONDS
    late = [path for place in (root.state, root.logs) for path, at in _times(place) if at > now]
    if late:
        some = f"{late[0]} and {len(late) - 1} more have" if len(late) > 1 else f"{late[0]} has"
        yield warning("clock", f"{some} a time in the future", f"date; ls -l {shlex.quote(str(late[0]))}")


def _times(directory: Path) -> Iterator[tuple[Path, float]]:
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        try:
            yield Path(entry.path), entry.stat(follow_symlinks=False).st_mtime
        except OSError:
            continue
