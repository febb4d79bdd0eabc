"""What clients are told of the tools: written once, small, since every agent pays for it on every turn."""

from typing import Any, Final

from lifecycle.prompt.rules import RULES
from mcp_server.tools import messages, peers, queues

INSTRUCTIONS: Final = RULES

_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer"}
_STATUS: Final = {"enum": ["delivered", "queued", "error"]}

SEND: Final[dict[str, Any]] = {
    "name": messages.NAME,
    "title": "Send to peer",
    "description": (
        "Send a message to a peer by name. It is stored before this returns and the peer is woken if it sleeps."
        " Says `delivered` with proof, or `queued` with the reason."
    ),
    "inputSchema": {
        "type": "object",
        "properties": {
            "personality": _TEXT | {"description": "the peer's name"},
            "message": _TEXT | {"description": "1 character to 256 KiB"},
            "runtime": _TEXT | {"description": "one of its runtimes; default: its own choice"},
            "topic": _TEXT | {"description": "subject, up to 200 characters"},
            "attachments": {
                "type": "array",
                "items": _TEXT,
                "maxItems": 20,
                "description": "absolute paths of readable files",
            },
            "reply_to": _TEXT | {"description": "id of the message you answer"},
            "idempotency_key": _TEXT | {"description": "same key within 24 h: one message"},
            "wait_seconds": {
                "type": "number",
                "minimum": 0,
                "maximum": 120,
                "description": "wait for the receipt; default: only while it is being delivered, up to 20",
            },
        },
        "required": ["personality", "message"],
        "additionalProperties": False,
    },
    "outputSchema": {
        "type": "object",
        "properties": {
            "status": _STATUS,
            "message_id": _TEXT,
            "delivered_to": {
                "type": "object",
                "properties": {"personality": _TEXT, "runtime": _TEXT, "host": _TEXT},
            },
            "woke": {"type": "boolean"},
            "queue_depth": _COUNT,
            "reason": {"type": ["string", "null"]},
            "at": _TEXT,
            "code": _TEXT,
        },
        "required": ["status"],
    },
    "annotations": {
        "readOnlyHint": False,
        "destructiveHint": False,
        "idempotentHint": False,
        "openWorldHint": False,
    },
}

_READS: Final = {"readOnlyHint": True, "openWorldHint": False}

LIST: Final[dict[str, Any]] = {
    "name": peers.NAME,
    "title": "List peers",
    "description": "List peers with their runtimes, state, queue depth and description, a page at a time.",
    "inputSchema": {
        "type": "object",
        "properties": {
            "query": _TEXT | {"description": "part of a name or description"},
            "live_only": {"type": "boolean"},
            "offset": {"type": "integer", "minimum": 0, "description": "next_offset of the page before"},
        },
        "additionalProperties": False,
    },
    "outputSchema": {
        "type": "object",
        "properties": {
            "peers": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "name": _TEXT,
                        "host": _TEXT,
                        "intelligence": _TEXT,
                        "description": _TEXT,
                        "runtimes": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "properties": {"runtime": _TEXT, "state": _TEXT, "queue_depth": _COUNT},
                            },
                        },
                    },
                },
            },
            "total": _COUNT,
            "next_offset": _COUNT,
        },
    },
    "annotations": _READS,
}

QUEUE: Final[dict[str, Any]] = {
    "name": queues.NAME,
    "title": "Queue status",
    "description": "What waits for a peer (default: you), or the whole history of one message.",
    "inputSchema": {
        "type": "object",
        "properties": {"personality": _TEXT, "message_id": _TEXT},
        "additionalProperties": False,
    },
    "outputSchema": {
        "type": "object",
        "properties": {
            "queues": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "identity": _TEXT,
                        "depth": _COUNT,
                        "in_flight": {"type": ["string", "null"]},
                        "head_age_seconds": {"type": ["number", "null"]},
                        "last_receipt_at": {"type": ["string", "null"]},
                        "dead": _COUNT,
                        "hold": {"type": ["string", "null"]},
                        "detail": {"type": ["string", "null"]},
                    },
                },
            },
            "message": {"type": "object"},
        },
    },
    "annotations": _READS,
}

TOOLS: Final = (SEND, LIST, QUEUE)
