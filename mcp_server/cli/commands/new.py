"""`peerwake new`: replace a peer's session by a fresh one, and return when that is ready."""

from mcp_server.cli import tables
from mcp_server.cli.context import Context
from mcp_server.cli.exits import Exit
from mcp_server.cli.one_peer import answer, parser
from mcp_server.cli.terminal import WAKE_SECONDS

SUMMARY = "End a peer's session, also a busy one, and start a fresh one; what it had not taken yet goes to that."


def run(context: Context, argv: list[str]) -> int:
    """Restart one peer; it is ready when this returns 0."""
    line = parser("new", SUMMARY)
    line.add_argument("--seed", metavar="TEXT", help="what the fresh session is told first, at most 16 KiB")
    given = line.read(argv)
    result = answer(context, "new", given, WAKE_SECONDS, seed=given.seed)
    if result is not None:
        context.say(tables.escape(f"{result['identity']}: fresh and ready"))
    return Exit.OK
