"""`peerwake create`: a new peer, by default with a directory of its own below the root."""

from pathlib import Path

from mcp_server.cli.context import Context
from mcp_server.cli.new_peer import make, parser
from transport.errors import InvalidInput
from transport.scan import resolve


def run(context: Context, argv: list[str]) -> int:
    """Make the peer; a running server notices by itself."""
    line = parser("create", "Create a peer.")
    line.word("name", "its name: 1 to 32 of a-z, 0-9 and '-', starting with a letter")
    line.add_argument("--cwd", metavar="DIR", help="an existing directory to work in (default: one of its own)")
    given = line.read(argv)
    context.wants_json = given.json
    return make(context, given, given.name, None if given.cwd is None else directory(given.cwd))


def directory(text: str) -> Path:
    """Return the directory that `--cwd` names; raises InvalidInput."""
    if not text:
        raise InvalidInput("cwd", "it is empty; name a directory, or leave the option out for one of the peer's own")
    try:
        path = Path(text).expanduser().absolute()
    except (OSError, RuntimeError) as error:
        raise InvalidInput("cwd", f"{text!r:.200} leads nowhere: {error}") from error
    if resolve(path) is None:
        raise InvalidInput("cwd", f"{text!r:.200} is not a directory; create it first")
    return path
