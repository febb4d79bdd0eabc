"""The clients' MCP configurations: there, readable, and leading to this root by a program that exists."""

import json
import os
import shlex
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from mcp_server.cli.context import Context
from mcp_server.cli.doctor.finding import Finding, error, ok, warning
from mcp_server.clients.connection import FILE_BYTES, HOME, SERVER, TOOLS
from transport.files import read_regular
from transport.paths import Root
from transport.profile import Profile
from transport.registry import Registry

NAMED: Final = 5
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


class Broken(Exception):
    """A configuration cannot be used as it is; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client reads its servers: its file in the peer's directory, the user's own, and the table in both."""

    file: str
    home: str
    table: str
    is_needed: bool = True


PLACES: Final[Mapping[str, Place]] = {
    "claude": Place(".mcp.json", ".claude.json", "mcpServers"),
    "codex": Place(".codex/config.toml", ".codex/config.toml", "mcp_servers"),
    "scripted": Place(".mcp.json", ".mcp.json", "mcpServers", is_needed=False),
}


def configurations(context: Context, root: Root) -> Iterator[Finding]:
    """Say of every peer whose client we can configure what keeps it from this server."""
    count, found = 0, list[Finding]()
    for profile in Registry(root).snapshot().peers.values():
        for runtime in sorted(set(profile.runtimes) & PLACES.keys()):
            count += 1
            found += _one(context, profile, runtime)
    yield from found[:NAMED]
    if len(found) > NAMED:
        yield warning("mcp", f"and {len(found) - NAMED} more are not as they should be", "mend these, then look again")
    elif count and not found:
        yield ok("mcp", f"{count} configuration{'' if count == 1 else 's'} of clients lead here")


def _one(context: Context, profile: Profile, runtime: str) -> Iterator[Finding]:
    place = PLACES[runtime]
    write = f"peerwake mcp-config {shlex.quote(profile.name)} --client {runtime} --write"
    who = f"{runtime}-{profile.name}"
    try:
        entry = _entry(profile.cwd / place.file, place.table)
        if entry is None:
            entry = _entry(_user_home(context) / place.home, place.table)
        if entry is not None:
            _check(context, entry)
            if runtime == "claude":
                yield from _allowed(profile, who, write)
        elif place.is_needed and profile.cwd.is_dir():
            yield warning("mcp", f"{who}: {profile.cwd / place.file} has no server {SERVER}", write)
    except Broken as problem:
        yield error("mcp", f"{who}: {problem}", write)


def _user_home(context: Context) -> Path:
    return Path(context.environ.get("HOME") or Path.home())


def _entry(path: Path, table: str) -> dict[str, Any] | None:
    """Return our entry in a client's file, None when there is none; raises Broken."""
    document = _document(path)
    servers = document.get(table, {})
    entry = servers.get(SERVER) if isinstance(servers, dict) else None
    if entry is not None and not isinstance(entry, dict):
        raise Broken(f"{path}: {table}.{SERVER} is not a table")
    return entry


def _document(path: Path) -> dict[str, Any]:
    try:
        text = read_regular(path, limit=FILE_BYTES)[0].decode("utf-8-sig")
        found = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text or "{}")
    except FileNotFoundError:
        return {}
    except OSError as problem:
        raise Broken(f"{path} cannot be read: {problem.strerror}") from problem
    except (ValueError, RecursionError) as problem:
        raise Broken(f"{path} cannot be read: {problem}; mend or remove it first") from problem
    if not isinstance(found, dict):
        raise Broken(f"{path} is not an object; mend or remove it first")
    return found


def _check(context: Context, entry: dict[str, Any]) -> None:
    """Raise Broken unless an entry leads to this root."""
    if entry.get("url"):
        _check_address(context, str(entry["url"]))
        return
    command, args, env = entry.get("command"), entry.get("args") or [], entry.get("env") or {}
    if not isinstance(command, str) or not isinstance(args, list) or not isinstance(env, dict):
        raise Broken("its entry has neither a command nor a url")
    if shutil.which(command, path=context.environ.get("PATH")) is None:
        raise Broken(f"it starts {command}, which is not there")
    gone = [word for word in args if isinstance(word, str) and word.endswith(".py") and not Path(word).exists()]
    if gone:
        raise Broken(f"it runs {gone[0]}, which is not there")
    home = env.get(HOME)
    if home is not None and os.path.realpath(str(home)) != os.path.realpath(context.home):
        raise Broken(f"it leads to the root {home}, not to {context.home}")


def _check_address(context: Context, url: str) -> None:
    """Raise Broken when the server of this root listens elsewhere on this machine; another machine may relay."""
    try:
        listening = json.loads(Root(Path(context.home)).discovery.read_text("utf-8"))["http"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    there = urlsplit(url)
    if there.hostname not in LOOPBACK:
        return
    if listening is None:
        raise Broken(f"it leads to {url}, and the server listens on no port: who listens there gets the credential")
    if isinstance(listening, str) and there.port != urlsplit(listening).port:
        raise Broken(f"it leads to {url}, and the server listens on {listening}")


def _allowed(profile: Profile, who: str, write: str) -> Iterator[Finding]:
    """Say when the client would ask before it uses our tools: in a session nobody is there to answer."""
    settings = _document(profile.cwd / ".claude" / "settings.json")
    permissions = settings.get("permissions")
    allowed = permissions.get("allow") if isinstance(permissions, dict) else None
    missing = [tool for tool in TOOLS if f"mcp__{SERVER}__{tool}" not in (allowed or [])]
    if missing and f"mcp__{SERVER}" not in (allowed or []):
        yield warning("mcp", f"{who}: the client will ask before it uses {', '.join(missing)}", write)
