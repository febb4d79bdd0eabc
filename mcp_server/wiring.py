"""The one place where the objects of a server are built and tied together."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import anyio.to_thread

from lifecycle.attribution import Attribution, listening
from lifecycle.board import Board
from lifecycle.crashes import Crashes
from lifecycle.deaths import Deaths
from lifecycle.deck import Deck
from lifecycle.dispatch import Dispatcher
from lifecycle.flags import Flags
from lifecycle.fleet import Fleet
from lifecycle.initial import InitialPrompt
from lifecycle.launch import Launcher
from lifecycle.operator_env import operator_environment
from lifecycle.plan import Planner
from lifecycle.renewal import Renewals
from lifecycle.resolve import RateLimit, Resolver
from lifecycle.runtimes.table import Table, load_table
from lifecycle.session import Sessions
from lifecycle.settle import Settler
from lifecycle.supervise import Supervisor
from lifecycle.terminals import Terminals
from lifecycle.verbs import Verbs
from lifecycle.wake import Waker
from mcp_server.application import Application
from mcp_server.serve.credentials import Credentials, load_credentials
from mcp_server.settings import Settings
from mcp_server.version import VERSION
from transport.clock import Clock, SystemClock
from transport.identity import Identity
from transport.logs import Logs
from transport.paths import Root
from transport.profile import host, tenant
from transport.registry import Registry
from transport.spool.spool import Spool


@dataclass(frozen=True, slots=True)
class Wired:
    """A server's parts that outlive one connection."""

    application: Application
    supervisor: Supervisor
    credentials: Credentials
    logs: Logs
    table: Table


@asynccontextmanager
async def wired(
    root: Root, settings: Settings, *, operator: Mapping[str, str] | None = None, clock: Clock | None = None
) -> AsyncIterator[Wired]:
    """Open the spool and build everything over it; raises what a damaged root raises."""
    clock = clock or SystemClock()
    async with Spool(root.spool) as spool:
        environment = operator_environment(root, os.environ if operator is None else operator)
        parts = await anyio.to_thread.run_sync(lambda: _build(root, settings, environment, clock, spool))
        try:
            yield parts
        finally:
            await parts.supervisor.deck.terminals.aclose()


def _build(root: Root, settings: Settings, operator: dict[str, str], clock: Clock, spool: Spool) -> Wired:
    limits, logs, board = settings.limits, Logs(root.logs, clock), Board()
    registry, flags, sessions = Registry(root), Flags(root), Sessions(root)
    credentials, table = load_credentials(root.secret), load_table(root.runtimes)
    for problem in table.problems:
        logs.lifecycle.write("runtime-invalid", reason=problem)
    crashes = Crashes(root, clock, limits.crash_count, limits.crash_window_seconds)
    resolver = Resolver(registry, flags)
    launcher = Launcher(root, clock, sessions, operator, credentials.credential_for, settings.systemd_scope)
    terminals = Terminals(root, clock, limits, table, sessions, logs)
    deaths = Deaths(terminals, crashes, flags, limits, logs)
    waker = Waker(
        root=root,
        resolver=resolver,
        table=table,
        launcher=launcher,
        planner=Planner(flags, Renewals(root), sessions, table, logs),
        sessions=sessions,
        terminals=terminals,
        initial=InitialPrompt(resolver, terminals, logs, clock, limits),
        deaths=deaths,
        logs=logs,
        at_once=anyio.CapacityLimiter(limits.wakes_at_once),
    )
    supervisor: Supervisor

    def kick(identity: Identity) -> None:
        supervisor.kick(identity)

    deck = Deck(
        spool=spool,
        board=board,
        resolver=resolver,
        sessions=sessions,
        terminals=terminals,
        waker=waker,
        settler=Settler(spool, board, logs, clock, limits, kick),
        flags=flags,
        clock=clock,
        limits=limits,
        deaths=deaths,
    )
    supervisor = Supervisor(deck, logs)
    application = Application(
        host=host(),
        tenant=tenant(),
        version=VERSION,
        root=root.home,
        registry=registry,
        dispatcher=Dispatcher(
            resolver,
            spool,
            board,
            limits,
            clock,
            RateLimit(limits),
            kick,
            is_supervised=lambda: supervisor.is_running,
            is_live=lambda identity: identity in supervisor.watched,
        ),
        fleet=Fleet(registry, resolver, flags, sessions, terminals, spool, board, clock),
        verbs=Verbs(resolver, flags, sessions, terminals, crashes, waker, supervisor, logs),
        supervisor=supervisor,
        attribution=Attribution(
            lambda: tuple(supervisor.watched.items()), registry, lambda: listening(root, tuple(supervisor.watched))
        ),
    )
    return Wired(application, supervisor, credentials, logs, table)
