"""A message as those are shown it who ask: the same with and without a server."""

from dataclasses import asdict
from typing import Any

from lifecycle.requests import MessageReport
from transport.clock import iso
from transport.profile import Profile, host, tenant
from transport.spool.records import Record


def report(record: Record, recipient: Profile | None) -> MessageReport:
    """Return a record without its body, times in ISO 8601; `recipient` is None for a peer that is gone."""
    message = record.message
    return MessageReport(
        message_id=message.id,
        sender=str(message.sender),
        recipient=str(message.recipient),
        state=record.state,
        stage=record.stage,
        attempts=record.attempts,
        accepted_at=iso(message.accepted_at),
        settled_at=None if record.settled_at is None else iso(record.settled_at),
        reason=record.reason,
        host=host() if recipient is None else recipient.host,
        tenant_id=tenant() if recipient is None else recipient.tenant_id,
        events=tuple((iso(at), event, detail) for at, event, detail in record.events),
    )


def whole(record: Record, recipient: Profile | None) -> dict[str, Any]:
    """Return a record as a document, with its body and what was sent along with it."""
    message = record.message
    return asdict(report(record, recipient)) | {
        "body": message.body,
        "topic": message.topic,
        "attachments": list(message.attachments),
        "reply_to": message.reply_to,
        "kind": message.kind,
        "hops": message.hops,
    }
