"""Start a server detached from whoever asks, and return when it answers."""

import argparse
import os
import socket
import sys
import time
from pathlib import Path
from typing import Final

from transport.errors import PeerwakeError
from transport.paths import Root
from transport.process import start_detached

ANSWER_SECONDS: Final = 20.0
POLL_SECONDS: Final = 0.02


class NotStarted(PeerwakeError):
    """The server did not come up; its log says why."""

    code = "not-started"


def answers(root: Root) -> bool:
    """Tell whether a server listens on the socket of this root."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(root.server_socket))
        except BlockingIOError:
            return True  # its backlog is full
        except OSError:
            return False
        return True


def command(given: argparse.Namespace) -> list[str]:
    """Return the command line of the server in the foreground."""
    words = [sys.executable, "-m", "mcp_server", "serve"]
    words += ["--host", given.host] if given.host else []
    words += ["--port", str(given.port)] if given.port is not None else []
    words += ["--no-tcp"] if given.no_tcp else []
    words += ["--allow-remote"] if given.allow_remote else []
    words += ["--verbose"] if given.verbose else []
    return words


def _search_path() -> str:
    """Where our packages are, also in a clone that is not installed."""
    top = str(Path(__file__).resolve().parent.parent)
    return os.pathsep.join([top, *filter(None, [os.environ.get("PYTHONPATH")])])


def start(root: Root, given: argparse.Namespace) -> int:
    """Return 0 as soon as a server answers; raises NotStarted."""
    if answers(root):
        return 0
    root.prepare()
    log = root.logs / "server.log"
    own = {"PEERWAKE_HOME": str(root.home), "PEERWAKE_STANDBY": "false", "PYTHONPATH": _search_path()}
    environment = {**os.environ, **own}
    child = start_detached(command(given), env=environment, cwd=root.home, output=log)
    deadline = time.monotonic() + ANSWER_SECONDS
    while not answers(root):
        if child.poll() not in (None, 0):
            raise NotStarted(f"the server ended with status {child.returncode}; see {log}")
        if time.monotonic() > deadline:
            raise NotStarted(f"the server did not answer in {ANSWER_SECONDS:g} s; see {log}")
        time.sleep(POLL_SECONDS)
    return 0
