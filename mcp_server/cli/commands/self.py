"""`peerwake self`: what a session says about itself."""

import argparse
import time
from typing import Any

from mcp_server.cli import tables
from mcp_server.cli.context import Context
from mcp_server.cli.control import ask
from mcp_server.cli.exits import Exit
from mcp_server.cli.failures import BadUsage, NoServer, Unverified
from mcp_server.cli.parser import Parser

AWAY_SECONDS = 10.0
AGAIN_SECONDS = 0.1
VERBS = {"done": "self-done", "new": "self-new"}
ENDS = {
    "task": "the task is done; this session will be closed",
    "session": "this session will be closed when its turn is over; the next message finds a fresh one",
}
RENEWED = "a fresh session will follow when this turn is over"


def parser() -> Parser:
    """Return the command line of `self`."""
    line = Parser("self", "From inside a session: 'done' ends its task or itself, 'new' has a fresh one follow.")
    line.word("verb", "done or new")
    line.word("seed", "with new: what the fresh session is told first, at most 16 KiB", needed=False)
    line.add_argument("--json", action="store_true", help="print one JSON document")
    return line


def run(context: Context, argv: list[str]) -> int:
    """Tell the server; it knows from which session the call comes."""
    given = parser().read(argv)
    context.wants_json = given.json
    result = tell(context, _verb(given), {"seed": given.seed} if given.seed else {})
    if given.json:
        tables.document(context, tables.whose(context) | result)
    else:
        context.say(ENDS[result["ends"]] if given.verb == "done" else RENEWED)
    return Exit.OK


def tell(context: Context, verb: str, args: dict[str, Any]) -> dict[str, Any]:
    """Tell the server; inside a session one that is being replaced is waited for, because this is said once."""
    end = time.monotonic() + (AWAY_SECONDS if context.environ.get("PEER_IDENTITY") else 0.0)
    while True:
        try:
            return ask(context, verb, args)
        except (NoServer, Unverified):
            if time.monotonic() >= end:
                raise
            time.sleep(AGAIN_SECONDS)


def _verb(given: argparse.Namespace) -> str:
    if given.verb not in VERBS:
        raise BadUsage(f"self {given.verb!r:.80} is not one of {', '.join(VERBS)}")
    if given.seed is not None and given.verb != "new":
        raise BadUsage(f"self {given.verb} takes no text: {given.seed!r:.80}")
    return VERBS[given.verb]
