"""`peerwake watch`: look at a session without being able to type into it or to resize it."""

import secrets

from mcp_server.cli.context import Context
from mcp_server.cli.control import ask
from mcp_server.cli.terminal import asked, become, need_terminal, parser, socket_of

SUMMARY = "Look at a peer's session: no key reaches it, its size stays (leave: Ctrl-B d). Wakes nobody."


def run(context: Context, argv: list[str]) -> int:
    """Become a read-only tmux client beside the session; returns only when that fails."""
    from transport.tmux.commands import watch_terminal
    from transport.tmux.program import find_tmux

    given = parser("watch", SUMMARY).read(argv)
    need_terminal(context, "watch")
    found = ask(context, "watch", asked(given.name, given.runtime))
    # An underscore: no session of a peer can have this name.
    viewer = f"viewer_{secrets.token_hex(4)}"
    return become(context, watch_terminal(find_tmux(), socket_of(found), found["session"], viewer))
