"""`peerwake refresh`: have a peer begin a fresh conversation at its next wake."""

from mcp_server.cli import tables
from mcp_server.cli.context import Context
from mcp_server.cli.exits import Exit
from mcp_server.cli.one_peer import answer, parser

SUMMARY = "Have a peer begin fresh at its next wake; the session it has now is not touched."
CALL_SECONDS = 30.0


def run(context: Context, argv: list[str]) -> int:
    """Set the flag of one peer."""
    given = parser("refresh", SUMMARY).read(argv)
    result = answer(context, "refresh", given, CALL_SECONDS)
    if result is not None:
        now = "; its session goes on until then" if result["live"] else ""
        context.say(tables.escape(f"{result['identity']}: {result['state']}{now}"))
    return Exit.OK
