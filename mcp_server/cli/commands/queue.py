"""`peerwake queue`: what waits for whom and why; dead letters shown, queued again or dropped."""

import argparse
from typing import Any

from mcp_server.cli import letters, tables
from mcp_server.cli.ages import age, seconds_of
from mcp_server.cli.context import Context
from mcp_server.cli.control import connect
from mcp_server.cli.exits import Exit
from mcp_server.cli.failures import BadUsage, NoServer
from mcp_server.cli.parser import Parser

VERBS = ("show", "retry", "drop")
SHOWN_LETTERS = 100
ALL_LETTERS = 10_000


def parser() -> Parser:
    """Return the command line of `queue`."""
    line = Parser(
        "queue",
        "Show the queues and the dead letters; or show, retry or drop messages.",
        epilog="retry queues dead letters again, in the order in which they were accepted;"
        " drop gives dead or\nwaiting messages up for good; --all means every dead letter, of one peer with its NAME",
    )
    line.word("name", "only this peer; or: show ID…, retry ID…, drop ID…, retry --all [NAME]", needed=False)
    line.word("ids", "the messages", needed=False, many=True)
    line.add_argument("--all", action="store_true", help="retry, drop: every dead letter")
    line.add_argument("--dead", action="store_true", help="only the dead letters")
    line.add_argument("--older", metavar="AGE", help="only what has waited, or is dead, for longer: 90, 10m, 1h, 2d")
    line.add_argument("--json", action="store_true", help="print one JSON document")
    return line


def run(context: Context, argv: list[str]) -> int:
    """Print queues with their dead letters, or handle messages."""
    given = parser().read(argv)
    context.wants_json = given.json
    if given.name not in VERBS:
        if given.ids:
            raise BadUsage(f"no queue command {given.name!r:.80}; use one of {', '.join(VERBS)}")
        if given.all:
            raise BadUsage("--all goes with retry and drop; see: peerwake queue --help")
        return queues(context, given.dead, _which(given, given.name))
    if given.dead:
        raise BadUsage(f"--dead goes with the list, not with {given.name}; see: peerwake queue --help")
    if given.name == "show":
        return letters.show(context, _ids(given))
    if not given.all:
        return letters.handle(context, given.name, {"message_ids": list(dict.fromkeys(_ids(given)))})
    if len(given.ids) > 1:
        raise BadUsage(f"queue {given.name} --all takes the name of one peer, not {len(given.ids)} words")
    return letters.handle(context, given.name, {"all": True} | _which(given, *given.ids))


def _ids(given: argparse.Namespace) -> list[str]:
    if given.all or given.older is not None:
        raise BadUsage("--all and --older choose among all, not among ids; give one or the other")
    if not given.ids:
        hint = "" if given.name == "show" else ", or --all"
        raise BadUsage(f"queue {given.name} needs the ID of a message{hint}; see: peerwake queue --help")
    return list(given.ids)


def _which(given: argparse.Namespace, name: str | None = None) -> dict[str, Any]:
    """Return what chooses among queues and dead letters, as the server takes it."""
    which = {} if name is None else {"personality": name}
    return which if given.older is None else which | {"older_seconds": seconds_of(given.older, "--older")}


def queues(context: Context, is_dead: bool, which: dict[str, Any]) -> int:
    """Print one line for each queue, then the dead letters."""
    rows, dead, total = known(context, which)
    older = which.get("older_seconds", 0.0)
    rows = [] if is_dead else [row for row in rows if older == 0 or (row["head_age_seconds"] or 0.0) >= older]
    if context.wants_json:
        whose = tables.whose(context)
        found = {"queues": [whose | row for row in rows], "dead": [whose | row for row in dead], "dead_total": total}
        tables.document(context, found)
        return Exit.OK
    if not rows and not dead:
        context.say("no dead letters" if is_dead else "no messages wait")
        return Exit.OK
    if rows:
        table(context, rows)
    for letter in dead:
        text = f"dead: {letter['message_id']}  {letter['sender']} → {letter['recipient']}: {letter['reason']}"
        context.say(tables.escape(text))
    if total > len(dead):
        context.say(f"… and {total - len(dead):,} more dead letters; --json shows up to {ALL_LETTERS:,}")
    return Exit.OK


def table(context: Context, rows: list[dict[str, Any]]) -> None:
    """Print one line for each queue."""
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
                why(row),
            )
            for row in rows
        ],
    )


def why(row: dict[str, Any]) -> str | None:
    """Return why a queue waits, with the last line of what more is known."""
    lines = [line.strip() for line in str(row.get("detail") or "").splitlines() if line.strip()]
    return f"{row['hold']}: {lines[-1]}" if lines and row["hold"] else row["hold"]


def known(context: Context, which: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int]:
    """Return the queues and, for the operator, the dead letters and their number; without a server what is on disk."""
    limit = ALL_LETTERS if context.wants_json else SHOWN_LETTERS
    name = which.get("personality")
    try:
        control = connect(context)
    except NoServer as absent:
        from mcp_server.cli.offline import Offline

        offline = Offline(context)
        rows = offline.queues(name)
        dead, total = offline.dead(name, which.get("older_seconds", 0.0), limit)
        context.note(f"{absent}; this is what the files tell")
        return rows, dead, total
    with control:
        rows = control.call("queue", {} if name is None else {"personality": name})["rows"]
        if not control.greeting["operator"] or not any(row["dead"] for row in rows):
            return rows, [], 0
        found = control.call("dead", which | {"limit": limit})
        return rows, found["rows"], found["total"]
