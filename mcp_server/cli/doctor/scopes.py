"""Where sessions live: outside of the unit of the server, or a restart of that ends them."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lifecycle.session import Session, Sessions, SessionUnreadable
from mcp_server.cli.doctor.finding import Finding, warning
from transport.paths import Root
from transport.scope import PROC, unit_of

SHOWN: Final = 3


def scopes(root: Root, proc: Path = PROC) -> Iterator[Finding]:
    """No live session is in the cgroup of the service that the server runs in."""
    server = _server(root)
    unit = None if server is None else unit_of(server, proc)
    if unit is None or not unit.endswith(".service"):
        return
    inside = [each for each in _live(root) if each.tmux is not None and unit_of(each.tmux.pid, proc) == unit]
    if not inside:
        return
    names = [str(each.identity) for each in inside]
    some = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    verb, them = ("is", "it") if len(names) == 1 else ("are", "them")
    text = f"{some} {verb} in {Path(unit).name} with the server: to restart or stop that unit ends {them}"
    name = inside[0].identity.personality
    log = shlex.quote(str(root.logs / "lifecycle.log"))
    mend = f"see why: grep ev=no-scope {log}; peerwake config. When that is mended: peerwake new {name}"
    yield warning("scopes", text, mend)


def _server(root: Root) -> int | None:
    try:
        return int(json.loads(root.discovery.read_text("utf-8"))["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _live(root: Root) -> Iterator[Session]:
    sessions = Sessions(root)
    for identity in sessions.identities() if root.state.is_dir() else ():
        try:
            session = sessions.live(identity)
        except SessionUnreadable:
            continue
        if session is not None:
            yield session
