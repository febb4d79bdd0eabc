"""Where settings come from: config.toml with its lines, and the environment."""

import os
import re
import stat
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from mcp_server.setting_values import Found, suggestion
from transport.files import read_regular

PREFIX: Final = "PEERWAKE_"
FILE_BYTES: Final = 1 << 18
KEY_AT: Final = r"""(?m)^[ \t]*(?:\[+[ \t]*)?(?:{name}|"{name}"|'{name}')[ \t]*[=.\]]"""
NOT_SETTINGS: Final = frozenset(
    {
        *("PEERWAKE_HOME", "PEERWAKE_CREDENTIAL", "PEERWAKE_TRACEBACK", "PEERWAKE_URL"),
        *("PEERWAKE_RECONNECT_SECONDS", "PEERWAKE_TRANSCRIPT", "PEERWAKE_FROM_SESSION"),
        *("PEERWAKE_PYTHON", "PEERWAKE_VENV", "PEERWAKE_CLIENTS_BIN", "PEERWAKE_CLIENTS_DIR"),
        *("PEERWAKE_PROTOCOL_BIN", "PEERWAKE_PROTOCOL_DIR", "PEERWAKE_BROWSER"),
    }
)


def from_file(path: Path) -> tuple[dict[str, Found], list[str]]:
    """Return what a config.toml says, and what is wrong with the file itself."""
    try:
        data, status = read_regular(path, limit=FILE_BYTES)
        if status.st_uid not in (os.geteuid(), 0) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return {}, [f"{path} can be written by somebody else; run: chmod 600 {path}"]
        text = data.decode("utf-8-sig")
        values = tomllib.loads(text)
    except FileNotFoundError:
        return {}, []
    except OSError as error:
        return {}, [f"{path}: {error.strerror}; make it a file that you can read, or remove it"]
    except UnicodeDecodeError as error:
        return {}, [f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8"]
    except (ValueError, RecursionError) as error:
        said = str(error).partition(";")[0]
        return {}, [f"{path}: it is not TOML: {said}; write lines such as: port = 8765"]
    return {name: Found(value, f"{path}{_line(text, name)}") for name, value in values.items()}, []


def _line(text: str, name: str) -> str:
    """Return `:N`, where a key stands in a file, or nothing when it is written in a way that hides it."""
    place = re.search(KEY_AT.replace("{name}", re.escape(name)), text)
    return "" if place is None else f":{text.count(chr(10), 0, place.start()) + 1}"


def from_environment(environment: Mapping[str, str], names: Collection[str]) -> tuple[dict[str, Found], list[str]]:
    """Return what the variables say, and a warning for each that looks like a setting and is none."""
    found: dict[str, Found] = {}
    warnings: list[str] = []
    for variable, value in sorted(environment.items()):
        if not variable.startswith(PREFIX) or variable in NOT_SETTINGS:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in names and variable == variable.upper():
            found[name] = Found(value, variable, is_text=True)
        else:
            near = suggestion(name, names, lambda each: f"{PREFIX}{each.upper()}")
            warnings.append(f"{variable}: there is no such setting{near}; it has no effect, unset it")
    return found, warnings
