"""Messages handled one by one or all together: shown, queued again, dropped."""

from collections.abc import Sequence
from typing import Any

from mcp_server.cli import tables
from mcp_server.cli.context import Context
from mcp_server.cli.control import ask, connect
from mcp_server.cli.exits import Exit
from mcp_server.cli.failures import NoServer, Refused

DONE = {"retry": "queued again", "drop": "dropped"}
SHOWN = ("message_id", "kind", "sender", "recipient", "topic", "state", "stage", "attempts")
THEN = ("accepted_at", "settled_at", "reason")
HANDLE_SECONDS = 120.0


def show(context: Context, message_ids: Sequence[str]) -> int:
    """Print some messages with their history; a missing one does not hide the others."""
    reports: list[dict[str, Any]] = []
    refusals: list[Refused] = []
    for message_id in message_ids:
        try:
            reports.append(report(context, message_id))
        except Refused as refused:
            if len(message_ids) == 1:
                raise
            refusals.append(refused)
    whose = tables.whose(context)
    if context.wants_json:
        several = {"messages": [whose | each for each in reports], "refused": _refused(whose, refusals)}
        tables.document(context, whose | reports[0] if len(message_ids) == 1 else several)
    else:
        for number, each in enumerate(reports):
            context.say("") if number else None
            show_message(context, each)
    for refusal in refusals:
        context.note(tables.escape(refusal))
    return Exit.REFUSED if refusals else Exit.OK


def _refused(whose: dict[str, str], refusals: list[Refused]) -> list[dict[str, str]]:
    return [whose | {"code": refusal.code, "message": str(refusal)} for refusal in refusals]


def report(context: Context, message_id: str) -> dict[str, Any]:
    """Return one message with its history and its body, also without a server."""
    try:
        return ask(context, "show", {"message_id": message_id})
    except NoServer:
        from mcp_server.cli.offline import Offline

        return Offline(context).message(message_id)


def show_message(context: Context, shown: dict[str, Any]) -> None:
    """Print a message's fields, its history and its body."""
    for name in (*SHOWN, *THEN):
        if shown.get(name) not in (None, ""):
            context.say(f"{name + ':':<13} {tables.escape(shown[name])}")
    for event in shown.get("events") or ():
        context.say("  ".join(["", *(tables.escape(part) for part in event if part)]))
    for line in str(shown.get("body") or "").splitlines():
        context.say(f"  | {tables.escape(line)}")


def handle(context: Context, verb: str, args: dict[str, Any]) -> int:
    """Retry or drop messages; a refused one does not keep the others from it, and makes the exit code 4."""
    with connect(context) as control:
        handled = control.call(verb, args, HANDLE_SECONDS)
    whose, refused = tables.whose(context), handled["refused"]
    if context.wants_json:
        tables.document(
            context,
            {"done": [whose | each for each in handled["done"]], "refused": [whose | each for each in refused]},
        )
    elif args.get("all"):
        context.say(f"{count(handled['done'])} {DONE[verb]}")
    else:
        for each in handled["done"]:
            context.say(tables.escape(f"{each['message_id']} {DONE[verb]}"))
    for each in refused:
        context.note(tables.escape(each["message"]))
    return Exit.REFUSED if refused else Exit.OK


def count(letters: Sequence[object]) -> str:
    """Return how many dead letters these are, in words."""
    return "1 dead letter" if len(letters) == 1 else f"{len(letters) or 'no'} dead letters"
