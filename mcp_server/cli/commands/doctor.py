"""`peerwake doctor`: look at everything, change nothing, and name what mends each finding."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from mcp_server.cli import tables
from mcp_server.cli.context import Context
from mcp_server.cli.doctor import canary, places, programs, stores
from mcp_server.cli.doctor.finding import Finding, Level, error
from mcp_server.cli.doctor.server import server
from mcp_server.cli.parser import Parser
from transport.paths import Root

Check = Callable[[], Iterable[Finding]]
EXIT = {Level.OK: 0, Level.WARNING: 1, Level.ERROR: 2}


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
    findings = [finding for name, check in checks(context).items() for finding in findings_of(name, check)]
    if given.json:
        whose = tables.whose(context)
        tables.document(context, {"findings": [whose | asdict(finding) for finding in findings], **whose})
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
        "tmux": lambda: programs.tmux(),
        "clients": lambda: programs.runtimes(root),
        "registry": lambda: stores.registry(root),
        "spool": lambda: stores.spool(root),
        "peers": lambda: stores.flags(root),
        "leftovers": lambda: stores.leftovers(root),
        "canary": lambda: canary.watcher(root),
        "logs": lambda: places.logs(root),
    }


def findings_of(name: str, check: Check) -> list[Finding]:
    """Return the findings of one check; a check that fails is itself a finding, the others go on."""
    found: list[Finding] = []
    try:
        found.extend(check())
    except Exception as problem:  # the boundary of one check: a broken root must not end the report
        found.append(error(name, f"cannot be checked: {type(problem).__name__}: {problem}"))
    return found


def show(context: Context, findings: list[Finding]) -> None:
    """Print one line for each finding, and under it what mends it."""
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        level = tables.paint(context, finding.level, f"{finding.level:<7}")
        context.say(f"{level}  {finding.subject:<{width}}  {tables.escape(finding.text)}")
        if finding.mend:
            context.say(f"{'':<{width + 9}}  → {tables.escape(finding.mend)}")
