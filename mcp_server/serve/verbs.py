"""The verbs of the control protocol: what each takes, who may use it, what it does."""

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from lifecycle.requests import NotAllowed, UnknownPeer
from lifecycle.states import PeerState
from mcp_server.serve import letters, sessions
from mcp_server.serve.callers import Caller
from mcp_server.serve.inflight import InFlight
from mcp_server.serve.options import Addresses
from mcp_server.service import Service
from mcp_server.tools.arguments import MAX_QUERY, Arguments
from mcp_server.tools.messages import TAKES as SEND_TAKES
from mcp_server.tools.messages import checked_request
from mcp_server.tools.peers import row_structure
from mcp_server.tools.queues import MAX_ID, check_party, message_structure
from transport.clock import Clock
from transport.errors import InvalidInput
from transport.identity import Identity, check_personality, parse_identity

LIST_ROWS: Final = 10_000


class Who(StrEnum):
    """Who may use a verb."""

    ANYONE = "anyone"
    SESSION = "session"
    OPERATOR = "operator"


@dataclass(slots=True)
class ServerFacts:
    """What the server knows of itself; `addresses` is filled in when it listens."""

    clock: Clock
    started: float
    in_flight: InFlight
    connections: Callable[[], int]
    addresses: Addresses | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One request that passed the checks of its verb."""

    service: Service
    caller: Caller
    args: Mapping[str, Any]
    facts: ServerFacts

    @property
    def arguments(self) -> Arguments:
        return Arguments("the verb", self.args, frozenset(self.args))

    def name(self) -> str:
        """Return a required peer's name."""
        return check_personality(self.arguments.required("name"), "name")

    def optional(self, key: str) -> str | None:
        """Return a peer's name, None when absent; an empty one is refused, lest it mean everybody."""
        given = self.args.get(key)
        return None if given is None else check_personality(given, key)

    def message_id(self) -> str:
        """Return a required message id."""
        found = self.arguments.text("message_id", MAX_ID)
        if found is None:
            raise InvalidInput("message_id", "it is missing; give the id of a message")
        return found


@dataclass(frozen=True, slots=True)
class Verb:
    """One row of the table."""

    run: Callable[[Call], Awaitable[dict[str, Any]]]
    who: Who = Who.OPERATOR
    takes: frozenset[str] = field(default=frozenset())


async def ping(call: Call) -> dict[str, Any]:
    return {"pid": os.getpid()}


async def status(call: Call) -> dict[str, Any]:
    """Who this server is, where it listens, and what it is doing."""
    service, facts = call.service, call.facts
    page = await service.peers(None, False, 0, 1)
    queues = await service.queue(None) if call.caller.is_operator else ()
    return {
        "pid": os.getpid(),
        "version": service.version,
        "host": service.host,
        "tenant_id": service.tenant,
        "root": str(service.root),
        "role": service.role,
        "uptime_seconds": round(facts.clock.monotonic() - facts.started, 3),
        "log_failures": service.log_failures,
        "addresses": asdict(facts.addresses) if facts.addresses else None,
        "identity": str(call.caller.identity) if call.caller.identity else None,
        "operator": call.caller.is_operator,
        "counts": {
            "peers": page.total,
            "connections": facts.connections(),
            "in_flight": facts.in_flight.count - 1,
            "queued": sum(row.depth for row in queues),
            "dead": sum(row.dead for row in queues),
        },
    }


async def send(call: Call) -> dict[str, Any]:
    """Send in the caller's name; the operator may send in any registered peer's."""
    sessions.runtime_of(call)  # the tool takes an empty one for none
    given = {key: value for key, value in call.args.items() if key != "from"}
    request = await checked_request(call.service, call.caller, given)
    sender = call.caller.sender
    if call.args.get("from") is not None:
        sender = await _from(call, call.args["from"])
    return asdict(await call.service.send(sender, request))


async def _from(call: Call, claimed: object) -> Identity:
    own = call.caller.identity
    if own is not None and claimed in (str(own), own.personality):
        return own
    if not call.caller.is_operator:
        raise NotAllowed(f"from: you are {own} and cannot send as {claimed!r:.60}")
    try:
        row = await call.service.peer(check_personality(claimed, "from"))
    except UnknownPeer:
        # A name may have a dash of its own, so it is looked up as a name first.
        if "-" in str(claimed) and call.service.knows(identity := parse_identity(claimed, "from")):
            return identity
        raise
    return Identity(row.default_runtime, row.name)


async def list_peers(call: Call) -> dict[str, Any]:
    """Complete rows, for programs."""
    arguments = call.arguments
    page = await call.service.peers(
        arguments.text("query", MAX_QUERY),
        arguments.flag("live_only"),
        arguments.whole("offset", 0, 0, 1_000_000),
        arguments.whole("limit", LIST_ROWS, 1, LIST_ROWS),
    )
    return {"rows": [row_structure(row) for row in page.rows], "total": page.total, "offset": page.offset}


async def peer(call: Call) -> dict[str, Any]:
    return row_structure(await call.service.peer(call.name()))


async def queue(call: Call) -> dict[str, Any]:
    """The queue of one peer; without a name all of them for the operator, its own for a peer."""
    name = call.optional("personality")
    if name is None and not call.caller.is_operator and call.caller.identity is not None:
        name = call.caller.identity.personality
    return {"rows": [asdict(row) for row in await call.service.queue(name)]}


async def message(call: Call) -> dict[str, Any]:
    report = await call.service.message(call.message_id())
    check_party(call.caller, report)
    return message_structure(report)


async def show(call: Call) -> dict[str, Any]:
    return await call.service.show(call.message_id())


async def stop(call: Call) -> dict[str, Any]:
    """Stop one peer, or without a name all of them."""
    stopped = await call.service.stop(call.optional("name"))
    return {"rows": [{"identity": identity, "state": PeerState.STOPPED} for identity in stopped]}


async def start(call: Call) -> dict[str, Any]:
    """Let one peer be woken again, or without a name all of them."""
    started = await call.service.start(call.optional("name"))
    return {"rows": [{"identity": identity, "state": "started"} for identity in started]}


async def remove(call: Call) -> dict[str, Any]:
    """Remove a peer: refused while it is live or messages wait, unless forced."""
    arguments = call.arguments
    return await call.service.remove(call.name(), force=arguments.flag("force"), purge=arguments.flag("purge"))


async def rename(call: Call) -> dict[str, Any]:
    """Give a peer that is not live another name."""
    new_name = check_personality(call.arguments.required("new_name"), "new_name")
    return await call.service.rename(call.name(), new_name)


async def reload(call: Call) -> dict[str, Any]:
    return await call.service.reload()


_NAME: Final = frozenset({"name"})
_PERSONALITY: Final = frozenset({"personality"})
_ID: Final = frozenset({"message_id"})

VERBS: Final[Mapping[str, Verb]] = {
    "ping": Verb(ping, Who.ANYONE),
    "status": Verb(status, Who.ANYONE),
    "send": Verb(send, Who.ANYONE, SEND_TAKES | {"from"}),
    "list": Verb(list_peers, Who.ANYONE, frozenset({"query", "live_only", "offset", "limit"})),
    "peer": Verb(peer, Who.ANYONE, _NAME),
    "queue": Verb(queue, Who.ANYONE, _PERSONALITY),
    "message": Verb(message, Who.ANYONE, _ID),
    "dead": Verb(letters.dead, Who.OPERATOR, letters.WHICH | {"limit"}),
    "show": Verb(show, Who.OPERATOR, _ID),
    "retry": Verb(letters.retry, Who.OPERATOR, letters.WHICH | letters.IDS),
    "drop": Verb(letters.drop, Who.OPERATOR, letters.WHICH | letters.IDS),
    "stop": Verb(stop, Who.OPERATOR, _NAME),
    "start": Verb(start, Who.OPERATOR, _NAME),
    "attach": Verb(sessions.attach, Who.OPERATOR, sessions.NAMED),
    "watch": Verb(sessions.watch, Who.OPERATOR, sessions.NAMED),
    "run": Verb(sessions.run, Who.OPERATOR, sessions.RUN),
    "new": Verb(sessions.new, Who.OPERATOR, sessions.NAMED | sessions.SEED),
    "refresh": Verb(sessions.refresh, Who.OPERATOR, sessions.NAMED),
    "interrupt": Verb(sessions.interrupt, Who.OPERATOR, sessions.NAMED),
    "compact": Verb(sessions.compact, Who.OPERATOR, sessions.NAMED),
    "remove": Verb(remove, Who.OPERATOR, _NAME | {"force", "purge"}),
    "rename": Verb(rename, Who.OPERATOR, _NAME | {"new_name"}),
    "self-done": Verb(sessions.self_done, Who.SESSION),
    "self-new": Verb(sessions.self_new, Who.SESSION, sessions.SEED),
    "reload": Verb(reload, Who.OPERATOR),
}
