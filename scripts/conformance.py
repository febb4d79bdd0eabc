"""Installs the pinned MCP conformance suite and inspector, with the Node they need, and prints where they are."""

import sys
from pathlib import Path

from npm_bundle import Bundle

PROTOCOL = Bundle(
    title="the conformance suite",
    pins={
        "@modelcontextprotocol/conformance": "0.2.0-alpha.12",
        "@modelcontextprotocol/inspector": "2.12.0",
        "node": "22.23.3",
    },
    commands={
        "node": "node",
        "conformance": "@modelcontextprotocol/conformance",
        "mcp-inspector": "@modelcontextprotocol/inspector",
    },
)

if __name__ == "__main__":
    sys.exit(PROTOCOL.main(Path(sys.argv[1])))
