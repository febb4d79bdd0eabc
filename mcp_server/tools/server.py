"""The MCP server all transports share: three tools and two resources over the application service."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import mcp_types as types
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from mcp_server.serve.callers import Caller, Callers
from mcp_server.serve.inflight import InFlight
from mcp_server.service import Progress, Service
from mcp_server.tools import messages, peers, queues
from mcp_server.tools.answers import COMPLETE, FIXED, Answer, failure, result
from mcp_server.tools.resources import RESOURCES, TEMPLATES, read_resource
from mcp_server.tools.schemas import INSTRUCTIONS, TOOLS
from transport.errors import PeerwakeError
from transport.logs import Log

CALLER: Final = "peerwake.caller"
TOOLS_LIST: Final[dict[str, Any]] = FIXED | {"tools": list(TOOLS)}
INPUT_SCHEMAS: Final = {tool["name"]: tool["inputSchema"] for tool in TOOLS}
SERVER_INFO: Final = types.SERVER_INFO_META_KEY

Context = ServerRequestContext[Any, Any]


class InternalError(PeerwakeError):
    """A fault of ours: it is in lifecycle.log, the user reports it."""

    code = "internal"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call: `meta` is what the client sent beside the arguments, `progress` None unless it asked for that."""

    caller: Caller
    name: str
    arguments: dict[str, Any] | None
    meta: Mapping[str, Any] | None = None
    progress: Progress | None = None


class ToolServer:
    """Handlers of the MCP methods, bound to one service."""

    def __init__(self, service: Service, callers: Callers, in_flight: InFlight, log: Log) -> None:
        self._service = service
        self._callers = callers
        self._in_flight = in_flight
        self._log = log

    async def list_tools(self, ctx: Context, params: types.PaginatedRequestParams) -> dict[str, Any]:
        caller = caller_of(ctx)
        if caller.identity is not None and not caller.is_operator:
            self._service.arrived(caller.identity)
        return TOOLS_LIST

    async def list_resources(self, ctx: Context, params: types.PaginatedRequestParams) -> dict[str, Any]:
        return RESOURCES

    async def list_templates(self, ctx: Context, params: types.PaginatedRequestParams) -> dict[str, Any]:
        return TEMPLATES

    async def read(self, ctx: Context, params: types.ReadResourceRequestParams) -> dict[str, Any]:
        uri = str(params.uri)
        try:
            self._callers.check(caller_of(ctx))
            return await read_resource(self._service, uri)
        except PeerwakeError as error:
            raise MCPError(types.INVALID_PARAMS, str(error), {"code": error.code, "uri": uri}) from error

    async def call_tool(self, ctx: Context, params: types.CallToolRequestParams) -> dict[str, Any]:
        """Run one tool for a call that the SDK has checked."""
        return await self.answer(_call_of(ctx, params.name, params.arguments)) | {"resultType": COMPLETE}

    async def shortcut(self, server_info: dict[str, Any], ctx: Context, call_next: CallNext) -> HandlerResult:
        """Run one tool past the SDK's checks of messages, which cost more than all else in a call.

        Only for what is certainly a well-formed call on a connection past its handshake; the SDK has the rest.
        """
        params = ctx.params
        is_call = ctx.method == "tools/call" and ctx.request_id is not None and params is not None
        if not is_call or params is None or ctx.session.client_params is None:
            return await call_next(ctx)
        name, arguments = params.get("name"), params.get("arguments")
        if not isinstance(name, str) or not isinstance(arguments, dict | None):
            return await call_next(ctx)
        answer = await self.answer(_call_of(ctx, name, arguments))
        if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
            return answer | {"resultType": COMPLETE, "_meta": {SERVER_INFO: server_info}}
        return answer

    async def answer(self, call: ToolCall) -> dict[str, Any]:
        """Return the result of one tool; a refusal is a result with `isError`, never a protocol error."""
        try:
            with self._in_flight.one():
                return result(await self._run(call))
        except MCPError:
            raise
        except PeerwakeError as error:
            return failure(error)
        except Exception as error:  # the boundary to the wire: the caller is told, the log has the fault
            self._log.write("tool-failed", tool=call.name, error=f"{type(error).__name__}: {error}"[:500])
            return failure(InternalError(f"{call.name} failed by a fault of peerwake; see: peerwake doctor"))

    async def _run(self, call: ToolCall) -> Answer:
        self._callers.check(call.caller)
        match call.name:
            case messages.NAME:
                return await messages.send_to_peer(self._service, call.caller, call.arguments, call.meta, call.progress)
            case peers.NAME:
                return await peers.list_peers(self._service, call.arguments)
            case queues.NAME:
                return await queues.queue_status(self._service, call.caller, call.arguments)
            case _:
                known = ", ".join(INPUT_SCHEMAS)
                raise MCPError(types.INVALID_PARAMS, f"there is no tool {call.name!r:.60}; there are {known}")


def _call_of(ctx: Context, name: str, arguments: dict[str, Any] | None) -> ToolCall:
    meta = ctx.params.get("_meta") if ctx.params else None
    return ToolCall(caller_of(ctx), name, arguments, meta, _progress(ctx, meta))


def caller_of(ctx: Context) -> Caller:
    """Return who is calling: from the HTTP request where there is one, else from the connection."""
    caller = ctx.request.scope[CALLER] if ctx.request is not None else ctx.lifespan_context
    if not isinstance(caller, Caller):
        raise TypeError(f"a transport did not say who is calling: {type(caller).__name__}")
    return caller


def _progress(ctx: Context, meta: Mapping[str, Any] | None) -> Progress | None:
    """Return how to report progress, None when the client did not ask for it."""
    if not meta or "progressToken" not in meta:
        return None
    steps = 0

    async def report(text: str) -> None:
        nonlocal steps
        steps += 1
        await ctx.session.report_progress(steps, None, text)

    return report


def build_server(version: str, tools: ToolServer) -> Server[Any]:
    """Return the MCP server; the caller of each request comes with it (`caller_of`)."""
    server: Server[Any] = Server(
        "peerwake",
        version=version,
        title="peerwake",
        instructions=INSTRUCTIONS,
        get_tool_input_schema=INPUT_SCHEMAS.get,
    )
    # In place of the SDK's tracing of every message, which nobody here collects.
    server.middleware[:] = [partial(tools.shortcut, server.server_info_stamp)]
    add: Callable[..., None] = server.add_request_handler
    add("tools/list", types.PaginatedRequestParams, tools.list_tools)
    add("tools/call", types.CallToolRequestParams, tools.call_tool)
    add("resources/list", types.PaginatedRequestParams, tools.list_resources)
    add("resources/templates/list", types.PaginatedRequestParams, tools.list_templates)
    add("resources/read", types.ReadResourceRequestParams, tools.read)
    return server
