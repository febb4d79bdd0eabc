"""Where sessions live: outside of the unit of the server, or a restart of that ends them."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from mcp_server.cli.doctor.finding import Finding, some, warning
from mcp_server.cli.doctor.records import live_sessions, server_pid
from transport.paths import Root
from transport.scope import PROC, unit_of


def scopes(root: Root, proc: Path = PROC) -> Iterator[Finding]:
    """No live session is in the cgroup of the service that the server runs in."""
    server = server_pid(root)
    unit = None if server is None else unit_of(server, proc)
    if unit is None or not unit.endswith(".service"):
        return
    inside = [each for each in live_sessions(root) if each.tmux is not None and unit_of(each.tmux.pid, proc) == unit]
    if not inside:
        return
    names = [str(each.identity) for each in inside]
    verb, them = ("is", "it") if len(names) == 1 else ("are", "them")
    text = f"{some(names)} {verb} in {Path(unit).name} with the server: to restart or stop that unit ends {them}"
    name = inside[0].identity.personality
    log = shlex.quote(str(root.logs / "lifecycle.log"))
    mend = f"see why: grep ev=no-scope {log}; peerwake config. When that is mended: peerwake new {name}"
    yield warning("scopes", text, mend)
