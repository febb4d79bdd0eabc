"""The canary: it runs when there is something to watch, and every death it saw is written down."""

import os
import time
from collections.abc import Iterator
from typing import Final

from lifecycle import canary
from lifecycle.session import Sessions, SessionUnreadable
from mcp_server.cli.doctor.finding import Finding, ok, warning
from mcp_server.cli.logfiles import LogReader
from transport.paths import Root

PATIENCE_SECONDS: Final = 5.0
DAY_SECONDS: Final = 86_400.0


def watcher(root: Root) -> Iterator[Finding]:
    """Live sessions are watched, and no death waits for its line."""
    live = _live(root)
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
    since = time.time() - DAY_SECONDS
    recent = [line for line in LogReader(str(root.home), ("exits",)).everything() if line.at > since]
    servers = sum(line.fields.get("ev") == "server-exit" for line in recent)
    if servers:
        yield ok("deaths", f"{servers} of a tmux server in the last day; see: peerwake logs --since 1d")


def _live(root: Root) -> int:
    sessions, count = Sessions(root), 0
    if not root.state.is_dir():
        return 0
    for identity in sessions.identities():
        try:
            count += sessions.live(identity) is not None
        except SessionUnreadable:
            continue
    return count


def _claims(root: Root) -> "Iterator[os.DirEntry[str]]":
    try:
        return (entry for entry in os.scandir(canary.directory(root)) if entry.name.startswith(".claimed-"))
    except FileNotFoundError:
        return iter(())
