"""Claude Code's configuration of one directory: `.mcp.json` and `.claude/settings.json`.

Measured with 2.1.328: the approvals of the settings count once the directory is trusted, which the
client asks and notes itself at the first start; a stdio server inherits the client's environment.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mcp_server.clients.connection import (
    CREDENTIAL,
    HOME,
    SERVER,
    TOOLS,
    Change,
    ConfigUnusable,
    Connection,
    Transport,
    inside,
    read_config,
)
from mcp_server.clients.json_edit import set_value

ALLOWED: Final = tuple(f"mcp__{SERVER}__{tool}" for tool in TOOLS)


def server_entry(connection: Connection) -> dict[str, Any]:
    """Return the entry of our server in `.mcp.json`."""
    entry: dict[str, Any] = {"type": str(connection.transport)}
    if connection.transport is Transport.STDIO:
        entry |= {"command": connection.command, "args": list(connection.args)}
        if connection.home is not None:
            entry["env"] = {HOME: str(connection.home)}
    else:
        entry |= {"url": connection.url, "headers": {"Authorization": f"Bearer ${{{CREDENTIAL}}}"}}
    return entry | {"alwaysLoad": True}


def render(connection: Connection) -> str:
    """Return a `.mcp.json` with nothing but our server."""
    return json.dumps({"mcpServers": {SERVER: server_entry(connection)}}, indent=2) + "\n"


def plan(
    cwd: Path, connection: Connection, *, environ: Mapping[str, str] = os.environ, allow_global: bool = False
) -> list[Change]:
    """Return what is to be written so that a client started in `cwd` has our tools and may use them.

    Raises ConfigUnusable: a file is not a JSON object, or would be the user's global settings.
    """
    home = Path(environ.get("HOME") or Path.home())
    config = Path(environ.get("CLAUDE_CONFIG_DIR") or home / ".claude")
    global_files = [each / name for each in (config, home / ".claude") for name in ("settings.json",)]
    servers = inside(cwd, ".mcp.json", (), allow_global)
    settings = inside(cwd, ".claude/settings.json", global_files, allow_global)
    return [servers_change(servers, connection), _settings_change(settings)]


def servers_change(path: Path, connection: Connection) -> Change:
    """Return `.mcp.json` with our server in it; raises ConfigUnusable."""
    old = read_config(path)
    text = _text(path, old)
    document = json.loads(text)
    entry = server_entry(connection)
    if _get(document, "mcpServers", SERVER) != entry:
        text = _set(path, text, ("mcpServers", SERVER), entry)
    return Change(path, f"MCP server {SERVER} over {connection.transport}, tools always loaded", old, text.encode())


def _settings_change(path: Path) -> Change:
    old = read_config(path)
    text = _text(path, old)
    for keys, wanted in ((("enabledMcpjsonServers",), (SERVER,)), (("permissions", "allow"), ALLOWED)):
        present = _get(json.loads(text), *keys) or []
        if not isinstance(present, list):
            raise ConfigUnusable(f"{path}: {'.'.join(keys)} is not a list; mend it, nothing was changed")
        missing = [each for each in wanted if each not in present]
        if missing:
            text = _set(path, text, keys, [*present, *missing])
    what = f"MCP server {SERVER} enabled, its {len(ALLOWED)} tools allowed without asking"
    return Change(path, what, old, text.encode())


def _text(path: Path, data: bytes | None) -> str:
    """Return a file's text, an empty object for none; raises ConfigUnusable unless it is a JSON object."""
    if data is None or not data.strip():
        return "{}\n"
    try:
        text = data.decode("utf-8-sig")
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigUnusable(f"{path} is not JSON ({error}); mend or remove it, nothing was changed") from error
    if not isinstance(document, dict):
        raise ConfigUnusable(f"{path} is not a JSON object; mend or remove it, nothing was changed")
    return text


def _get(document: object, *keys: str) -> object:
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def _set(path: Path, text: str, keys: tuple[str, ...], value: object) -> str:
    try:
        return set_value(text, keys, value)
    except ValueError as error:
        raise ConfigUnusable(f"{path}: {error}; mend it, nothing was changed") from error
