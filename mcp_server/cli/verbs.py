"""What `stop` and `start` share: one verb for some peers or for all."""

from typing import Any

from mcp_server.cli import tables
from mcp_server.cli.context import Context
from mcp_server.cli.control import connect
from mcp_server.cli.exits import Exit
from mcp_server.cli.failures import BadUsage, Failure, Refused
from mcp_server.cli.parser import Parser

VERB_SECONDS = 60.0


def parser(verb: str, summary: str) -> Parser:
    """Return the command line of one verb."""
    line = Parser(verb, summary)
    line.word("names", "the peers", needed=False, many=True)
    line.add_argument("--all", action="store_true", help="every peer")
    line.add_argument("--json", action="store_true", help="print one JSON document")
    return line


def run_on_peers(context: Context, argv: list[str], verb: str, summary: str) -> int:
    """Do one verb; a refused peer does not keep the others from it, and makes the exit code 4."""
    given = parser(verb, summary).read(argv)
    context.wants_json = given.json
    if given.all == bool(given.names):
        raise BadUsage(f"{verb} needs the names of peers, or --all; see: peerwake {verb} --help")
    results: list[dict[str, Any]] = []
    refusals: list[Refused] = []
    with connect(context) as control:
        for name in given.names or [None]:
            try:
                done = control.call(verb, {"name": name}, VERB_SECONDS)
                results += done["rows"]
            except Refused as refused:
                refusals.append(refused)
            except Failure as failure:
                show(context, results, refusals, failure)
                return failure.exit_code
    show(context, results, refusals)
    return Exit.REFUSED if refusals else Exit.OK


def show(
    context: Context, results: list[dict[str, Any]], refusals: list[Refused], failure: Failure | None = None
) -> None:
    """Print what was done, then what was refused, then the failure that kept the rest from being tried."""
    whose = tables.whose(context)
    if context.wants_json:
        refused = [whose | {"code": refusal.code, "message": str(refusal)} for refusal in refusals]
        found: dict[str, Any] = {"done": [whose | row for row in results], "refused": refused}
        if failure is not None:
            found |= {"error": {"code": failure.code, "message": str(failure)}, **whose}
        tables.document(context, found)
    else:
        for row in results:
            context.say(tables.escape(f"{row['identity']}: {row['state']}"))
    for problem in (*refusals, failure):
        if problem is not None:
            context.note(tables.escape(problem))
