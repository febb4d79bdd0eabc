"""`peerwake attach`: wake a peer, resuming its conversation, and open its terminal."""

from mcp_server.cli.context import Context
from mcp_server.cli.control import ask
from mcp_server.cli.terminal import WAKE_SECONDS, asked, attach_to, need_terminal, parser

SUMMARY = "Wake a peer, resume its conversation, and open its terminal (detach: Ctrl-B d)."


def run(context: Context, argv: list[str]) -> int:
    """Become the tmux client of the peer's session; returns only when that fails."""
    given = parser("attach", SUMMARY).read(argv)
    need_terminal(context, "attach")
    found = ask(context, "attach", asked(given.name, given.runtime), WAKE_SECONDS)
    if found["mode"] == "fresh":
        why = "it never ran before" if found["first"] else "a fresh start was wished for"
        context.note(f"{found['identity']} begins a fresh conversation: {why}")
    return attach_to(context, found)
