"""`peerwake why`: in three lines the state of a peer, since when, and why."""

import time
from typing import Any

from mcp_server.cli import tables
from mcp_server.cli.ages import age
from mcp_server.cli.context import Context
from mcp_server.cli.control import connect
from mcp_server.cli.diagnosis import explain
from mcp_server.cli.exits import Exit
from mcp_server.cli.failures import BadUsage, NoServer, failure
from mcp_server.cli.logfiles import LogReader
from mcp_server.cli.parser import Parser, refuse_empty


def parser() -> Parser:
    """Return the command line of `why`."""
    line = Parser("why", "Say in three lines what state a peer is in, since when, and why.")
    line.word("name", "the peer")
    line.add_argument("--runtime", help="this presence (default: the peer's default runtime)")
    line.add_argument("--json", action="store_true", help="print one JSON document")
    return line


def run(context: Context, argv: list[str]) -> int:
    """Print the three lines."""
    given = parser().read(argv)
    context.wants_json = given.json
    refuse_empty({"--runtime": given.runtime})
    peer, queues = known(context, given.name)
    runtime = given.runtime or peer["default_runtime"]
    presence = next((each for each in peer["runtimes"] if each["runtime"] == runtime), None)
    if presence is None:
        declared = ", ".join(each["runtime"] for each in peer["runtimes"])
        raise BadUsage(f"{peer['name']} has no runtime {runtime!r:.40}; it has {declared}")
    identity = f"{runtime}-{peer['name']}"
    with LogReader(context.home, containing=identity) as reader:
        lines = [line for line in reader.everything() if line.is_of(identity)]
    queue = next((row for row in queues if row["identity"] == identity), None)
    found = explain(context.home, identity, presence, queue, lines)
    if given.json:
        tables.document(context, tables.whose(context) | {"name": peer["name"], "runtime": runtime} | found)
        return Exit.OK
    since = found["since"]
    lasted = f"{since} ({age(max(0.0, time.time() - found['since_at']))})" if since else "unknown"
    context.say(f"state: {tables.escape(identity)} is {tables.paint(context, found['state'])}")
    context.say(f"since: {lasted}")
    context.say(f"why:   {tables.escape('; '.join(found['why']))}")
    return Exit.OK


def known(context: Context, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a peer's row and its queues, from the server or, without one, from the files."""
    try:
        with connect(context) as control:
            return control.call("peer", {"name": name}), control.call("queue", {"personality": name})["rows"]
    except NoServer as absent:
        from mcp_server.cli.offline import Offline

        offline = Offline(context)
        queues = offline.queues(name)
        row = next((peer for peer in offline.peers(name, False) if peer["name"] == name), None)
        if row is None:
            raise failure("unknown-peer", f"there is no peer {name!r:.60}") from None
        context.note(f"{absent}; this is what the files tell")
        return row, queues
