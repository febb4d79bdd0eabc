"""`peerwake self`: what a session says about itself."""

from mcp_server.cli import tables
from mcp_server.cli.context import Context
from mcp_server.cli.control import ask
from mcp_server.cli.exits import Exit
from mcp_server.cli.failures import BadUsage
from mcp_server.cli.parser import Parser

VERBS = {"done": "self-done", "new": "self-new"}


def parser() -> Parser:
    """Return the command line of `self`."""
    line = Parser("self", "From inside a session: 'done' ends its task, 'new' starts it again, fresh.")
    line.word("verb", "done or new")
    line.add_argument("--json", action="store_true", help="print one JSON document")
    return line


def run(context: Context, argv: list[str]) -> int:
    """Tell the server; it knows from which session the call comes."""
    given = parser().read(argv)
    context.wants_json = given.json
    if given.verb not in VERBS:
        raise BadUsage(f"self {given.verb!r:.80} is not one of {', '.join(VERBS)}")
    result = ask(context, VERBS[given.verb])
    if given.json:
        tables.document(context, tables.whose(context) | dict(result or {}))
    else:
        context.say(
            {"done": "the task is done; this session will be closed", "new": "a fresh session will follow"}[given.verb]
        )
    return Exit.OK
