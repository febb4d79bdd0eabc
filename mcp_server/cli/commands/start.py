"""`peerwake start`: clear a stop or a crash loop, so that the next message wakes the peer."""

from mcp_server.cli.context import Context
from mcp_server.cli.verbs import run_on_peers


def run(context: Context, argv: list[str]) -> int:
    """Start the peers named, or all."""
    return run_on_peers(context, argv, "start", "Clear a stop or a crash loop; the next message wakes the peer.")
