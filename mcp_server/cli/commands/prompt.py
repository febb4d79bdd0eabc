"""`peerwake prompt`: what the next wake of a peer would tell it."""

from dataclasses import asdict
from pathlib import Path

from lifecycle.flags import Flags
from lifecycle.prompt.compose import PROMPT_BYTES, Composer
from lifecycle.prompt.layers import Layer, Prompt
from lifecycle.resolve import Resolver
from lifecycle.session import Sessions
from mcp_server.cli import tables
from mcp_server.cli.context import Context
from mcp_server.cli.exits import Exit
from mcp_server.cli.parser import Parser
from transport.clock import SystemClock
from transport.identity import Identity
from transport.paths import Root
from transport.profile import Profile
from transport.registry import Registry


def parser() -> Parser:
    """Return the command line of `prompt`."""
    line = Parser("prompt", "Print what the next wake of a peer would tell it, composed from its files now.")
    line.word("peer", "the peer's name")
    line.add_argument("--runtime", metavar="R", help="one of its runtimes, by default its own choice")
    line.add_argument("--json", action="store_true", help="print one JSON document, with the size of each layer")
    return line


def run(context: Context, argv: list[str]) -> int:
    """Print the prompt; a peer that starts bare prints nothing and says why."""
    given = parser().read(argv)
    context.wants_json = given.json
    root, clock = Root(Path(context.home)), SystemClock()
    registry = Registry(root, clock)
    profile, identity = Resolver(registry, Flags(root)).identity(given.peer, given.runtime)
    prompt = Composer(root, clock, registry, Sessions(root)).compose(profile, identity.runtime)
    for flaw in prompt.flaws:
        context.note(tables.escape(f"{flaw.path}: {flaw.problem}"))
    if given.json:
        tables.document(context, tables.whose(context) | document(profile, identity, prompt))
        return Exit.OK
    if prompt.is_bare and not prompt.flaws:
        context.note(f"{profile.name} starts bare: there is no {profile.cwd / '.peerwake' / 'PEER.md'}")
    context.stdout.write(prompt.text)
    return Exit.OK


def document(profile: Profile, identity: Identity, prompt: Prompt) -> dict[str, object]:
    """Return a prompt as JSON; sizes are bytes."""
    return {
        "name": profile.name,
        "runtime": identity.runtime,
        "identity": str(identity),
        "is_bare": prompt.is_bare,
        "edition": None if prompt.is_bare else prompt.edition,
        "bytes": len(prompt.text.encode()),
        "limit_bytes": PROMPT_BYTES,
        "layers": {
            layer: {
                "bytes": prompt.size(layer),
                "files": [str(each.path) for each in prompt.pieces if each.layer is layer and each.path],
            }
            for layer in Layer
        },
        "flaws": [{name: str(value) for name, value in asdict(flaw).items()} for flaw in prompt.flaws],
        "text": prompt.text,
    }
