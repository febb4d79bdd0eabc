"""Installs the pinned real clients into a cache directory and prints the directory of their commands."""

import sys
from pathlib import Path

from npm_bundle import Bundle

CLIENTS = Bundle(
    title="the clients",
    pins={"@anthropic-ai/claude-code": "2.1.328", "@openai/codex": "0.169.0"},
    commands={"claude": "@anthropic-ai/claude-code", "codex": "@openai/codex"},
)

if __name__ == "__main__":
    sys.exit(CLIENTS.main(Path(sys.argv[1])))
