"""`peerwake rename`: another name for a peer, with all that belongs to it."""

from typing import Any

from mcp_server.cli import tables
from mcp_server.cli.context import Context
from mcp_server.cli.control import ask
from mcp_server.cli.exits import Exit
from mcp_server.cli.failures import NoServer
from mcp_server.cli.parser import Parser

SECONDS = 120.0


def parser() -> Parser:
    """Return the command line of `rename`."""
    line = Parser(
        "rename",
        "Give a peer another name: profile, flags, queue and conversations go with it, or nothing does.",
        epilog="A directory below the root's peers/ is renamed too; one of your own keeps its name.",
    )
    line.word("name", "the peer, which must not be live")
    line.word("new_name", "its new name: 1 to 32 of a-z, 0-9 and '-', starting with a letter")
    line.add_argument("--json", action="store_true", help="print one JSON document")
    return line


def run(context: Context, argv: list[str]) -> int:
    """Rename one peer and say what went with it."""
    given = parser().read(argv)
    context.wants_json = given.json
    done = renamed(context, given.name, given.new_name)
    if given.json:
        tables.document(context, tables.whose(context) | done)
        return Exit.OK
    context.say(tables.escape(f"{done['former']} is now {done['name']}; senders that use {done['former']} are refused"))
    if done["messages"]:
        context.say(f"  {done['messages']} message{'s' if done['messages'] > 1 else ''} moved with it")
    for note in done["notes"]:
        context.say(tables.escape(f"  {note}"))
    return Exit.OK


def renamed(context: Context, name: str, new_name: str) -> dict[str, Any]:
    """Let the server rename the peer, or do it where none runs."""
    try:
        return ask(context, "rename", {"name": name, "new_name": new_name}, SECONDS)
    except NoServer:
        from mcp_server.cli.offline_changes import OfflineChanges

        return OfflineChanges(context).rename(name, new_name)
