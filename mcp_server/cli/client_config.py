"""How a peer's client reaches this root: the connection that is written into its configuration."""

import json
import os
import shutil
import sys
import sysconfig
from pathlib import Path

from mcp_server import settings
from mcp_server.cli.context import Context
from mcp_server.cli.failures import BadUsage
from mcp_server.clients.connection import Change, Connection, Transport
from mcp_server.clients.table import CLIENTS
from transport.paths import Root

STDIO = ("serve", "--transport", "stdio")
PATHS = {Transport.HTTP: "/mcp", Transport.SSE: "/sse"}


def planned(context: Context, client: str, cwd: Path, transport: str, *, everywhere: bool) -> list[Change]:
    """Return what is to be written into `cwd` for one client.

    Raises ConfigUnusable (GlobalSettings unless `everywhere`), or InvalidInput for a transport it does not speak.
    """
    there = connection(context, Transport(transport))
    return CLIENTS[client].plan(cwd, there, environ=context.environ, allow_global=everywhere)


def rendered(context: Context, client: str, transport: str) -> str:
    """Return a client's configuration as text; raises InvalidInput for a transport it does not speak."""
    return CLIENTS[client].render(connection(context, Transport(transport)))


def connection(context: Context, transport: Transport) -> Connection:
    """Return how a client reaches the server of this root."""
    if transport is not Transport.STDIO:
        return Connection(transport, url=address(context) + PATHS[transport])
    command, *args = bridge_command()
    default = Path(context.environ.get("HOME") or Path.home()) / ".peerwake"
    home = Path(context.home)
    return Connection(transport, command, tuple(args), home=None if home == default else home)


def bridge_command() -> list[str]:
    """Return the command of the stdio bridge by paths that outlive an upgrade.

    The installed script stays where it is when the environment behind it is made anew; a source tree
    that is not installed has no script and runs the bridge's file.
    """
    own = Path(sysconfig.get_path("scripts")) / "peerwake"
    on_path = shutil.which("peerwake")
    if on_path and own.exists() and Path(on_path).samefile(own):
        return [str(Path(on_path).absolute()), *STDIO]
    if os.access(own, os.X_OK):
        return [str(own), *STDIO]
    return [sys.executable, "-I", "-S", str(Path(__file__).parents[1] / "serve" / "bridge.py")]


def address(context: Context) -> str:
    """Return the base URL of the running server, else the one that the settings promise; raises BadUsage."""
    root = Root(Path(context.home))
    try:
        found = json.loads(root.discovery.read_text("utf-8"))["http"]
    except (OSError, ValueError, KeyError, TypeError):
        found = ""
    if isinstance(found, str) and found:
        return found.rstrip("/")
    planned = settings.load(root, context.environ)
    if not planned.tcp or planned.port == 0:
        raise BadUsage("the server has no fixed TCP address; set port in config.toml, or start it first")
    if found is None:
        raise BadUsage("the server listens on no port; see: peerwake doctor, and start it again with one")
    host = f"[{planned.host}]" if ":" in planned.host else planned.host
    return f"http://{host}:{planned.port}"
