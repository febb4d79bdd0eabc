"""`peerwake stop`: close peers' sessions and let nobody wake them."""

from mcp_server.cli.context import Context
from mcp_server.cli.verbs import run_on_peers


def run(context: Context, argv: list[str]) -> int:
    """Stop the peers named, or all."""
    return run_on_peers(context, argv, "stop", "Stop peers: sessions are closed, senders are told, nobody wakes them.")
