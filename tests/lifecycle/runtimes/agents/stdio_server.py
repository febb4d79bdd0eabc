"""A stdio MCP server of the SDK with a tool called as ours, for the agent to talk to."""

import json
import os
import sys
from pathlib import Path

import anyio
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

mcp = MCPServer("stand-in")


def _write(call: dict[str, object]) -> None:
    line = json.dumps(call | {"me": os.environ.get("PEER_IDENTITY"), "own": os.environ.get("OWN")})
    with Path(sys.argv[1]).open("a") as file:
        file.write(line + "\n")


@mcp.tool()
async def send_to_peer(personality: str, message: str, runtime: str | None = None, reply_to: str | None = None) -> str:
    """Write down what was asked."""
    if message == "die":
        os._exit(1)
    if message == "hang":
        await anyio.sleep_forever()
    if personality == "nobody":
        raise ToolError("unknown peer nobody")
    _write({"personality": personality, "message": message, "runtime": runtime, "reply_to": reply_to})
    return f"delivered to {personality}"


mcp.run(transport="stdio")
