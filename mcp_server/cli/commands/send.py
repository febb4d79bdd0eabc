"""`peerwake send`: one message to one peer; without a server it waits in the spool."""

import os
import time
from argparse import Namespace
from typing import Any

from mcp_server.cli.context import Context
from mcp_server.cli.control import Control, connect
from mcp_server.cli.exits import Exit
from mcp_server.cli.failures import DEAD_LETTERS, BadUsage, NoServer, Unverified
from mcp_server.cli.message_input import message_text
from mcp_server.cli.parser import Parser, refuse_empty
from transport.errors import PeerwakeError

AWAY_SECONDS = 3.0
OPERATOR = "cli-operator"
WAIT_MAX_SECONDS = 120.0


def parser() -> Parser:
    """Return the command line of `send`."""
    line = Parser(
        "send",
        "Send a message to a peer; a sleeping peer is woken.",
        epilog="exit codes: 0 delivered (a receipt was seen), 3 queued, 4 refused, 5 unverified, 7 given up",
    )
    line.word("name", "the peer to write to")
    line.word("message", "the text; '-' reads standard input", needed=False)
    line.add_argument("--file", metavar="F", help="read the text from a file")
    line.add_argument("--from", dest="sender", metavar="NAME", help="send as this peer (operators only)")
    line.add_argument("--runtime", metavar="R", help="the runtime to reach, if not the peer's default")
    line.add_argument("--topic", metavar="T", help="what it is about, at most 200 characters")
    line.add_argument("--attach", metavar="PATH", action="append", default=[], help="name a file (up to 20 times)")
    line.add_argument("--reply-to", metavar="ID", help="the message this one answers")
    line.add_argument("--key", metavar="K", help="idempotency key: the same key sends once within 24 hours")
    line.add_argument("--wait", metavar="S", type=float, help="wait for the receipt, 0 to 120 seconds (default 20)")
    line.add_argument("--json", action="store_true", help="print the result as JSON")
    return line


def run(context: Context, argv: list[str]) -> int:
    """Send, print what is known, and return its exit code."""
    given = parser().read(argv)
    context.wants_json = given.json
    if given.wait is not None and not 0 <= given.wait <= WAIT_MAX_SECONDS:
        raise BadUsage(f"--wait {given.wait:g} is not between 0 and {WAIT_MAX_SECONDS:g} seconds")
    refuse_empty({"--from": given.sender, "--runtime": given.runtime, "--reply-to": given.reply_to, "--key": given.key})
    args = request(context, given)
    result = deliver(context, args)
    try:
        show(context, result, is_repetition=bool(given.key and result.get("duplicate")))
        context.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError:
        # `main` meets the same and says so; by then nobody knows any more what was sent.
        key = args["idempotency_key"]
        context.note(f"the message was accepted ({result['status']}) as {result['message_id']}, --key {key}")
    return Exit.OK if result["status"] == "delivered" else Exit.QUEUED


def request(context: Context, given: Namespace) -> dict[str, Any]:
    """Return the arguments of the verb `send`; it always has an idempotency key, so it can be repeated."""
    asked = {
        "personality": given.name,
        "message": message_text(given.message, given.file),
        "runtime": given.runtime,
        "topic": given.topic,
        "attachments": [absolute(context, path) for path in given.attach] or None,
        "reply_to": given.reply_to,
        "idempotency_key": given.key or f"cli-{os.urandom(12).hex()}",
        "wait_seconds": given.wait,
        "from": given.sender,
    }
    return {name: value for name, value in asked.items() if value is not None}


def absolute(context: Context, path: str) -> str:
    """Return an attachment's path made absolute against the working directory."""
    from pathlib import Path

    if context.cwd is None and not path.startswith("/"):
        raise BadUsage(f"--attach {path!r:.200} is relative and the working directory is gone; give an absolute path")
    return str(Path(context.cwd or "/") / path)


def deliver(context: Context, args: dict[str, Any]) -> dict[str, Any]:
    """Return the server's result, or without a server the spool's; a broken connection is followed up.

    An interrupt once the message is on its way names its key: a repetition with another would be a second message.
    """
    found: Control | NoServer
    try:
        found = connect(context)
    except NoServer as absent:
        found = absent
    try:
        if isinstance(found, NoServer):
            return spool(context, args, found)
        with found as control:
            try:
                return call(control, args)
            except Unverified as broken:
                return settle(context, args, broken, control.greeting["identity"])
    except KeyboardInterrupt:
        from mcp_server.cli import tables

        key = tables.escape(args["idempotency_key"])
        context.note(f"interrupted: the message may have been accepted; to be sure repeat it with --key {key}")
        raise


def call(control: Control, args: dict[str, Any]) -> dict[str, Any]:
    """Ask for the send and wait as long as the server may take."""
    wait = args.get("wait_seconds")
    return dict(control.call("send", args, (20.0 if wait is None else wait) + 20.0))


def settle(context: Context, args: dict[str, Any], broken: Unverified, sender: str | None) -> dict[str, Any]:
    """Find out what became of a send whose answer was lost: the key makes a repetition harmless.

    A refusal of the repetition proves nothing about the first attempt, that it was given up since does: it was
    accepted. Raises Unverified, and DeadLetter or GivenUp.
    """
    deadline = time.monotonic() + AWAY_SECONDS
    try:
        while time.monotonic() < deadline:
            try:
                with connect(context) as control:
                    return call(control, args)
            except (NoServer, Unverified):
                time.sleep(0.05)
        return spool(context, args, NoServer("the server went away while sending"), sender or OPERATOR)
    except PeerwakeError as problem:
        if problem.code in DEAD_LETTERS:
            raise
        key = args["idempotency_key"]
        raise Unverified(f"{broken}; asked again: {problem}; to be sure repeat it with --key {key}") from problem


def spool(context: Context, args: dict[str, Any], absent: NoServer, greeted: str | None = None) -> dict[str, Any]:
    """Put the message into the spool without a server, and say so; `greeted` is whom the server took us for."""
    from mcp_server.cli.offline import Offline

    result = Offline(context).send(args, greeted)
    context.note(f"{absent}; the message waits in the spool until a server runs")
    return result


def show(context: Context, result: dict[str, Any], *, is_repetition: bool) -> None:
    """Print one line for people, or one document."""
    from mcp_server.cli import tables

    if context.wants_json:
        tables.document(context, tables.whose(context) | result)
        return
    to = f"{result['personality']} ({result['runtime']})"
    if result["status"] == "delivered":
        line = f"delivered to {to}{', woken for it' if result.get('woke') else ''}"
    else:
        ahead = max(int(result["queue_depth"]) - 1, 0)
        line = f"queued for {to}: {result.get('reason') or 'waiting'}{f', {ahead} ahead' if ahead else ''}"
    removed = result.get("removed_controls") or 0
    extra = f", {removed} control characters removed" if removed else ""
    before = ", sent before" if is_repetition else ""
    context.say(tables.escape(f"{line}  {result['message_id']}{extra}{before}"))
