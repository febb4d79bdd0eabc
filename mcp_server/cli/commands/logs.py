"""`peerwake logs`: what was decided, delivered and what died, in the order of time."""

import re
import time
from datetime import datetime

from mcp_server.cli import tables
from mcp_server.cli.context import Context
from mcp_server.cli.exits import Exit
from mcp_server.cli.failures import BadUsage
from mcp_server.cli.logfiles import Line, LogReader
from mcp_server.cli.parser import Parser

LAST = 100
LAST_BYTES = 1 << 18
POLL_SECONDS = 0.1
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parser() -> Parser:
    """Return the command line of `logs`."""
    line = Parser(
        "logs",
        "Show the lines of lifecycle.log, delivery.log and exits.log, merged in the order of time.",
        epilog=f"without --since the last {LAST} lines; with -f and --json one document for each line",
    )
    line.word("name", "only lines about this peer, or this identity", needed=False)
    line.add_argument("-f", "--follow", action="store_true", help="go on with what is written from now on")
    line.add_argument("--since", metavar="TIME", help="from this time on: 90s, 10m, 2h, 3d ago, or ISO 8601")
    line.add_argument("--json", action="store_true", help="print one JSON document")
    return line


def run(context: Context, argv: list[str]) -> int:
    """Print the lines that are there and, with -f, those to come until Ctrl-C."""
    given = parser().read(argv)
    context.wants_json = given.json
    since = None if given.since is None else moment(given.since)

    def wanted(lines: list[Line]) -> list[Line]:
        return [
            line
            for line in lines
            if line.text and (given.name is None or line.is_about(given.name)) and (since is None or line.at >= since)
        ]

    with LogReader(context.home, containing=given.name or "") as reader:
        is_all = given.name is not None or since is not None
        lines = wanted(reader.everything(last=None if is_all else LAST_BYTES, since=since or 0.0))
        show(context, lines if since is not None else lines[-LAST:], follow=given.follow)
        while given.follow:
            context.stdout.flush()
            time.sleep(POLL_SECONDS)
            show(context, wanted(reader.fresh()), follow=True)
    return Exit.OK


def moment(text: str) -> float:
    """Return wall seconds of `10m` ago or of an ISO 8601 time; raises BadUsage."""
    if match := re.fullmatch(r"(\d{1,9})([smhd])", text):
        return time.time() - int(match[1]) * UNITS[match[2]]
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError, OSError):
        raise BadUsage(f"--since {text!r:.60} is no time; give 90s, 10m, 2h, 3d or 2026-11-20T08:00") from None


def show(context: Context, lines: list[Line], *, follow: bool) -> None:
    """Print lines as they are, or as JSON."""
    if not context.wants_json:
        for line in lines:
            context.say(tables.escape(line.text))
        return
    whose = tables.whose(context)
    rows = [whose | {"log": line.log, **line.fields} for line in lines]
    if follow:
        for row in rows:
            tables.document(context, row, indent=None)
    else:
        tables.document(context, {"lines": rows})
