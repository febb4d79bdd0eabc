"""Start a server detached from whoever asks, and return when it answers."""

import argparse
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mcp_server.cli.context import Context
from mcp_server.cli.control import ask
from mcp_server.cli.failures import Failure, NoServer, Unverified
from transport.errors import PeerwakeError
from transport.paths import Root
from transport.process import start_detached

ANSWER_SECONDS: Final = 20.0
POLL_SECONDS: Final = 0.02


class NotStarted(PeerwakeError):
    """The server did not come up; its log says why."""

    code = "not-started"


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether the server that answers was started for this, and why it has no TCP where TCP was wanted."""

    is_new: bool
    no_http: str | None


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


def start(context: Context, root: Root, given: argparse.Namespace) -> Answer:
    """Return who answers, as soon as somebody does; raises NotStarted."""
    child: subprocess.Popen[bytes] | None = None
    silent: Failure | None = None
    deadline = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline:
        if answers(root):
            try:
                status = _status(context, max(1.0, deadline - time.monotonic()))
            except (NoServer, Unverified) as problem:
                status, silent = None, problem
            # One that was told to end just before may still answer; it has ceased to listen by then.
            if status is not None and answers(root):
                is_new = child is not None and status.get("pid", child.pid) == child.pid
                return Answer(is_new, (status.get("addresses") or {}).get("no_http"))
        elif child is None:
            child, silent = _started(root, given), None
        elif child.poll() not in (None, 0):
            raise NotStarted(f"the server ended with status {child.returncode}; see {_log(root)}")
        time.sleep(POLL_SECONDS)
    raise NotStarted(str(silent) if silent else f"the server did not answer in {ANSWER_SECONDS:g} s; see {_log(root)}")


def _status(context: Context, seconds: float) -> dict[str, Any]:
    """Return what the server says of itself, nothing where it refuses this caller; raises NoServer or Unverified."""
    try:
        return ask(context, "status", seconds=seconds)
    except (NoServer, Unverified):
        raise
    except Failure:
        return {}


def _started(root: Root, given: argparse.Namespace) -> subprocess.Popen[bytes]:
    root.prepare()
    own = {"PEERWAKE_HOME": str(root.home), "PEERWAKE_STANDBY": "false", "PYTHONPATH": _search_path()}
    return start_detached(command(given), env={**os.environ, **own}, cwd=root.home, output=_log(root))


def _log(root: Root) -> Path:
    return root.logs / "server.log"
