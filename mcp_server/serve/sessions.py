"""The verbs about sessions: a person's terminal on them, keys pressed in them, fresh ones, their own wishes."""

from typing import TYPE_CHECKING, Any, Final

from lifecycle.renewal import SEED_BYTES
from transport.errors import InvalidInput
from transport.identity import check_runtime

if TYPE_CHECKING:
    from mcp_server.serve.verbs import Call

RUNTIME: Final = frozenset({"runtime"})
NAMED: Final = RUNTIME | {"name"}
RUN: Final = RUNTIME | {"replace"}
SEED: Final = frozenset({"seed"})


def runtime_of(call: "Call") -> str | None:
    """Return a runtime's name, None when absent; an empty one is refused, lest it mean the default."""
    given = call.args.get("runtime")
    return None if given is None else check_runtime(given)


async def attach(call: "Call") -> dict[str, Any]:
    return await call.service.attach(call.name(), runtime_of(call))


async def watch(call: "Call") -> dict[str, Any]:
    return await call.service.watch(call.name(), runtime_of(call))


async def run(call: "Call") -> dict[str, Any]:
    """A fresh session of the peer in whose directory the caller stands."""
    peer = call.caller.identity
    if peer is None:
        raise InvalidInput("cwd", "it is no peer's directory, nor below one; make it one: peerwake init")
    return await call.service.run(peer.personality, runtime_of(call), call.arguments.flag("replace"))


async def new(call: "Call") -> dict[str, Any]:
    return await call.service.new(call.name(), runtime_of(call), call.arguments.text("seed", SEED_BYTES))


async def refresh(call: "Call") -> dict[str, Any]:
    return await call.service.refresh(call.name(), runtime_of(call))


async def interrupt(call: "Call") -> dict[str, Any]:
    return await call.service.interrupt(call.name(), runtime_of(call))


async def compact(call: "Call") -> dict[str, Any]:
    return await call.service.compact(call.name(), runtime_of(call))


async def self_done(call: "Call") -> dict[str, Any]:
    ends = await call.service.self_done(call.caller.sender)
    return {"identity": str(call.caller.sender), "ends": ends}


async def self_new(call: "Call") -> dict[str, Any]:
    await call.service.self_new(call.caller.sender, call.arguments.text("seed", SEED_BYTES))
    return {"identity": str(call.caller.sender)}
