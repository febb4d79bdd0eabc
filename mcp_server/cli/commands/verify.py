"""`peerwake verify`: whether registry, entries and profiles say the same, and with --fix that they do."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from lifecycle.journal import Journal, JournalUnusable
from mcp_server.cli import tables
from mcp_server.cli.context import Context
from mcp_server.cli.exits import Exit
from mcp_server.cli.parser import Parser
from transport.errors import PeerwakeError
from transport.paths import Root
from transport.registry import Rebuilt, Registry
from transport.verify import Problem, ProblemKind


def parser() -> Parser:
    """Return the command line of `verify`."""
    line = Parser(
        "verify",
        "Compare the registry with the peers' profiles.",
        epilog="exit codes: 0 all agree, 1 problems remain. A damaged profile is never overwritten.",
    )
    line.add_argument("--fix", action="store_true", help="rebuild the registry from the profiles")
    line.add_argument("--json", action="store_true", help="print one JSON document")
    return line


def run(context: Context, argv: list[str]) -> int:
    """Rebuild if asked to, then report every disagreement that is left."""
    given = parser().read(argv)
    context.wants_json = given.json
    root = Root(Path(context.home))
    if given.fix:
        root.prepare()
        finish(context, root)
    registry = Registry(root)
    rebuilt = registry.rebuild() if given.fix else None
    problems = (*unfinished(root), *registry.verify())
    if given.json:
        whose = tables.whose(context)
        shown = [{**whose, **asdict(problem)} for problem in problems]
        tables.document(context, {"problems": shown, "rebuilt": _rebuilt(rebuilt), **whose})
    else:
        if rebuilt is not None:
            _show_rebuilt(context, rebuilt)
        for problem in problems:
            context.say(tables.escape(problem.text))
        if not problems:
            context.say(f"{count(len(registry.names()))}, registry and profiles agree")
        elif not given.fix:
            context.say("mend it with: peerwake verify --fix")
    return Exit.FAILED if problems else Exit.OK


def finish(context: Context, root: Root) -> None:
    """Finish a removal or a rename that was cut off, unless a running server is about to."""
    if not list(unfinished(root)):
        return
    from mcp_server.cli.offline_changes import OfflineChanges

    try:
        OfflineChanges(context).finish()
    except PeerwakeError as error:
        context.note(tables.escape(error))


def unfinished(root: Root) -> Iterator[Problem]:
    """Yield the removal or the rename that was cut off, if there is one."""
    try:
        change = Journal(root).load()
    except JournalUnusable as error:
        yield Problem(ProblemKind.UNFINISHED, "", str(error))
        return
    if change is not None:
        yield Problem(ProblemKind.UNFINISHED, change.name, f"{change} was cut off and is not finished")


def count(peers: int) -> str:
    """Return a number of peers in words."""
    return f"{peers} peer{'' if peers == 1 else 's'}"


def _rebuilt(rebuilt: Rebuilt | None) -> dict[str, object] | None:
    if rebuilt is None:
        return None
    return {
        "added": rebuilt.added,
        "dropped": rebuilt.dropped,
        "skipped": [{"name": each.name, "path": str(each.path), "reason": each.reason} for each in rebuilt.skipped],
        "kept_aside": None if rebuilt.kept_aside is None else str(rebuilt.kept_aside),
    }


def _show_rebuilt(context: Context, rebuilt: Rebuilt) -> None:
    context.say(f"registry rebuilt: {count(len(rebuilt.names))}")
    for word, names in (("added", rebuilt.added), ("dropped", rebuilt.dropped)):
        if names:
            context.say(f"{word}: {', '.join(names)}")
    if rebuilt.kept_aside is not None:
        context.say(tables.escape(f"the damaged registry was kept as {rebuilt.kept_aside}"))
