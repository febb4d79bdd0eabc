"""`peerwake interrupt`: end the turn that a peer is busy with."""

from mcp_server.cli import tables
from mcp_server.cli.context import Context
from mcp_server.cli.exits import Exit
from mcp_server.cli.one_peer import answer, parser

SUMMARY = "Press a busy client's interrupt keys and see that its turn has ended; presses nothing on other screens."
KEYS_SECONDS = 60.0


def run(context: Context, argv: list[str]) -> int:
    """Interrupt one peer and say what its screen shows then."""
    given = parser("interrupt", SUMMARY).read(argv)
    result = answer(context, "interrupt", given, KEYS_SECONDS)
    if result is not None:
        context.say(tables.escape(f"{result['identity']}: interrupted, its screen is {result['state']}"))
    if result is not None and result["draft"]:
        context.note(
            "the client has put its prompt back into the composer; messages wait until somebody"
            f" submits or clears it: peerwake attach {given.name}"
        )
    return Exit.OK
