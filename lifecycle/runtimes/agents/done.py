"""Telling the server what becomes of this session, as `peerwake self done` and `self new` do."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS = 5.0


def tell_done(environment: "Mapping[str, str]", cwd: str) -> str:
    """Say `self-done` on the server's socket and return its answer in a word, or what went wrong."""
    return _tell(environment, cwd, {"id": 1, "verb": "self-done", "args": {}})


def tell_new(environment: "Mapping[str, str]", cwd: str, seed: str) -> str:
    """Say `self-new` in the same way; `seed` is what the next session is told first, empty for nothing."""
    return _tell(environment, cwd, {"id": 1, "verb": "self-new", "args": {"seed": seed}})


def _tell(environment: "Mapping[str, str]", cwd: str, request: "dict[str, object]") -> str:
    import json
    import socket

    home = environment.get("PEERWAKE_HOME")
    if not home:
        return "no PEERWAKE_HOME: not a session of peerwake"
    path = f"{home}/run/server.sock"
    hello = {"peerwake": 1, "role": "control", "credential": environment.get("PEERWAKE_CREDENTIAL"), "cwd": cwd}
    try:
        if os.stat(path).st_uid != os.geteuid():
            return f"{path} belongs to somebody else"
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(SECONDS)
            connection.connect(path)
            lines = connection.makefile("rwb")
            for each in (hello, request):
                lines.write(json.dumps(each).encode() + b"\n")
                lines.flush()
                answer = json.loads(lines.readline())
                if not answer["ok"]:
                    return str(answer["error"]["message"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"the server could not be told: {error!r}"
    return "told"
