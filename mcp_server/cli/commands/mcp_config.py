"""`peerwake mcp-config`: a client's MCP configuration for a peer, printed or written."""

from pathlib import Path

from lifecycle.flags import Flags
from lifecycle.resolve import Resolver
from mcp_server.cli import tables
from mcp_server.cli.caller import LocalCallers
from mcp_server.cli.client_config import planned, rendered
from mcp_server.cli.context import Context
from mcp_server.cli.exits import Exit
from mcp_server.cli.failures import BadUsage, Refused
from mcp_server.cli.parser import Parser
from mcp_server.clients.connection import CREDENTIAL, apply
from mcp_server.clients.table import CLIENTS
from mcp_server.serve.credentials import load_credentials
from transport.identity import Identity
from transport.paths import Root
from transport.registry import Registry


def parser() -> Parser:
    """Return the command line of `mcp-config`."""
    line = Parser(
        "mcp-config",
        "Print a client's MCP configuration for a peer, or write it into the peer's directory.",
        epilog=f"No secret is written: over http and sse the client takes {CREDENTIAL} from its environment, which\n"
        f"peerwake sets inside a session; elsewhere: export {CREDENTIAL}=$(peerwake mcp-config NAME --credential)",
    )
    line.word("name", "the peer")
    line.add_argument("--client", choices=sorted(CLIENTS), help="which client")
    line.add_argument("--transport", choices=("stdio", "http", "sse"), default="stdio", help="default: stdio")
    line.add_argument("--write", action="store_true", help="write it, and say what was written")
    line.add_argument("--global", dest="everywhere", action="store_true", help="even if that is your global settings")
    line.add_argument("--credential", action="store_true", help="print the peer's credential instead")
    line.add_argument("--runtime", metavar="R", help="whose credential, if not the peer's default runtime's")
    line.add_argument("--json", action="store_true", help="print one JSON document")
    return line


def run(context: Context, argv: list[str]) -> int:
    """Print the configuration or the credential, or write the former."""
    given = parser().read(argv)
    context.wants_json = given.json
    root = Root(Path(context.home))
    registry = Registry(root)
    profile, identity = Resolver(registry, Flags(root)).identity(given.name, given.runtime)
    if given.credential:
        return print_credential(context, LocalCallers(context, root, registry), identity)
    if given.client is None:
        raise BadUsage(f"say which client: --client {' or '.join(sorted(CLIENTS))}")
    if given.write:
        return write(context, given.client, profile.cwd, given.transport, everywhere=given.everywhere)
    text = rendered(context, given.client, given.transport)
    if given.json:
        tables.document(context, {**tables.whose(context), "name": profile.name, "configuration": text})
    else:
        context.stdout.write(text)
    return Exit.OK


def write(context: Context, client: str, cwd: Path, transport: str, *, everywhere: bool) -> int:
    """Write the configuration and print a line for each file."""
    changes = planned(context, client, cwd, transport, everywhere=everywhere)
    apply(changes)
    if context.wants_json:
        written = [{"path": str(change.path), "what": change.what, "changed": change.is_needed} for change in changes]
        tables.document(context, {**tables.whose(context), "written": written})
    else:
        for change in changes:
            done = "wrote" if change.is_needed else "unchanged"
            context.say(tables.escape(f"{done} {change.path}: {change.what}"))
    return Exit.OK


def print_credential(context: Context, callers: LocalCallers, identity: Identity) -> int:
    """Print a peer's credential, to the operator or to that peer only."""
    bound = callers.bound()
    if bound is not None and bound != identity:
        raise Refused(f"you are {bound} and cannot have the credential of {identity}", "not-allowed")
    callers.root.prepare()
    token = load_credentials(callers.root.secret).credential_for(identity)
    if context.wants_json:
        tables.document(context, {**tables.whose(context), "identity": str(identity), "credential": token})
    else:
        context.say(token)
    return Exit.OK
