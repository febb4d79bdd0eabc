"""Taking our entries out of the clients' configuration of a directory whose peer is removed."""

import json
import os
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from mcp_server.clients.claude import ALLOWED
from mcp_server.clients.codex import BLOCK
from mcp_server.clients.connection import CREDENTIAL, HOME, SERVER, ConfigUnusable, inside, read_config
from mcp_server.clients.json_edit import remove_value, set_value
from transport.files import write_atomic

BRIDGE: Final = ("serve", "--transport", "stdio")
BRIDGE_FILE: Final = "mcp_server/serve/bridge.py"
OWN_DIRECTORIES: Final = (".claude", ".codex")
LISTS: Final = ((("enabledMcpjsonServers",), (SERVER,)), (("permissions", "allow"), ALLOWED))


def withdraw(cwd: Path, home: Path, environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Remove what `create` or `mcp-config` wrote for the root `home`, and return the files that were changed.

    What others wrote is left as it is; a file that held nothing else is deleted. Blocks; raises ConfigUnusable,
    whatever somebody put into these files.
    """
    try:
        return _withdraw(cwd, home, environ)
    except (RuntimeError, ValueError, AttributeError, TypeError) as error:
        raise ConfigUnusable(f"a file of {cwd} cannot be understood ({error}); it was left as it is") from error


def _withdraw(cwd: Path, home: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
    user = Path(environ.get("HOME") or Path.home())
    wanted = None if home == user / ".peerwake" else str(home)
    claude = Path(environ.get("CLAUDE_CONFIG_DIR") or user / ".claude")
    codex = Path(environ.get("CODEX_HOME") or user / ".codex")
    servers = inside(cwd, ".mcp.json", (), allow_global=False)
    changed = [_servers(servers, wanted)]
    if not _serves(servers):
        settings = [each / "settings.json" for each in (claude, user / ".claude")]
        changed.append(_settings(inside(cwd, ".claude/settings.json", settings, allow_global=False)))
    configs = [each / "config.toml" for each in (codex, user / ".codex")]
    changed.append(_block(inside(cwd, ".codex/config.toml", configs, allow_global=False), wanted))
    return tuple(str(path) for path in changed if path is not None)


def is_ours(entry: object, home: str | None) -> bool:
    """Tell whether an MCP server's entry is one of ours for a root, None being the default one."""
    if not isinstance(entry, dict):
        return False
    args, env, headers = entry.get("args"), entry.get("env") or {}, entry.get("headers") or {}
    if isinstance(args, list) and isinstance(env, dict):
        is_bridge = tuple(args[-len(BRIDGE) :]) == BRIDGE or any(str(word).endswith(BRIDGE_FILE) for word in args)
        return is_bridge and env.get(HOME) == home
    return isinstance(headers, dict) and headers.get("Authorization") == f"Bearer ${{{CREDENTIAL}}}"


def _servers(path: Path, home: str | None) -> Path | None:
    text, document = _json(path)
    if not is_ours(_get(document, "mcpServers", SERVER), home):
        return None
    return _write(path, _without(text, ("mcpServers", SERVER)))


def _serves(path: Path) -> bool:
    """Tell whether there is still a server of our name, which is somebody else's."""
    return _get(_json(path)[1], "mcpServers", SERVER) is not None


def _settings(path: Path) -> Path | None:
    before, document = _json(path)
    text = before
    for keys, ours in LISTS:
        present = _get(document, *keys)
        kept = [each for each in present if each not in ours] if isinstance(present, list) else present
        if kept != present:
            text = set_value(text, keys, kept) if kept else _without(text, keys)
    return None if text == before else _write(path, text)


def _block(path: Path, home: str | None) -> Path | None:
    data = read_config(path)
    text = "" if data is None else data.decode("utf-8", "surrogateescape")
    found = BLOCK.search(text)
    if found is None or _home_of(found[0]) != home:
        return None
    before = text[: found.start()].rstrip("\n")
    return _write(path, (before + "\n" if before else "") + text[found.end() :])


def _home_of(block: str) -> object:
    try:
        entry = tomllib.loads(block)["mcp_servers"][SERVER]
        return entry.get("env", {}).get(HOME)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _without(text: str, keys: tuple[str, ...]) -> str:
    """Return a JSON text without a member, and without the objects around it that are empty then."""
    try:
        text = remove_value(text, keys)
        around = keys[:-1]
        return _without(text, around) if around and _get(json.loads(text), *around) == {} else text
    except ValueError as error:
        raise ConfigUnusable(f"{'.'.join(keys)} cannot be taken out ({error}); it was left as it is") from error


def _json(path: Path) -> tuple[str, Any]:
    data = read_config(path)
    if data is None or not data.strip():
        return "{}", {}
    try:
        text = data.decode("utf-8-sig")
        return text, json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigUnusable(f"{path} is not JSON ({error}); it was left as it is") from error


def _get(document: object, *keys: str) -> object:
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def _write(path: Path, text: str) -> Path:
    try:
        if text.strip() in ("", "{}"):
            path.unlink(missing_ok=True)
            if path.parent.name in OWN_DIRECTORIES:
                with suppress(OSError):
                    path.parent.rmdir()
        else:
            write_atomic(path, text.encode("utf-8", "surrogateescape"), path.stat().st_mode & 0o777)
    except OSError as error:
        raise ConfigUnusable(f"cannot write {path}: {error.strerror}; it was left as it is") from error
    return path
