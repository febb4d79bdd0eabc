"""The operator's environment, kept for servers that are started from inside a session."""

import json
from collections.abc import Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Final

from lifecycle.runtimes.base import COMMON_ENV
from transport.files import write_atomic
from transport.paths import Root

FILE: Final = "operator-env.json"
OF_A_SESSION: Final = ("PEER_IDENTITY", "PEERWAKE_FROM_SESSION")


def operator_environment(root: Root, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that sessions are made from.

    A server started outside every session keeps the common part (no keys, no tokens) in
    `state/operator-env.json` (0600); one that a session's bridge started takes it from there, so that
    one peer's HOME or PATH does not become everybody's.
    """
    path = root.state / FILE
    if not any(name in environment for name in OF_A_SESSION):
        common = {name: value for name, value in environment.items() if _is_common(name)}
        with suppress(OSError):  # a full disk costs only servers started from a session
            write_atomic(path, json.dumps(common, indent=1) + "\n")
        return dict(environment)
    try:
        kept = {str(name): str(value) for name, value in json.loads(path.read_text("utf-8")).items()}
    except (OSError, ValueError, AttributeError):
        return dict(environment)
    return {name: value for name, value in environment.items() if not _is_common(name)} | kept


def _is_common(name: str) -> bool:
    return any(fnmatchcase(name, glob) for glob in COMMON_ENV)
