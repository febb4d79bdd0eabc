"""What `create` and `init` share: the options, the peer, its program, its clients' configuration."""

import shutil
from argparse import BooleanOptionalAction, Namespace
from contextlib import suppress
from pathlib import Path

from lifecycle.journal import Journal, JournalUnusable, Removal
from lifecycle.remove import RemovalStuck
from lifecycle.rename import RenameStuck
from lifecycle.runtimes.base import Runtime
from lifecycle.runtimes.command import Program, load_program, save_program
from lifecycle.runtimes.table import Table, load_table
from mcp_server.cli import tables
from mcp_server.cli.client_config import planned
from mcp_server.cli.context import Context
from mcp_server.cli.exits import Exit
from mcp_server.cli.failures import BadUsage, Refused
from mcp_server.cli.message_input import decoded
from mcp_server.cli.parser import Parser, refuse_empty
from mcp_server.clients.connection import Change, apply
from mcp_server.clients.table import CLIENTS
from transport.create import NewPeer, create, name_of
from transport.identity import check_personality
from transport.paths import Root
from transport.profile import Profile
from transport.registry import Registry
from transport.vocabulary import Intelligence, WakePolicy

COMMAND = "command"


def parser(command: str, summary: str) -> Parser:
    """Return the command line that `create` and `init` have in common."""
    line = Parser(
        command,
        summary,
        after="program",
        epilog="runtimes: claude, codex, scripted, command (any program, given after '--'), and runtimes/*.toml",
    )
    line.add_argument("--runtime", metavar="R", action="append", default=[], help="a runtime (repeatable)")
    line.add_argument("--default", metavar="R", help="the runtime to wake, if not the first")
    line.add_argument("--description", metavar="TEXT", default="", help="what it is for, at most 450 characters")
    line.add_argument("--intelligence", choices=[str(each) for each in Intelligence], help="who answers")
    line.add_argument("--ephemeral", action="store_true", help="a fresh session for each task")
    line.add_argument("--initial-prompt", metavar="TEXT", help="the first message of every fresh session")
    line.add_argument("--initial-prompt-file", metavar="F", help="the same from a file")
    line.add_argument(
        "--client-config",
        action=BooleanOptionalAction,
        default=True,
        help="write the clients' MCP configuration into the peer's directory (default)",
    )
    line.add_argument(
        "--transport", choices=("stdio", "http"), default="stdio", help="how its client reaches the server"
    )
    line.add_argument(
        "--global", dest="everywhere", action="store_true", help="even if that changes your global client settings"
    )
    line.add_argument("--json", action="store_true", help="print one JSON document")
    return line


def make(context: Context, given: Namespace, name: str | None, cwd: Path | None) -> int:
    """Make the peer and what its clients need, and print every file that was written."""
    refuse_empty({"--default": given.default})
    root = Root(Path(context.home))
    table = load_table(root.runtimes)
    asked = _asked(table, given, name, cwd)
    program = _program(context, asked, given.program)
    registry = Registry(root)
    changes = _changes(context, given, asked, registry)
    _refuse_unfinished(root, name_of(asked))
    root.prepare()
    profile = create(registry, asked)
    written = [(profile.path, "the peer's profile")]
    try:
        if program is not None:
            written.append((save_program(profile.cwd, program), "the program it runs"))
        apply(changes)
    except BaseException:
        # Half a peer would be in the way of the next try.
        registry.remove(profile.name)
        raise
    written += [(change.path, change.what) for change in changes if change.is_needed]
    _show(context, profile, written)
    return Exit.OK


def _refuse_unfinished(root: Root, name: str) -> None:
    """Raise Refused while a removal or a rename of this name is not finished: the new peer would be in its way."""
    with suppress(JournalUnusable):
        change = Journal(root).load()
        if change is not None and name in change.names:
            repeat, code = (
                (f"peerwake remove {name}", RemovalStuck.code)
                if isinstance(change, Removal)
                else (f"peerwake rename {' '.join(change.names)}", RenameStuck.code)
            )
            raise Refused(f"{change} is not finished; repeat that first: {repeat}", code)


def _changes(context: Context, given: Namespace, asked: NewPeer, registry: Registry) -> list[Change]:
    """Plan the clients' configuration first, so that what cannot be written keeps the peer from being made."""
    if not given.client_config:
        return []
    cwd = asked.cwd or registry.default_directory(check_personality(asked.name, "name"))
    clients = [name for name in asked.runtimes if name in CLIENTS]
    return [
        change
        for client in clients
        for change in planned(context, client, cwd, given.transport, everywhere=given.everywhere)
    ]


def _asked(table: Table, given: Namespace, name: str | None, cwd: Path | None) -> NewPeer:
    names = tuple(given.runtime) or ((COMMAND,) if given.program else (_installed(),))
    runtimes = [table.get(each) for each in names]
    intelligence = _intelligence(given.intelligence, runtimes)
    return NewPeer(
        runtimes=names,
        name=name,
        cwd=cwd,
        default_runtime=given.default,
        intelligence=intelligence,
        description=given.description,
        wake_policy=WakePolicy.EPHEMERAL if given.ephemeral else WakePolicy.WARM,
        initial_prompt=_initial_prompt(given),
    )


def _installed() -> str:
    """The client to use when none is named: the first one that is installed."""
    return next((name for name in ("claude", "codex") if shutil.which(name)), "claude")


def _intelligence(asked: str | None, runtimes: list[Runtime]) -> Intelligence:
    needed = {runtime.requires_intelligence: runtime.name for runtime in runtimes if runtime.requires_intelligence}
    only_programs = all(runtime.name == COMMAND for runtime in runtimes)
    usual = Intelligence.ABSENT if only_programs else Intelligence.ARTIFICIAL
    chosen = Intelligence(asked) if asked is not None else next(iter(needed), usual)
    for intelligence, name in needed.items():
        if intelligence is not chosen:
            raise Refused(f"runtime {name} needs a peer of intelligence {intelligence}, not {chosen}", "invalid")
    return chosen


def _initial_prompt(given: Namespace) -> str | None:
    if given.initial_prompt is not None and given.initial_prompt_file is not None:
        raise BadUsage("give --initial-prompt or --initial-prompt-file, not both")
    if given.initial_prompt_file is None:
        return str(given.initial_prompt) if given.initial_prompt else None
    path = Path(given.initial_prompt_file)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadUsage(f"cannot read --initial-prompt-file {str(path)!r:.200}: {error.strerror}") from error
    return decoded(data, str(path)) or None


def _program(context: Context, asked: NewPeer, argv: list[str]) -> Program | None:
    """Return the program of a `command` peer; one that an existing directory brings along is kept."""
    if COMMAND not in asked.runtimes:
        if argv:
            raise BadUsage("a program after '--' goes with --runtime command")
        return None
    if argv:
        return _program_of(context, argv)
    if asked.cwd is None:
        raise BadUsage("the runtime command needs its program: add -- PROGRAM ARGUMENT…")
    load_program(asked.cwd)
    return None


def _program_of(context: Context, argv: list[str]) -> Program:
    name, *rest = argv
    for word in argv:
        if any("\ud800" <= char <= "\udfff" for char in word):
            raise Refused("program: an argument after '--' is not UTF-8 text; nothing was changed", "invalid")
    if not name:
        raise BadUsage("the program after '--' has no name")
    if "/" in name and context.cwd is not None:
        name = str(Path(context.cwd) / name)
    if shutil.which(name) is None:
        context.note(tables.escape(f"{name} cannot be run here yet; the peer cannot be woken before it can"))
    return Program(argv=(name, *rest))


def _show(context: Context, profile: Profile, written: list[tuple[Path, str]]) -> None:
    if context.wants_json:
        document = {
            **tables.whose(context),
            "name": profile.name,
            "runtimes": list(profile.runtimes),
            "default_runtime": profile.default_runtime,
            "cwd": str(profile.cwd),
            "intelligence": profile.intelligence,
            "wake_policy": profile.wake_policy,
            "written": [{"path": str(path), "what": what} for path, what in written],
        }
        tables.document(context, document)
        return
    context.say(f"{profile.name} ({', '.join(profile.runtimes)}) lives in {tables.escape(profile.cwd)}")
    for path, what in written:
        context.say(tables.escape(f"  wrote {path}: {what}"))
