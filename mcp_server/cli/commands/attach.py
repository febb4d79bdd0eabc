"""`peerwake attach`: wake a peer, resuming its conversation, and open its terminal."""

import os
import sys

from mcp_server.cli.context import Context
from mcp_server.cli.control import ask
from mcp_server.cli.exits import Exit
from mcp_server.cli.failures import BadUsage, Failure
from mcp_server.cli.parser import Parser

WAKE_SECONDS = 400.0


def parser() -> Parser:
    """Return the command line of `attach`."""
    line = Parser("attach", "Wake a peer, resume its conversation, and open its terminal (detach: Ctrl-B d).")
    line.word("name", "the peer")
    line.add_argument("--runtime", metavar="R", help="the runtime, if not the peer's default")
    return line


def run(context: Context, argv: list[str]) -> int:
    """Become the tmux client of the peer's session; returns only when that fails."""
    given = parser().read(argv)
    if not (sys.stdin and sys.stdin.isatty() and context.stdout.isatty()):
        raise BadUsage("attach needs a terminal on standard input and output")
    asked = {"name": given.name} | ({"runtime": given.runtime} if given.runtime else {})
    found = ask(context, "attach", asked, WAKE_SECONDS)
    command = attach_argv(found["socket"], found["session"])
    context.stdout.flush()
    environ = {name: value for name, value in context.environ.items() if name not in ("TMUX", "TMUX_PANE")}
    try:
        os.execve(command[0], command, environ)
    except OSError as error:
        raise Failure(f"cannot run {command[0]}: {error.strerror}; install tmux") from error
    return Exit.FAILED


def attach_argv(socket: str, session: str) -> list[str]:
    """Return the argument list of a terminal client on one session."""
    from pathlib import Path

    from transport.tmux.commands import attach_terminal
    from transport.tmux.program import find_tmux

    return attach_terminal(find_tmux(), Path(socket), session)
