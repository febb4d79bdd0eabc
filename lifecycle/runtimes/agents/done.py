"""Telling the server that this worker has finished, as `peerwake self done` does."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS = 5.0


def tell_done(environment: "Mapping[str, str]", cwd: str) -> str:
    """Say `self-done` on the server's socket and return its answer in a word, or what went wrong."""
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
            for request in (hello, {"id": 1, "verb": "self-done", "args": {}}):
                lines.write(json.dumps(request).encode() + b"\n")
                lines.flush()
                answer = json.loads(lines.readline())
                if not answer["ok"]:
                    return str(answer["error"]["message"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"the server could not be told: {error!r}"
    return "told"
