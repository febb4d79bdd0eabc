"""What the verbs on one peer share: a name, a runtime, one question, one answer."""

import argparse
from typing import Any

from mcp_server.cli import tables
from mcp_server.cli.context import Context
from mcp_server.cli.control import ask
from mcp_server.cli.parser import Parser


def parser(verb: str, summary: str) -> Parser:
    """Return the command line of a verb on one peer."""
    line = Parser(verb, summary)
    line.word("name", "the peer")
    line.add_argument("--runtime", metavar="R", help="the runtime, if not the peer's default")
    line.add_argument("--json", action="store_true", help="print one JSON document")
    return line


def answer(
    context: Context, verb: str, given: argparse.Namespace, seconds: float, **more: str | None
) -> dict[str, Any] | None:
    """Ask the server; prints the document and returns None when JSON is wanted, else returns the result."""
    context.wants_json = given.json
    args = {"name": given.name, "runtime": given.runtime, **more}
    result = ask(context, verb, {name: value for name, value in args.items() if value is not None}, seconds)
    if not given.json:
        return result
    tables.document(context, tables.whose(context) | result)
    return None
