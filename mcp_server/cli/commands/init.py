"""`peerwake init`: the current directory becomes a peer."""

from pathlib import Path

from mcp_server.cli.context import Context
from mcp_server.cli.failures import BadUsage
from mcp_server.cli.new_peer import make, parser


def run(context: Context, argv: list[str]) -> int:
    """Make a peer of the working directory; its name is the directory's unless given."""
    line = parser("init", "Make the current directory a peer.")
    line.add_argument("--name", metavar="NAME", help="its name, if not that of the directory")
    given = line.read(argv)
    context.wants_json = given.json
    if context.cwd is None:
        raise BadUsage("the current directory is gone; change to another one")
    return make(context, given, given.name, Path(context.cwd))
