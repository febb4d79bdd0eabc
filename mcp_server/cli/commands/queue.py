"""`peerwake queue`: what waits for whom; one message's history; retry or drop a dead letter."""

from typing import Any

from mcp_server.cli import tables
from mcp_server.cli.context import Context
from mcp_server.cli.control import ask, connect
from mcp_server.cli.exits import Exit
from mcp_server.cli.failures import BadUsage, NoServer
from mcp_server.cli.parser import Parser

VERBS = ("show", "retry", "drop")


def parser() -> Parser:
    """Return the command line of `queue`."""
    line = Parser(
        "queue",
        "Show the queues; or show, retry or drop one message.",
        epilog="retry queues a dead letter again; drop gives a waiting or dead message up for good",
    )
    line.word("name", "only this peer's queues; or: show ID, retry ID, drop ID", needed=False)
    line.word("id", "the message", needed=False)
    line.add_argument("--json", action="store_true", help="print one JSON document")
    return line


def run(context: Context, argv: list[str]) -> int:
    """Print queues with their dead letters, or handle one message."""
    given = parser().read(argv)
    context.wants_json = given.json
    if given.name in VERBS:
        if given.id is None:
            raise BadUsage(f"queue {given.name} needs the ID of a message; see: peerwake queue --help")
        return one_message(context, given.name, given.id)
    if given.id is not None:
        raise BadUsage(f"no queue command {given.name!r:.80}; use one of {', '.join(VERBS)}")
    return queues(context, given.name)


def one_message(context: Context, verb: str, message_id: str) -> int:
    """Show, retry or drop one message."""
    report = handled(context, verb, message_id)
    if context.wants_json:
        tables.document(context, tables.whose(context) | report)
    elif verb == "show":
        show_message(context, report)
    else:
        done = {"retry": "queued again", "drop": "dropped"}[verb]
        context.say(tables.escape(f"{message_id} {done}"))
    return Exit.OK


def handled(context: Context, verb: str, message_id: str) -> dict[str, Any]:
    """Let the server handle the message; only looking is possible without one."""
    try:
        return ask(context, verb, {"message_id": message_id})
    except NoServer:
        if verb != "show":
            raise
        from mcp_server.cli.offline import Offline

        return Offline(context).message(message_id)


def show_message(context: Context, report: dict[str, Any]) -> None:
    """Print a message's fields and its history."""
    shown = ("message_id", "sender", "recipient", "state", "stage", "attempts", "accepted_at", "settled_at", "reason")
    for name in shown:
        if report.get(name) not in (None, ""):
            context.say(f"{name + ':':<13} {tables.escape(report[name])}")
    for event in report.get("events") or ():
        parts = event.values() if isinstance(event, dict) else event
        context.say("  ".join(["", *(tables.escape(part) for part in parts if part)]))
    for line in str(report.get("body") or "").splitlines():
        context.say(f"  | {tables.escape(line)}")


def queues(context: Context, name: str | None) -> int:
    """Print one line for each queue, then the dead letters."""
    rows, dead = queues_and_dead(context, {} if name is None else {"personality": name})
    if context.wants_json:
        whose = tables.whose(context)
        tables.document(context, {"queues": [whose | row for row in rows], "dead": [whose | row for row in dead]})
        return Exit.OK
    if not rows:
        context.say("no messages wait")
        return Exit.OK
    tables.table(
        context,
        ("IDENTITY", "DEPTH", "HEAD AGE", "DEAD", "LAST RECEIPT", "IN FLIGHT", "WHY IT WAITS"),
        [
            (
                row["identity"],
                row["depth"],
                age(row["head_age_seconds"]),
                row["dead"] or "",
                row["last_receipt_at"],
                row["in_flight"],
                row["hold"],
            )
            for row in rows
        ],
    )
    for letter in dead:
        context.say(
            tables.escape(
                f"dead: {letter['message_id']}  {letter['sender']} → {letter['recipient']}: {letter['reason']}"
            )
        )
    return Exit.OK


def queues_and_dead(context: Context, wanted: dict[str, str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the queues and, for the operator, the dead letters; without a server what the spool says."""
    try:
        control = connect(context)
    except NoServer as absent:
        from mcp_server.cli.offline import Offline

        offline = Offline(context)
        rows, dead = offline.queues(wanted.get("personality")), offline.dead(wanted.get("personality"))
        context.note(f"{absent}; this is what the files tell")
        return rows, dead
    with control:
        rows = control.call("queue", wanted)["rows"]
        is_told = control.greeting["operator"] and any(row["dead"] for row in rows)
        return rows, control.call("dead", wanted)["rows"] if is_told else []


def age(seconds: float | None) -> str:
    """Return a duration in its two largest units."""
    if seconds is None:
        return ""
    whole = int(seconds)
    for size, unit, below, under in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // below:02d}{under}"
    return f"{whole}s"
