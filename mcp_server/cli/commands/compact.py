"""`peerwake compact`: have an idle peer summarise its conversation."""

from mcp_server.cli import tables
from mcp_server.cli.context import Context
from mcp_server.cli.exits import Exit
from mcp_server.cli.one_peer import answer, parser

SUMMARY = "Have an idle client summarise its conversation to make room; refused while it is anything but idle."
KEYS_SECONDS = 90.0


def run(context: Context, argv: list[str]) -> int:
    """Type the client's own command for it and say what its screen shows then."""
    given = parser("compact", SUMMARY).read(argv)
    result = answer(context, "compact", given, KEYS_SECONDS)
    if result is not None:
        context.say(
            tables.escape(f"{result['identity']}: the client took the command, its screen is {result['state']}")
        )
    return Exit.OK
