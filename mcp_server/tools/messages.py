"""send_to_peer: accept a message durably and tell what is known of its delivery."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, assert_never

from lifecycle.requests import SendRequest, SendResult
from lifecycle.states import SendStatus
from mcp_server.serve.callers import Caller
from mcp_server.service import Progress, Service
from mcp_server.tools.answers import Answer
from mcp_server.tools.arguments import Arguments
from mcp_server.tools.attachments import look_at
from transport.errors import InvalidInput
from transport.identity import check_personality, check_runtime
from transport.message import check_fields
from transport.vocabulary import Hold

NAME: Final = "send_to_peer"
REQUEST_META: Final = "peerwake/request"
MAX_REQUEST_META: Final = 100
TAKES: Final = frozenset(
    {
        "personality",
        "message",
        "runtime",
        "topic",
        "attachments",
        "reply_to",
        "idempotency_key",
        "wait_seconds",
    }
)
HOLDS: Final = frozenset(Hold)
WAITS_FOR: Final = {
    Hold.BUSY: "it is busy",
    Hold.WAKING: "it is waking up",
    Hold.EPHEMERAL: "it works on one task at a time",
    Hold.DRAFT: "a person is typing in its terminal",
    Hold.ASKS: "it waits for a person's answer",
    Hold.BLOCKED: "its terminal shows something a person must look at",
    Hold.NO_SUPERVISOR: "no server delivers right now",
    Hold.BACKOFF: "the last attempt failed, it will be tried again",
    Hold.UNKNOWN: "it is being handed over",
}


def send_request(given: Mapping[str, Any] | None, meta: Mapping[str, Any] | None) -> SendRequest:
    """Check the arguments of a send; raises InvalidInput. Nothing here waits, and no attachment is looked at."""
    arguments = Arguments(NAME, given, TAKES)
    runtime = arguments.raw("runtime")
    draft = check_fields(
        arguments.required("message"),
        topic=arguments.raw("topic"),
        attachments=arguments.raw("attachments"),
        reply_to=arguments.raw("reply_to"),
        idempotency_key=arguments.raw("idempotency_key") or _request_key(meta),
    )
    return SendRequest(
        personality=check_personality(arguments.required("personality")),
        draft=draft,
        runtime=None if runtime is None or runtime == "" else check_runtime(runtime),
        wait_seconds=arguments.seconds("wait_seconds"),
    )


async def checked_request(
    service: Service, caller: Caller, given: Mapping[str, Any] | None, meta: Mapping[str, Any] | None = None
) -> SendRequest:
    """Check the arguments of a send and its attachments; raises InvalidInput.

    Without attachments nothing waits, unless those of an earlier send on this connection are looked at: calls are
    accepted in their order.
    """
    request = send_request(given, meta)
    if request.draft.attachments or caller.turns.is_taken:
        await look_at(service, caller, request.draft.attachments)
    return request


def _request_key(meta: Mapping[str, Any] | None) -> str | None:
    """The bridge's id of this request: the same call sent again after a server's restart is one message."""
    request = meta.get(REQUEST_META) if meta else None
    if request is None:
        return None
    if not isinstance(request, str) or not 1 <= len(request) <= MAX_REQUEST_META:
        raise InvalidInput(f"_meta.{REQUEST_META}", f"it is not a string of 1 to {MAX_REQUEST_META} characters")
    return f"request:{request}"


async def send_to_peer(
    service: Service,
    caller: Caller,
    given: Mapping[str, Any] | None,
    meta: Mapping[str, Any] | None,
    progress: Progress | None,
) -> Answer:
    """Send one message. Nothing waits between the check and the service, so calls are accepted in their order."""
    request = await checked_request(service, caller, given, meta)
    sent = await service.send(caller.sender, request, progress)
    if sent.duplicate and not _has_key(given):
        # A bridge has repeated the call after a restart; its caller sent one message and is told of one.
        sent = replace(sent, duplicate=False)
    return Answer(_line(sent), structure(sent))


def _has_key(given: Mapping[str, Any] | None) -> bool:
    """Return whether the caller gave an idempotency key of its own."""
    return bool(given and given.get("idempotency_key"))


def structure(sent: SendResult) -> dict[str, Any]:
    """Return a send's result as JSON values."""
    shown: dict[str, Any] = {
        "message_id": sent.message_id,
        "status": str(sent.status),
        "delivered_to": {"personality": sent.personality, "runtime": sent.runtime, "host": sent.host},
        "woke": sent.woke,
        "queue_depth": sent.queue_depth,
        "reason": sent.reason,
        "at": sent.at,
    }
    if sent.removed_controls:
        shown["removed_controls"] = sent.removed_controls
    if sent.duplicate:
        shown["duplicate"] = True
    return shown


def _line(sent: SendResult) -> str:
    to = f"{sent.personality} ({sent.runtime})"
    match sent.status:
        case SendStatus.DELIVERED:
            line = f"Delivered to {to}: it has the message, {sent.message_id}."
        case SendStatus.QUEUED:
            why = WAITS_FOR.get(Hold(sent.reason), sent.reason) if sent.reason in HOLDS else sent.reason
            ahead = f", {sent.queue_depth} in its queue" if sent.queue_depth > 1 else ""
            because = f" because {why}" if why else ""
            line = f"Queued for {to}{because}{ahead}. {sent.message_id} is safe on disk: do not send it again."
        case _ as never:
            assert_never(never)
    if sent.duplicate:
        line += " It was sent before: this is the first message's result."
    if sent.removed_controls:
        line += f" {sent.removed_controls} control characters were removed."
    return line
