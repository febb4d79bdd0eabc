"""`peerwake doctor`: look at everything, change nothing, and name what mends each finding."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

from mcp_server.cli import tables
from mcp_server.cli.context import Context
from mcp_server.cli.doctor import canary, clock, mcp, places, programs, scopes, stores
from mcp_server.cli.doctor.finding import Finding, Level, error
from mcp_server.cli.doctor.server import server
from mcp_server.cli.parser import Parser
from transport.paths import Root

Check = Callable[[], Iterable[Finding]]
CHECK_SECONDS: Final = 20.0
EXIT: Final = {Level.OK: 0, Level.WARNING: 1, Level.ERROR: 2}


def parser() -> Parser:
    """Return the command line of `doctor`."""
    line = Parser(
        "doctor",
        "Check the server, the root, tmux, the clients and the files; change nothing.",
        epilog="exit codes: 0 nothing found, 1 warnings, 2 errors",
    )
    line.add_argument("--json", action="store_true", help="print one JSON document")
    return line


def run(context: Context, argv: list[str]) -> int:
    """Print every finding with what mends it; returns 0, 1 for warnings, 2 for errors."""
    given = parser().read(argv)
    context.wants_json = given.json
    findings = gathered(checks(context))
    if given.json:
        whose = tables.whose(context)
        rows = [whose | asdict(finding) | {"matters": finding.matters} for finding in findings]
        tables.document(context, {"findings": rows, **whose})
    else:
        show(context, findings)
    return max(EXIT[finding.level] for finding in findings)


def checks(context: Context) -> dict[str, Check]:
    """Return what is looked at, in the order of the report."""
    root = Root(Path(context.home))
    return {
        "root": lambda: places.root_directory(root),
        "sockets": lambda: places.socket_paths(root),
        "disk": lambda: places.space(root),
        "modes": lambda: places.secret_modes(root),
        "settings": lambda: stores.configuration(root, context.environ),
        "server": lambda: server(context, root),
        "clock": lambda: clock.clock(context, root),
        "tmux": lambda: programs.tmux(),
        "clients": lambda: programs.runtimes(root),
        "registry": lambda: stores.registry(root),
        "changes": lambda: stores.changes(root),
        "mcp": lambda: mcp.configurations(context, root),
        "spool": lambda: stores.spool(root),
        "peers": lambda: stores.flags(root),
        "scopes": lambda: scopes.scopes(root),
        "leftovers": lambda: stores.leftovers(root),
        "canary": lambda: canary.watcher(root),
        "logs": lambda: places.logs(root),
    }


def gathered(todo: Mapping[str, Check], seconds: float = CHECK_SECONDS) -> list[Finding]:
    """Return the findings of all checks in their order; each has so many seconds, and they run at once."""
    found: dict[str, list[Finding]] = {}
    threads = {
        name: threading.Thread(
            target=lambda name=name, check=check: found.update({name: findings_of(name, check)}), daemon=True
        )
        for name, check in todo.items()
    }
    for thread in threads.values():
        thread.start()
    until = time.monotonic() + seconds
    for thread in threads.values():
        thread.join(max(0.0, until - time.monotonic()))
    late = f"gave no answer in {seconds:g} s: a disk or a program hangs"
    return [each for name in todo for each in found.get(name, [error(name, late, "look again; df -h; uptime")])]


def findings_of(name: str, check: Check) -> list[Finding]:
    """Return the findings of one check; a check that fails is itself a finding, the others go on."""
    found: list[Finding] = []
    try:
        found.extend(check())
    except Exception as problem:  # the boundary of one check: a broken root must not end the report
        found.append(error(name, f"cannot be checked: {type(problem).__name__}: {problem}"))
    return found


def show(context: Context, findings: list[Finding]) -> None:
    """Print one line for each finding, and under it why it matters and what mends it."""
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        level = tables.paint(context, finding.level, f"{finding.level:<7}")
        context.say(f"{level}  {finding.subject:<{width}}  {tables.escape(finding.text)}")
        for sign, words in (("·", finding.matters), ("→", finding.mend)):
            if words:
                context.say(f"{'':<{width + 9}}  {sign} {tables.escape(words)}")
