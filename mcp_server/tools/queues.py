"""queue_status: what waits for a peer, or one message's whole history."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from lifecycle.requests import MessageReport, NotAllowed, QueueRow
from mcp_server.serve.callers import Caller
from mcp_server.service import Service
from mcp_server.tools.answers import Answer
from mcp_server.tools.arguments import Arguments
from transport.errors import InvalidInput
from transport.identity import check_personality

NAME: Final = "queue_status"
TAKES: Final = frozenset({"personality", "message_id"})
MAX_ID: Final = 64
MAX_ROWS: Final = 20
MAX_DETAIL: Final = 120


async def queue_status(service: Service, caller: Caller, given: Mapping[str, Any] | None) -> Answer:
    """Report on the queues of one peer, on one message, or without arguments on the caller's own."""
    arguments = Arguments(NAME, given, TAKES)
    message_id = arguments.text("message_id", MAX_ID)
    name = arguments.raw("personality")
    if message_id and name:
        raise InvalidInput("message_id", "give a personality or a message_id, not both")
    if message_id:
        report = await service.message(message_id)
        check_party(caller, report)
        return Answer(_message_line(report), {"message": message_structure(report)})
    if name is None or name == "":
        own = caller.identity.personality if caller.identity else None
        rows = await service.queue(own)
    else:
        rows = await service.queue(check_personality(name))
    structure: dict[str, Any] = {"queues": [_row(row) for row in rows[:MAX_ROWS]], "total": len(rows)}
    return Answer(_queues_line(rows), structure)


def _row(row: QueueRow) -> dict[str, Any]:
    """Return a queue as JSON values; what a screen shows is cut to one short line."""
    detail = None if row.detail is None else " ".join(row.detail.split())[:MAX_DETAIL]
    return asdict(row) | {"detail": detail}


def check_party(caller: Caller, report: MessageReport) -> None:
    """Raise NotAllowed unless the caller sent the message, is to receive it, or is the operator."""
    if caller.is_operator or caller.identity is None:
        return
    own = caller.identity.personality
    parties = {identity.partition("-")[2] for identity in (report.sender, report.recipient)}
    if own not in parties:
        raise NotAllowed(f"{report.message_id} is neither from you nor to you; only its parties may ask about it")


def message_structure(report: MessageReport) -> dict[str, Any]:
    """Return a message's history as JSON values."""
    return asdict(report) | {"events": [list(event) for event in report.events]}


def _message_line(report: MessageReport) -> str:
    why = f": {report.reason}" if report.reason else ""
    tries = f" after {report.attempts} attempts" if report.attempts > 1 else ""
    return f"{report.message_id} to {report.recipient} is {report.state}{tries}{why}."


def _queues_line(rows: tuple[QueueRow, ...]) -> str:
    busy = [row for row in rows if row.depth or row.dead or row.in_flight]
    if not busy:
        return "Nothing waits and nothing was given up."
    parts = []
    for row in busy[:5]:
        waits = f"{row.depth} waiting"
        oldest = f", oldest {row.head_age_seconds:.0f} s" if row.head_age_seconds is not None else ""
        held = f", held: {row.hold}" if row.hold else ""
        dead = f", {row.dead} dead letters" if row.dead else ""
        parts.append(f"{row.identity}: {waits}{oldest}{held}{dead}")
    more = f"; {len(busy) - 5} more with something" if len(busy) > 5 else ""
    return "; ".join(parts) + more + "."
