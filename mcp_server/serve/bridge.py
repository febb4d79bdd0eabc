"""stdio to the server's unix socket: one small process per agent that outlives the server.

Standard library only, started as `python -I -S bridge.py`. It starts a server when there is none,
connects again when the server goes away, and sends what was in flight once more; the server knows
a repeated call by its `_meta["peerwake/request"]`.
"""

# Without pathlib and contextlib, which cost more to import than this whole program.

import os
import sys

if __name__ == "__main__":
    # At the end: nothing of ours or of an installation may stand in for the standard library.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from mcp_server.serve.bridge_loop import Bridge, Config
from transport.home import root_at

RECONNECT = "60"
RECONNECT_VARIABLE = "PEERWAKE_RECONNECT_SECONDS"


def configure(argv: list[str], environment: "os._Environ[str]") -> Config:
    """Read `[--home DIR] [--no-start] [--reconnect-seconds N] [-- COMMAND …]`; raises ValueError."""
    home = environment.get("PEERWAKE_HOME")
    start = [sys.executable, "-m", "mcp_server", "serve"]
    seconds, source = environment.get(RECONNECT_VARIABLE) or RECONNECT, RECONNECT_VARIABLE
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == "--":
            start, words = words, []
        elif word == "--no-start":
            start = []
        elif word == "--home" and words:
            home = words.pop(0)
            if not home:
                raise ValueError("--home is empty; name a directory, or leave the option out")
        elif word == "--reconnect-seconds" and words:
            seconds, source = words.pop(0), word
        else:
            raise ValueError(f"{word!r} is not understood; give --home DIR, --no-start, --reconnect-seconds N or --")
    credential = environment.get("PEERWAKE_CREDENTIAL") or None
    if credential is not None and credential.startswith("${"):
        credential = None
    return Config(root_at(home), start, seconds_of(seconds, source), credential)


def seconds_of(text: str, source: str) -> float:
    """Return the seconds that a variable or an option gives; raises ValueError naming it."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if 0 <= seconds < float("inf"):
        return seconds
    raise ValueError(f"{source}: {text!r:.60} is no number of seconds; give 0 or more, such as {RECONNECT}")


def open_missing() -> None:
    """Have nothing where a client left standard input, output or error closed: a socket would become one of them."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def main(argv: list[str]) -> int:
    """Run the bridge; returns the exit code."""
    open_missing()
    try:
        return Bridge(configure(argv, os.environ)).run()
    except ValueError as error:
        os.write(2, f"peerwake bridge: {error}\n".encode("utf-8", "replace"))
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
