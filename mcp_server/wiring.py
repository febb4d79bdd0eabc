"""The one place where the objects of a server are built and tied together."""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import anyio.to_thread

from lifecycle.arrivals import Arrivals
from lifecycle.attribution import Attribution, listening
from lifecycle.board import Board
from lifecycle.changes import Changes
from lifecycle.crashes import Crashes
from lifecycle.deaths import Deaths
from lifecycle.deck import Deck
from lifecycle.dispatch import Dispatcher
from lifecycle.flags import Flags
from lifecycle.fleet import Fleet
from lifecycle.initial import InitialPrompt
from lifecycle.keys import Keys
from lifecycle.launch import Launcher
from lifecycle.limits import Limits
from lifecycle.obituaries import Obituaries
from lifecycle.operator_env import operator_environment
from lifecycle.plan import Planner
from lifecycle.prompt.compose import Composer
from lifecycle.prompt.passing import Abilities, Prompts
from lifecycle.queues import Queues
from lifecycle.remove import Remover
from lifecycle.rename import Renamer
from lifecycle.renew import Renewer
from lifecycle.renewal import Renewals
from lifecycle.resolve import RateLimit, Resolver
from lifecycle.runtimes.table import Table, load_table
from lifecycle.session import Sessions
from lifecycle.settle import Settler
from lifecycle.supervise import Supervisor
from lifecycle.task_end import TaskEnd
from lifecycle.terminals import Terminals
from lifecycle.verbs import Verbs
from lifecycle.visits import Visits
from lifecycle.wake import Waker
from mcp_server.application import Application
from mcp_server.clients.withdraw import withdraw
from mcp_server.serve.credentials import Credentials, load_credentials
from mcp_server.settings import Settings
from mcp_server.version import VERSION
from transport.brand import hard_limit
from transport.bulkhead import Bulkhead
from transport.clock import Clock, SystemClock
from transport.identity import Identity
from transport.logs import Logs
from transport.paths import Root
from transport.profile import host, tenant
from transport.registry import Registry
from transport.spool.spool import Spool

Kick = Callable[[Identity], None]


@dataclass(frozen=True, slots=True)
class Wired:
    """A server's parts that outlive one connection."""

    application: Application
    supervisor: Supervisor
    credentials: Credentials
    logs: Logs
    table: Table


@dataclass(frozen=True, slots=True)
class _Ground:
    """What everything else is built on: files, the clock, the spool, and what is known of peers and runtimes."""

    root: Root
    settings: Settings
    operator: dict[str, str]
    clock: Clock
    spool: Spool
    usual: int | None
    logs: Logs
    bulkhead: Bulkhead
    board: Board
    registry: Registry
    flags: Flags
    renewals: Renewals
    sessions: Sessions
    table: Table
    credentials: Credentials
    resolver: Resolver

    @property
    def limits(self) -> Limits:
        return self.settings.limits


@asynccontextmanager
async def wired(
    root: Root,
    settings: Settings,
    *,
    operator: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    outside: int | None = None,
) -> AsyncIterator[Wired]:
    """Open the spool and build everything over it; raises what a damaged root raises.

    `outside` is a process that no session started: this one, unless it may be the caller itself.
    """
    clock = clock or SystemClock()
    usual = hard_limit(outside or os.getpid())
    async with Spool(root.spool) as spool:
        environment = operator_environment(root, os.environ if operator is None else operator)
        parts = await anyio.to_thread.run_sync(lambda: _build(root, settings, environment, clock, spool, usual))
        try:
            yield parts
        finally:
            await parts.supervisor.deck.terminals.aclose()


def _build(
    root: Root, settings: Settings, operator: dict[str, str], clock: Clock, spool: Spool, usual: int | None
) -> Wired:
    ground = _ground(root, settings, operator, clock, spool, usual)
    for problem in ground.table.problems:
        ground.logs.lifecycle.write("runtime-invalid", reason=problem)
    supervisor: Supervisor

    def kick(identity: Identity) -> None:
        supervisor.kick(identity)

    crashes = Crashes(root, clock, settings.limits.crash_count, settings.limits.crash_window_seconds)
    deck = _deck(ground, crashes, kick)
    supervisor = Supervisor(deck, ground.logs, settings.verbose)
    application = _application(ground, crashes, supervisor, kick)
    return Wired(application, supervisor, ground.credentials, ground.logs, ground.table)


def _ground(
    root: Root, settings: Settings, operator: dict[str, str], clock: Clock, spool: Spool, usual: int | None
) -> _Ground:
    registry, flags, table = Registry(root), Flags(root), load_table(root.runtimes)
    logs = Logs(root.logs, clock, settings.limits.log_bytes, settings.limits.log_files)
    return _Ground(
        root=root,
        settings=settings,
        operator=operator,
        clock=clock,
        spool=spool,
        usual=usual,
        logs=logs,
        bulkhead=Bulkhead(logs.lifecycle),
        board=Board(),
        registry=registry,
        flags=flags,
        renewals=Renewals(root),
        sessions=Sessions(root),
        table=table,
        credentials=load_credentials(root.secret),
        resolver=Resolver(registry, flags, table.services()),
    )


def _deck(on: _Ground, crashes: Crashes, kick: Kick) -> Deck:
    """What a drain works with: sessions, how they are woken, and how their messages end."""
    terminals = Terminals(on.root, on.clock, on.limits, on.table, on.sessions, on.logs, on.bulkhead)
    obituaries = Obituaries(on.logs, on.clock, on.limits)
    deaths = Deaths(terminals, crashes, on.flags, on.limits, on.logs, obituaries, on.board, on.spool, kick)
    return Deck(
        spool=on.spool,
        board=on.board,
        resolver=on.resolver,
        sessions=on.sessions,
        terminals=terminals,
        waker=_waker(on, terminals, deaths),
        settler=Settler(on.spool, on.board, on.logs, on.clock, on.limits, kick),
        flags=on.flags,
        clock=on.clock,
        limits=on.limits,
        deaths=deaths,
    )


def _waker(on: _Ground, terminals: Terminals, deaths: Deaths) -> Waker:
    prompts = Prompts(Composer(on.root, on.clock, on.registry, on.sessions), on.logs, Abilities())
    credential_for, scope = on.credentials.credential_for, on.settings.systemd_scope
    return Waker(
        root=on.root,
        resolver=on.resolver,
        table=on.table,
        launcher=Launcher(
            on.root, on.clock, on.sessions, on.operator, credential_for, scope, prompts, on.logs, on.bulkhead
        ),
        planner=Planner(on.flags, on.renewals, on.sessions, on.table, on.logs),
        sessions=on.sessions,
        terminals=terminals,
        initial=InitialPrompt(on.resolver, terminals, on.logs, on.clock, on.limits),
        arrivals=Arrivals(on.clock, on.bulkhead),
        deaths=deaths,
        logs=on.logs,
        at_once=anyio.CapacityLimiter(on.limits.wakes_at_once),
    )


def _application(on: _Ground, crashes: Crashes, supervisor: Supervisor, kick: Kick) -> Application:
    """What agents and operators reach, over the supervisor and its deck."""
    deck = supervisor.deck
    terminals, waker = deck.terminals, deck.waker
    renewer = Renewer(on.renewals, on.sessions, terminals, waker, on.clock, on.limits, on.logs)
    return Application(
        host=host(),
        tenant=tenant(),
        version=VERSION,
        root=on.root.home,
        registry=on.registry,
        dispatcher=_dispatcher(on, supervisor),
        fleet=_fleet(on, supervisor),
        queues=_queues(on, supervisor, kick),
        verbs=Verbs(on.resolver, on.flags, on.sessions, terminals, crashes, waker, supervisor, renewer, on.logs),
        visits=Visits(on.root, on.resolver, on.sessions, waker, renewer, supervisor, on.clock),
        keys=Keys(terminals, on.clock),
        changes=_changes(on, supervisor),
        supervisor=supervisor,
        attribution=_attribution(on, supervisor),
        bulkhead=on.bulkhead,
    )


def _dispatcher(on: _Ground, supervisor: Supervisor) -> Dispatcher:
    return Dispatcher(
        on.resolver,
        on.spool,
        on.board,
        on.limits,
        on.clock,
        RateLimit(on.limits),
        supervisor.arrived,
        is_supervised=lambda: supervisor.is_running,
        is_live=lambda identity: identity in supervisor.watched,
        repeated=lambda sender: TaskEnd(supervisor.deck, sender).repeated(),
    )


def _fleet(on: _Ground, supervisor: Supervisor) -> Fleet:
    return Fleet(
        on.registry,
        on.resolver,
        on.flags,
        on.sessions,
        supervisor.deck.terminals,
        on.spool,
        on.board,
        is_supervised=lambda: supervisor.is_running,
    )


def _queues(on: _Ground, supervisor: Supervisor, kick: Kick) -> Queues:
    return Queues(
        on.registry,
        on.resolver,
        on.spool,
        on.board,
        on.logs,
        on.clock,
        kick,
        is_supervised=lambda: supervisor.is_running,
        is_live=lambda identity: identity in supervisor.watched,
    )


def _changes(on: _Ground, supervisor: Supervisor) -> Changes:
    """What removes and renames peers."""
    deck = supervisor.deck
    return Changes(
        on.resolver,
        Remover(
            on.root, on.registry, on.flags, on.clock, on.logs, lambda cwd: withdraw(cwd, on.root.home, on.operator)
        ),
        Renamer(on.root, on.registry, on.table, on.clock, on.logs),
        deck.waker,
        deck.terminals,
        supervisor,
        deck.settler,
    )


def _attribution(on: _Ground, supervisor: Supervisor) -> Attribution:
    return Attribution(
        lambda: tuple(supervisor.watched.items()),
        on.registry,
        lambda: listening(on.root, tuple(supervisor.watched)),
        on.usual,
    )
