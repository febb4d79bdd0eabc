"""What `attach`, `watch` and `run` share: becoming the tmux client of a session."""

import os
import sys
from pathlib import Path
from typing import Any

from mcp_server.cli.context import Context
from mcp_server.cli.failures import BadUsage, Failure
from mcp_server.cli.parser import Parser

WAKE_SECONDS = 400.0


def parser(verb: str, summary: str) -> Parser:
    """Return the command line of a verb on one peer's terminal."""
    line = Parser(verb, summary)
    line.word("name", "the peer")
    line.add_argument("--runtime", metavar="R", help="the runtime, if not the peer's default")
    return line


def need_terminal(context: Context, verb: str) -> None:
    """Raise BadUsage unless a person can see and type; before anything is woken for it."""
    if not (sys.stdin and sys.stdin.isatty() and context.stdout.isatty()):
        raise BadUsage(f"{verb} needs a terminal on standard input and output")


def asked(name: str, runtime: str | None) -> dict[str, str]:
    """Return the arguments of a verb on one peer."""
    return {"name": name} | ({} if runtime is None else {"runtime": runtime})


def attach_to(context: Context, found: dict[str, Any]) -> int:
    """Become a person's terminal on a session that the server has named; raises as `socket_of`."""
    from transport.tmux.commands import attach_terminal
    from transport.tmux.program import find_tmux

    return become(context, attach_terminal(find_tmux(), socket_of(found), found["session"]))


def socket_of(found: dict[str, Any]) -> Path:
    """Return the socket of a session that the server has named.

    Raises ForeignSocket for another user's, whom tmux would tell this whole environment; OSError.
    """
    from transport.tmux.peer import check_socket

    socket = Path(found["socket"])
    check_socket(socket)
    return socket


def become(context: Context, command: list[str]) -> int:
    """Replace this process by a tmux client; raises Failure when it cannot be run."""
    context.stdout.flush()
    environ = {name: value for name, value in context.environ.items() if name not in ("TMUX", "TMUX_PANE")}
    try:
        os.execve(command[0], command, environ)
    except OSError as error:
        raise Failure(f"cannot run {command[0]}: {error.strerror}; install tmux") from error
