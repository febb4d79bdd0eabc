"""`peerwake serve`: the server, or the stdio end of it that a client's configuration starts."""

import argparse

from mcp_server.cli.context import Context
from mcp_server.cli.failures import BadUsage
from mcp_server.cli.parser import Parser


def parser() -> Parser:
    """Return the command line of `serve`."""
    line = Parser(
        "serve",
        "Run the server: MCP over HTTP and SSE on loopback, and everything on a unix socket.",
        epilog="with --transport stdio it is the bridge that an agent's MCP configuration starts",
    )
    line.add_argument("--transport", choices=("http", "stdio"), default="http", help="http (default) or stdio")
    line.add_argument("--host", metavar="H", help="address to listen on (default 127.0.0.1)")
    line.add_argument("--port", metavar="P", type=int, help="TCP port (default 8765; 0 picks a free one)")
    line.add_argument("--no-tcp", action="store_true", help="listen on the unix socket only")
    line.add_argument("--allow-remote", action="store_true", help="accept a --host that is not loopback")
    line.add_argument("--verbose", action="store_true", help="a line in lifecycle.log for each look at a session")
    line.add_argument("--background", action="store_true", help="start detached, and return when it answers")
    line.add_argument("--in-process", action="store_true", help="with stdio: a whole server here, no bridge")
    return line


def run(context: Context, argv: list[str]) -> int:
    """Run until stopped; returns the server's exit code."""
    given = parser().read(argv)
    over_stdio = given.transport == "stdio"
    only_http = {"host": None, "port": None, "no_tcp": False, "allow_remote": False, "background": False}
    tcp = [name for name, unset in only_http.items() if getattr(given, name) is not unset]
    if over_stdio and tcp:
        raise BadUsage(f"--{tcp[0].replace('_', '-')} goes with --transport http")
    if given.in_process and not over_stdio:
        raise BadUsage("--in-process goes with --transport stdio")
    if given.no_tcp and (given.host is not None or given.port is not None):
        raise BadUsage("--no-tcp goes without --host and --port")
    if given.host == "":
        raise BadUsage("--host is empty; give an address, or leave the option out")
    if given.port is not None and not 0 <= given.port <= 65535:
        raise BadUsage(f"--port {given.port} is not between 0 and 65535")
    if given.background:
        return _start(context, given)
    if over_stdio and not given.in_process:
        from mcp_server.serve.bridge import main as bridge

        return bridge([])
    from mcp_server.app import serve

    try:
        return serve(given)
    except BaseExceptionGroup as group:
        raise _cause(group) from group


def _start(context: Context, given: argparse.Namespace) -> int:
    from mcp_server.background import command, start
    from transport.paths import root_from_environment

    answer, flags = start(context, root_from_environment(), given), command(given)[4:]
    context.say(f"a server answers on {context.server_socket}")
    if flags and not answer.is_new:
        context.note(f"it ran before; {' '.join(flags)} has no effect until it is started again")
    if answer.no_http:
        context.note(f"{answer.no_http}; until it is started again this server is reached at its socket alone")
    return 0


def _cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one error that a task tree ended with, else the group."""
    inner: BaseException = group
    while isinstance(inner, BaseExceptionGroup):
        if len(inner.exceptions) > 1:
            return group
        inner = inner.exceptions[0]
    return inner
