"""Codex's configuration of one directory: a marked block in `.codex/config.toml`.

Measured with 0.169.0: the file counts once the directory is trusted, which the client asks (only where
there is such a file) and notes itself at the first start; a stdio server gets no more of the environment
than what `env` and `env_vars` name; there is no SSE.
"""

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mcp_server.clients.connection import (
    CREDENTIAL,
    HOME,
    PASSED,
    SERVER,
    Change,
    ConfigUnusable,
    Connection,
    Transport,
    inside,
    read_config,
)
from transport.errors import InvalidInput

BEGIN: Final = f"# >>> {SERVER}: this block is written by `peerwake mcp-config` and replaced as a whole"
END: Final = f"# <<< {SERVER}"
BLOCK: Final = re.compile(rf"^# >>> {SERVER}\b[^\n]*\n.*?^{re.escape(END)}[^\n]*\n?", re.DOTALL | re.MULTILINE)


def render(connection: Connection) -> str:
    """Return the marked block; raises InvalidInput for SSE, which this client does not speak."""
    lines = [BEGIN, f"[mcp_servers.{SERVER}]"]
    match connection.transport:
        case Transport.STDIO:
            lines += [f"command = {_quote(connection.command)}", f"args = {_array(connection.args)}"]
            names = tuple(name for name in PASSED if name != HOME or connection.home is None)
            lines.append(f"env_vars = {_array(names)}")
            if connection.home is not None:
                lines.append(f"env = {{ {HOME} = {_quote(str(connection.home))} }}")
        case Transport.HTTP:
            lines += [f"url = {_quote(connection.url)}", f"bearer_token_env_var = {_quote(CREDENTIAL)}"]
        case Transport.SSE:
            raise InvalidInput("transport", "Codex does not speak SSE; use stdio or http")
    return "\n".join([*lines, 'default_tools_approval_mode = "approve"', END]) + "\n"


def plan(
    cwd: Path, connection: Connection, *, environ: Mapping[str, str] = os.environ, allow_global: bool = False
) -> list[Change]:
    """Return what is to be written so that a client started in `cwd` has our tools and may use them.

    Raises ConfigUnusable: the file is not TOML, has an entry of this name that is not ours, or would be
    the user's global configuration.
    """
    home = Path(environ.get("HOME") or Path.home())
    config = Path(environ.get("CODEX_HOME") or home / ".codex")
    global_files = [each / "config.toml" for each in (config, home / ".codex")]
    path = inside(cwd, ".codex/config.toml", global_files, allow_global)
    old = read_config(path)
    new = merge(path, "" if old is None else _decode(path, old), render(connection))
    what = f"MCP server {SERVER} over {connection.transport}, its tools allowed without asking"
    return [Change(path, what, old, new.encode())]


def merge(path: Path, text: str, block: str) -> str:
    """Return the text with our block in place of an earlier one, else at its end; raises ConfigUnusable."""
    _check(path, text, "is not TOML")
    if BLOCK.search(text):
        merged = BLOCK.sub(lambda _: block, text, count=1)
    else:
        gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
        merged = text + gap + block
    _check(path, merged, f"has its own entry mcp_servers.{SERVER}, or none can be added")
    return merged


def _decode(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigUnusable(f"{path} is not UTF-8 ({error}); mend or remove it, nothing was changed") from error


def _check(path: Path, text: str, problem: str) -> None:
    try:
        tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigUnusable(f"{path} {problem} ({error}); mend it, nothing was changed") from error


def _quote(text: str) -> str:
    """Return a TOML basic string, whose escapes are those of JSON but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _array(words: tuple[str, ...]) -> str:
    return "[" + ", ".join(map(_quote, words)) + "]"
