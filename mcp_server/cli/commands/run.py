"""`peerwake run`: a fresh session of the peer in whose directory one stands, and its terminal."""

from mcp_server.cli.context import Context
from mcp_server.cli.control import ask
from mcp_server.cli.failures import Refused
from mcp_server.cli.parser import Parser
from mcp_server.cli.terminal import WAKE_SECONDS, attach_to, need_terminal


def parser() -> Parser:
    """Return the command line of `run`."""
    line = Parser("run", "Begin a fresh session of this directory's peer and open its terminal (detach: Ctrl-B d).")
    line.word("runtime", "the runtime, if not the peer's default", needed=False)
    line.add_argument("--replace", action="store_true", help="end the session that is there, if there is one")
    return line


def run(context: Context, argv: list[str]) -> int:
    """Become the tmux client of the new session; returns only when that fails."""
    given = parser().read(argv)
    need_terminal(context, "run")
    asked = {} if given.runtime is None else {"runtime": given.runtime}
    asked |= {"replace": True} if given.replace else {}
    try:
        found = ask(context, "run", asked, WAKE_SECONDS)
    except Refused as refused:
        if refused.code == "invalid" and context.cwd and str(refused).startswith("cwd"):
            raise Refused(f"{context.cwd} is no peer's directory; make it one: peerwake init", refused.code) from None
        raise
    return attach_to(context, found)
