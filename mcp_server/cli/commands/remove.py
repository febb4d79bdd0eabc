"""`peerwake remove`: take a peer out of the registry, with its queue, state and credentials."""

from typing import Any

from mcp_server.cli import tables
from mcp_server.cli.context import Context
from mcp_server.cli.control import ask
from mcp_server.cli.exits import Exit
from mcp_server.cli.failures import NoServer
from mcp_server.cli.parser import Parser

SECONDS = 120.0


def parser() -> Parser:
    """Return the command line of `remove`."""
    line = Parser(
        "remove",
        "Remove a peer: registry entry, queue, state, credentials, and our entries in its clients' configuration.",
        epilog="The directory stays, with the profile as .peerwake/profile.json.removed, unless --purge is given.",
    )
    line.word("name", "the peer")
    line.add_argument("--force", action="store_true", help="also while it is live or messages wait for it")
    line.add_argument("--purge", action="store_true", help="delete its directory too, if it is below the root's peers/")
    line.add_argument("--json", action="store_true", help="print one JSON document")
    return line


def run(context: Context, argv: list[str]) -> int:
    """Remove one peer and say what was done to what."""
    given = parser().read(argv)
    context.wants_json = given.json
    done = removed(context, given.name, force=given.force, purge=given.purge)
    if given.json:
        tables.document(context, tables.whose(context) | done)
        return Exit.OK
    where = "was deleted with it" if done["purged"] else "stays as it is"
    context.say(tables.escape(f"{done['name']} is removed; its directory {done['cwd']} {where}"))
    for path in done["withdrawn"]:
        context.say(tables.escape(f"  {path}: our entries taken out"))
    if done["dead_letters"]:
        count = len(done["dead_letters"])
        were = "message that waited is a dead letter" if count == 1 else "messages that waited are dead letters"
        context.say(f"  {count} {were} now; see: peerwake queue")
    for note in done["notes"]:
        context.say(tables.escape(f"  {note}"))
    return Exit.OK


def removed(context: Context, name: str, *, force: bool, purge: bool) -> dict[str, Any]:
    """Let the server remove the peer, or do it where none runs."""
    try:
        return ask(context, "remove", {"name": name, "force": force, "purge": purge}, SECONDS)
    except NoServer:
        from mcp_server.cli.offline_changes import OfflineChanges

        return OfflineChanges(context).remove(name, force=force, purge=purge)
