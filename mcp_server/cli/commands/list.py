"""`peerwake list`: the peers and what each of their presences is doing."""

from typing import Any

from mcp_server.cli import tables
from mcp_server.cli.context import Context
from mcp_server.cli.control import connect
from mcp_server.cli.exits import Exit
from mcp_server.cli.failures import NoServer
from mcp_server.cli.parser import Parser

PAGE = 1000


def parser() -> Parser:
    """Return the command line of `list`."""
    line = Parser("list", "Show the peers, what they are doing, and how many messages wait for each.")
    line.word("query", "only peers whose name or description contains this", needed=False)
    line.add_argument("--live", action="store_true", help="only peers with a running session")
    line.add_argument("--json", action="store_true", help="print one JSON document")
    return line


def run(context: Context, argv: list[str]) -> int:
    """Print all pages of the list."""
    given = parser().read(argv)
    context.wants_json = given.json
    try:
        peers = from_server(context, given.query, given.live)
    except NoServer as absent:
        from mcp_server.cli.offline import Offline

        peers = Offline(context).peers(given.query, given.live)
        context.note(f"{absent}; this is what the files tell")
    if given.json:
        tables.document(context, {"peers": [tables.whose(context) | peer for peer in peers]})
        return Exit.OK
    show(context, peers)
    return Exit.OK


def from_server(context: Context, query: str | None, live_only: bool) -> list[dict[str, Any]]:
    """Return the rows of every page."""
    rows: list[dict[str, Any]] = []
    with connect(context) as control:
        while True:
            asked = {"query": query, "live_only": live_only, "offset": len(rows), "limit": PAGE}
            page = control.call("list", {name: value for name, value in asked.items() if value is not None})
            rows += page["rows"]
            if not page["rows"] or len(rows) >= page["total"]:
                return rows


def show(context: Context, peers: list[dict[str, Any]]) -> None:
    """Print one line for each presence."""
    rows = [
        (
            peer["name"],
            presence["runtime"]
            + ("*" if len(peer["runtimes"]) > 1 and presence["runtime"] == peer["default_runtime"] else ""),
            presence["state"],
            presence["queue_depth"] or "",
            peer["intelligence"],
            presence.get("detail") or peer["description"],
        )
        for peer in peers
        for presence in peer["runtimes"]
    ]
    if not rows:
        context.say("no peers; create one with: peerwake create NAME" if context.stdout.isatty() else "no peers")
        return
    tables.table(context, ("NAME", "RUNTIME", "STATE", "QUEUE", "INTELLIGENCE", "DESCRIPTION"), rows)
