"""The `peerwake` command: find the one file of the command asked for, run it, turn the end into a code."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from itertools import takewhile

from mcp_server.cli.context import Context, from_process
from mcp_server.cli.exits import Exit
from mcp_server.cli.failures import BadUsage, Failure, failure
from mcp_server.cli.parser import HELP, HelpWanted
from transport.errors import PeerwakeError
from transport.home import HomeUnknown

MORE = "PEERWAKE_TRACEBACK=1 shows where"
COMMANDS = {
    "send": ("send", "send a message to a peer, wake it if it sleeps"),
    "list": ("list", "show peers and what they are doing"),
    "queue": ("queue", "show what waits; show, retry or drop one message"),
    "why": ("why", "say what state a peer is in, since when, and why"),
    "prompt": ("prompt", "print what the next wake of a peer would tell it"),
    "logs": ("logs", "show what was decided and delivered, and what died; -f follows"),
    "create": ("create", "create a peer with a directory of its own"),
    "init": ("init", "make the current directory a peer"),
    "attach": ("attach", "wake a peer and open its terminal"),
    "watch": ("watch", "look at a peer's terminal without touching it"),
    "run": ("run", "a fresh session of this directory's peer, and its terminal"),
    "new": ("new", "end a peer's session and start a fresh one"),
    "refresh": ("refresh", "have a peer begin fresh at its next wake"),
    "interrupt": ("interrupt", "end the turn that a peer is busy with"),
    "compact": ("compact", "have an idle peer summarise its conversation"),
    "stop": ("stop", "stop peers: closed, and not woken by anybody"),
    "start": ("start", "clear a stop; the next message wakes the peer"),
    "rename": ("rename", "give a peer another name, with all that belongs to it"),
    "remove": ("remove", "remove a peer; its directory stays"),
    "mcp-config": ("mcp_config", "print or write a client's MCP configuration for a peer"),
    "serve": ("serve", "run the server (or the stdio bridge to it)"),
    "self": ("self", "from inside a session: done, or new"),
    "verify": ("verify", "compare registry and profiles; --fix rebuilds the registry"),
    "config": ("config", "show the settings: value, unit, source; --check says what is wrong"),
    "doctor": ("doctor", "check everything and say how to mend it"),
    "version": ("version", "print the version"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; never raises, never prints a traceback for what users do."""
    try:
        context = from_process()
    except HomeUnknown as error:
        if sys.stderr is not None:
            sys.stderr.write(f"peerwake: {error}\n")
        return int(Exit.USAGE)
    try:
        code = run(context, list(sys.argv[1:] if argv is None else argv))
        context.stdout.flush()
        return int(code)
    except BrokenPipeError:
        return _output_lost(Exit.PIPE_CLOSED)
    except OSError as error:
        context.note(f"cannot write the output: {error.strerror}")
        return _output_lost(Exit.FAILED)
    except KeyboardInterrupt:
        return int(Exit.INTERRUPTED)


def _output_lost(code: Exit) -> int:
    """Let what is still buffered go nowhere, so that the interpreter ends quietly."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return int(code)


def run(context: Context, argv: list[str]) -> int:
    """Run one command with a context; its failures become one line and a code."""
    # Until the command has read its line: who asked for JSON gets the mistakes in it as JSON too.
    context.wants_json = "--json" in takewhile(lambda word: word != "--", argv)
    try:
        return dispatch(context, argv)
    except HelpWanted as wanted:
        context.stdout.write(wanted.text)
        return Exit.OK
    except BrokenPipeError:
        raise
    except (PeerwakeError, OSError) as error:
        return report(context, error)
    except Exception as error:  # the boundary to people: a fault of ours is one line too, unless they ask for more
        if context.environ.get("PEERWAKE_TRACEBACK"):
            raise
        return report(context, Failure(f"a fault in peerwake: {type(error).__name__}: {error}; {MORE}", "internal"))


def dispatch(context: Context, argv: list[str]) -> int:
    """Find the command's module, import only that, and run it."""
    if not argv:
        context.stderr.write(overview())
        return Exit.USAGE
    name, rest = argv[0], argv[1:]
    if name in HELP or name == "help":
        if rest and rest[0] in COMMANDS:
            return dispatch(context, [rest[0], "--help"])
        raise HelpWanted(overview())
    if name in ("--version", "-V"):
        name = "version"
    if name not in COMMANDS:
        raise BadUsage(f"no command {name!r:.80}{nearest(name)}; see: peerwake --help")
    return int(import_module(f"mcp_server.cli.commands.{COMMANDS[name][0]}").run(context, rest))


def overview() -> str:
    """Return the list of commands."""
    lines = [f"  {name:<12}{summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: peerwake COMMAND …",
            "",
            *lines,
            "",
            "peerwake COMMAND --help says more; docs/cli.md has the exit codes.",
            "",
        ]
    )


def nearest(name: str) -> str:
    """Return a suggestion for a mistyped command, or nothing."""
    from difflib import get_close_matches

    close = get_close_matches(name, COMMANDS, 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def report(context: Context, error: PeerwakeError | OSError) -> int:
    """Print one error line (and a JSON document when asked for JSON), return the exit code."""
    from mcp_server.cli import tables

    code = error.code if isinstance(error, PeerwakeError) else "os-error"
    if context.wants_json:
        tables.document(context, {"error": {"code": code, "message": str(error)}, **tables.whose(context)})
    context.note(tables.escape(error))
    if isinstance(error, Failure):
        return error.exit_code
    return failure(code, "").exit_code
