"""`peerwake version`."""

from mcp_server.cli.context import Context
from mcp_server.cli.exits import Exit
from mcp_server.cli.parser import Parser


def run(context: Context, argv: list[str]) -> int:
    """Print the installed version."""
    Parser("version", "Print the installed version.").read(argv)
    from mcp_server.version import VERSION

    context.say(f"peerwake {VERSION}")
    return Exit.OK
