"""The bundled scripted agent reads the same `.mcp.json` as Claude Code, and nothing else."""

import os
from collections.abc import Mapping
from pathlib import Path

from mcp_server.clients.claude import render, servers_change
from mcp_server.clients.connection import Change, Connection, inside

__all__ = ["plan", "render"]


def plan(
    cwd: Path, connection: Connection, *, environ: Mapping[str, str] = os.environ, allow_global: bool = False
) -> list[Change]:
    """Return what is to be written so that a scripted agent in `cwd` has our tools; raises ConfigUnusable."""
    return [servers_change(inside(cwd, ".mcp.json", (), allow_global), connection)]
