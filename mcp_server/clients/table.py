"""The clients whose configuration we can write."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from mcp_server.clients import claude, codex, scripted
from mcp_server.clients.connection import Change, Connection, apply
from transport.errors import InvalidInput


class Plan(Protocol):
    """What is to be written into a directory; raises ConfigUnusable."""

    def __call__(
        self, cwd: Path, connection: Connection, *, environ: Mapping[str, str] = ..., allow_global: bool = ...
    ) -> list[Change]: ...


@dataclass(frozen=True, slots=True)
class Client:
    """One client: the text a user may copy, and the plan that writes it."""

    render: Callable[[Connection], str]
    plan: Plan


CLIENTS: Final[Mapping[str, Client]] = {
    "claude": Client(claude.render, claude.plan),
    "codex": Client(codex.render, codex.plan),
    "scripted": Client(scripted.render, scripted.plan),
}


def client(name: str) -> Client:
    """Return a client by the name of its runtime; raises InvalidInput."""
    if name not in CLIENTS:
        raise InvalidInput("client", f"{name!r:.80} is not a client we can configure; there are {', '.join(CLIENTS)}")
    return CLIENTS[name]


def configure(
    name: str,
    cwd: Path,
    connection: Connection,
    *,
    environ: Mapping[str, str] = os.environ,
    allow_global: bool = False,
) -> list[Change]:
    """Give the client's configuration of one directory our server, and return the files that were written.

    Everything is checked before anything is written. Raises ConfigUnusable and InvalidInput.
    """
    return apply(client(name).plan(cwd, connection, environ=environ, allow_global=allow_global))
