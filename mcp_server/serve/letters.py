"""The verbs about dead letters: listed, queued again, dropped; one, several, or all of a peer or an age."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from lifecycle.requests import Selection
from mcp_server.tools.queues import MAX_ID, message_structure
from transport.errors import InvalidInput
from transport.spool.records import Handled

if TYPE_CHECKING:
    from mcp_server.serve.verbs import Call

WHICH: Final = frozenset({"personality", "older_seconds"})
IDS: Final = frozenset({"message_id", "message_ids", "all"})
LISTED: Final = 100
MOST: Final = 10_000
MAX_OLDER_SECONDS: Final = 1e9


async def dead(call: "Call") -> dict[str, Any]:
    """Dead letters, the newest first: of one peer or of all, of any age or given up that long ago."""
    limit = call.arguments.whole("limit", LISTED, 1, MOST)
    letters = await call.service.dead_letters(_which(call), limit)
    return {"rows": [message_structure(report) for report in letters.rows], "total": letters.total}


async def retry(call: "Call") -> dict[str, Any]:
    return await _handle(call, call.service.retry)


async def drop(call: "Call") -> dict[str, Any]:
    return await _handle(call, call.service.drop)


async def _handle(call: "Call", verb: Callable[[Selection], Awaitable[Handled]]) -> dict[str, Any]:
    """One message is answered with its history or the refusal; of several, each is told apart."""
    selection = _selection(call)
    handled = await verb(selection)
    if call.args.get("message_id") is not None:
        for _, error in handled.refused:
            raise error
        return message_structure(await call.service.message(selection.message_ids[0]))
    return {
        "done": [{"message_id": each.message_id, "recipient": str(each.recipient)} for each in handled.done],
        "refused": [
            {"message_id": message_id, "code": error.code, "message": str(error)}
            for message_id, error in handled.refused
        ],
    }


def _which(call: "Call") -> Selection:
    older = call.arguments.number("older_seconds", 0.0, MAX_OLDER_SECONDS)
    return Selection(personality=call.optional("personality"), older_seconds=older or 0.0)


def _selection(call: "Call") -> Selection:
    """Return the messages meant: `message_id`, or `message_ids`, or with `all` the dead letters of `_which`."""
    ids, is_all = _ids(call), call.arguments.flag("all")
    if bool(ids) == is_all:
        raise InvalidInput("message_ids", "give the ids of messages, or all=true for every dead letter")
    which = _which(call)
    if is_all:
        return which
    if which != Selection():
        raise InvalidInput("message_ids", "personality and older_seconds choose among all, not among ids")
    return Selection(ids)


def _ids(call: "Call") -> tuple[str, ...]:
    one = None if call.args.get("message_id") is None else call.message_id()
    many = call.args.get("message_ids")
    if many is None or many == []:
        return () if one is None else (one,)
    if one is not None:
        raise InvalidInput("message_ids", "give message_id or message_ids, not both")
    if not isinstance(many, list) or len(many) > MOST or not all(map(_may_be_id, many)):
        raise InvalidInput("message_ids", f"it is not a list of 1 to {MOST:,} message ids; give one")
    return tuple(many)


def _may_be_id(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_ID
