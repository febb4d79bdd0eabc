"""The canary: it runs when there is something to watch, and every death it saw is written down."""

import os
import shlex
import time
from collections.abc import Iterator
from typing import Final

from lifecycle import canary
from mcp_server.cli.doctor.finding import Finding, ok, warning
from mcp_server.cli.doctor.records import live_sessions
from mcp_server.cli.logfiles import LogReader
from transport.paths import Root
from transport.process import ProcessId

PATIENCE_SECONDS: Final = 5.0
NOTICE_SECONDS: Final = 1.0
DAY_SECONDS: Final = 86_400.0
KEPT_SNAPSHOTS: Final = 100


def watcher(root: Root) -> Iterator[Finding]:
    """Live sessions are watched, and no death waits for its line."""
    live = sum(1 for _ in live_sessions(root))
    if live and not canary.is_running(root):
        many = "session is" if live == 1 else "sessions are"
        text = f"{live} live {many} not watched: the death of a tmux server would go unexplained"
        yield warning("canary", text, "peerwake serve --background (a running server starts it within a minute)")
    elif live:
        yield ok("canary", f"watches {live} {'session' if live == 1 else 'sessions'}")
    unwritten = [path for path in _claims(root) if time.time() - path.stat().st_mtime > PATIENCE_SECONDS]
    if unwritten:
        text = f"{len(unwritten)} deaths of tmux servers could not be written to {root.logs / 'exits.log'}"
        yield warning("canary", text, f"check the disk and the file: ls -l {root.logs}; df -h {root.logs}")
    if _unnoticed(root):
        time.sleep(NOTICE_SECONDS)
        if stuck := _unnoticed(root):
            text = f"{stuck[0]} is dead and nobody noticed: the watcher is stopped, or there is none"
            mend = (
                f"pgrep -fa {shlex.quote(f'watcher.py {root.home}')}; kill it (a server starts another), or start one"
            )
            yield warning("canary", text, mend)
    yield from _deaths(root)


def _unnoticed(root: Root) -> list[str]:
    """Return the watched servers that are dead, and whose death nobody has accounted for."""
    found = []
    for path in canary.watches(root):
        try:
            pid, started = path.read_text("utf-8").split("\n")[:2]
            if not ProcessId(int(pid), started).is_alive():
                found.append(path.name)
        except (OSError, ValueError):
            continue
    return found


def _deaths(root: Root) -> Iterator[Finding]:
    """Count the deaths of the last day, and the snapshots that they name and that are not there."""
    now = time.time()
    with LogReader(str(root.home), ("exits",), containing=" ev=server-exit ") as reader:
        recent = [line for line in reader.everything() if line.at > now - DAY_SECONDS]
    if recent:
        yield ok("deaths", f"{len(recent)} of a tmux server in the last day; see: peerwake logs --since 1d")
    # Of the newest only: older ones are removed on purpose.
    named = [line for line in recent[-KEPT_SNAPSHOTS:] if line.at < now - PATIENCE_SECONDS]
    files = [line.fields.get("forensics", "none") for line in named]
    lost = [name for name in files if name != "none" and not (root.logs / name).exists()]
    if lost:
        text = f"{len(lost)} snapshots of deaths could not be written, the last is {lost[-1]}"
        yield warning("canary", text, f"check the disk: df -h {shlex.quote(str(root.logs))}")


def _claims(root: Root) -> "Iterator[os.DirEntry[str]]":
    try:
        return (entry for entry in os.scandir(canary.directory(root)) if entry.name.startswith(".claimed-"))
    except FileNotFoundError:
        return iter(())
