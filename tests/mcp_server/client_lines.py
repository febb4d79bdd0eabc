"""What an agent's client says to its bridge."""

from typing import Any

INITIALIZE: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
PING = {"jsonrpc": "2.0", "id": "ping", "method": "ping"}


def call(number: object, **arguments: Any) -> dict[str, Any]:
    params = {"name": "send_to_peer", "arguments": {"personality": "bob", "message": "x"} | arguments}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
