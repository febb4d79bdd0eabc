"""The environment of a session: the runtime's share of the operator's, the peer's own, and who it is."""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lifecycle.runtimes.base import LaunchSpec, Runtime
from transport.errors import PeerwakeError
from transport.files import read_regular
from transport.identity import Identity
from transport.paths import Root

LINE: Final = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
FILE_BYTES: Final = 1 << 16
OURS: Final = ("PEER_", "PEERWAKE_", "TMUX")


class LaunchEnvInvalid(PeerwakeError):
    """The peer's launch.env cannot be used; the user corrects the line it names."""

    code = "launch-env-invalid"


def launch_env_path(cwd: Path, runtime: str) -> Path:
    return cwd / ".peerwake" / "runtimes" / runtime / "launch.env"


def read_launch_env(path: Path) -> dict[str, str]:
    """Return the variables of a launch.env (`NAME=value` a line, `#` comments, optional quotes).

    Raises LaunchEnvInvalid: not ours, writable by others, or a line that cannot be read.
    """
    try:
        data, status = read_regular(path, follow=False, limit=FILE_BYTES)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise LaunchEnvInvalid(f"{path}: {error.strerror}") from error
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise LaunchEnvInvalid(f"{path} can be written by somebody else; run: chmod 600 {path}")
    lines = data.decode("utf-8", "replace").split("\n")
    return dict(_variable(path, number, line) for number, line in enumerate(lines, 1) if _is_meant(line))


def _is_meant(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _variable(path: Path, number: int, line: str) -> tuple[str, str]:
    found = LINE.fullmatch(line.strip())
    if found is None:
        raise LaunchEnvInvalid(f"{path}:{number}: not NAME=value")
    name, value = found[1], found[2].strip()
    if "\0" in value:
        raise LaunchEnvInvalid(f"{path}:{number}: the value of {name} holds NUL, which no variable can; remove it")
    if name.startswith(OURS):
        raise LaunchEnvInvalid(f"{path}:{number}: {name} is set by peerwake; remove the line")
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    return name, value


def session_environment(
    runtime: Runtime,
    spec: LaunchSpec,
    *,
    operator: Mapping[str, str],
    root: Root,
    identity: Identity,
    credential: str,
) -> dict[str, str]:
    """Return the complete environment of a session; raises LaunchEnvInvalid."""
    prompt = {} if spec.prompt_file is None else {"PEER_PROMPT": str(spec.prompt_file)}
    chosen = read_launch_env(launch_env_path(spec.cwd, runtime.name))
    # A peer may replace HOME for its client, so its variables are known before those derived from them.
    return (
        runtime.environment({**operator, **chosen}, spec)
        | chosen
        | {
            "PEER_PERSONALITY": identity.personality,
            "PEER_RUNTIME": identity.runtime,
            "PEER_IDENTITY": str(identity),
            "PEERWAKE_HOME": str(root.home),
            "PEERWAKE_CREDENTIAL": credential,
        }
        | prompt
    )
