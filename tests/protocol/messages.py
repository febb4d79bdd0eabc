"""MCP messages by hand, in both eras."""

import json
from typing import Any

Message = dict[str, Any]
MODERN = "2026-07-28"
HANDSHAKE = "2025-11-25"
INITIALIZE: Message = {
    "jsonrpc": "2.0",
    "id": "hello",
    "method": "initialize",
    "params": {"protocolVersion": HANDSHAKE, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
INITIALIZED: Message = {"jsonrpc": "2.0", "method": "notifications/initialized"}
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
ERAS = (HANDSHAKE, MODERN)


def request(request_id: object, method: str, era: str = HANDSHAKE, /, **params: Any) -> Message:
    """Return a request of one era."""
    if era == MODERN:
        params = params | {"_meta": ENVELOPE | params.get("_meta", {})}
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


def notification(method: str, /, **params: Any) -> Message:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def cancelled(request_id: object) -> Message:
    return notification("notifications/cancelled", requestId=request_id, reason="no longer wanted")


def call(request_id: object, tool: str, era: str = HANDSHAKE, /, meta: Message | None = None, **given: Any) -> Message:
    """Return the call of a tool."""
    more = {"_meta": meta} if meta else {}
    return request(request_id, "tools/call", era, name=tool, arguments=given, **more)


def send(request_id: object, text: str, era: str = HANDSHAKE, /, to: str = "bob", **given: Any) -> Message:
    """Return the call that sends a message and waits for nothing, unless `wait_seconds` says so."""
    return call(request_id, "send_to_peer", era, personality=to, message=text, **({"wait_seconds": 0} | given))


def encoded(message: Message | bytes) -> bytes:
    return message if isinstance(message, bytes) else json.dumps(message).encode()
