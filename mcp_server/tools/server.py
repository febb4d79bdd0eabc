"""The MCP server all transports share: three tools and two resources over the application service."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from mcp_server.serve.callers import Caller, Callers
from mcp_server.serve.inflight import InFlight
from mcp_server.service import Progress, Service
from mcp_server.tools import messages, peers, queues
from mcp_server.tools.answers import FIXED, Answer, failure, result
from mcp_server.tools.resources import RESOURCES, TEMPLATES, read_resource
from mcp_server.tools.schemas import INSTRUCTIONS, TOOLS
from transport.errors import PeerwakeError
from transport.logs import Log

CALLER: Final = "peerwake.caller"
TOOLS_LIST: Final[dict[str, Any]] = FIXED | {"tools": list(TOOLS)}
INPUT_SCHEMAS: Final = {tool["name"]: tool["inputSchema"] for tool in TOOLS}

Context = ServerRequestContext[Any, Any]


class InternalError(PeerwakeError):
    """A fault of ours: it is in lifecycle.log, the user reports it."""

    code = "internal"


class ToolServer:
    """Handlers of the MCP methods, bound to one service."""

    def __init__(self, service: Service, callers: Callers, in_flight: InFlight, log: Log) -> None:
        self._service = service
        self._callers = callers
        self._in_flight = in_flight
        self._log = log

    async def list_tools(self, ctx: Context, params: types.PaginatedRequestParams) -> dict[str, Any]:
        return TOOLS_LIST

    async def list_resources(self, ctx: Context, params: types.PaginatedRequestParams) -> dict[str, Any]:
        return RESOURCES

    async def list_templates(self, ctx: Context, params: types.PaginatedRequestParams) -> dict[str, Any]:
        return TEMPLATES

    async def read(self, ctx: Context, params: types.ReadResourceRequestParams) -> dict[str, Any]:
        try:
            self._callers.check(caller_of(ctx))
            return await read_resource(self._service, str(params.uri))
        except PeerwakeError as error:
            raise MCPError(types.INVALID_PARAMS, str(error), {"code": error.code}) from error

    async def call_tool(self, ctx: Context, params: types.CallToolRequestParams) -> dict[str, Any]:
        """Run one tool; a refusal is a result with `isError`, never a protocol error."""
        try:
            with self._in_flight.one():
                return result(await self._run(ctx, params))
        except MCPError:
            raise
        except PeerwakeError as error:
            return failure(error)
        except Exception as error:  # the boundary to the wire: the caller is told, the log has the fault
            self._log.write("tool-failed", tool=params.name, error=f"{type(error).__name__}: {error}"[:500])
            return failure(InternalError(f"{params.name} failed by a fault of peerwake; see: peerwake doctor"))

    async def _run(self, ctx: Context, params: types.CallToolRequestParams) -> Answer:
        caller = caller_of(ctx)
        self._callers.check(caller)
        match params.name:
            case messages.NAME:
                meta = ctx.params.get("_meta") if ctx.params else None
                return await messages.send_to_peer(
                    self._service, caller.sender, params.arguments, meta, _progress(ctx, meta)
                )
            case peers.NAME:
                return await peers.list_peers(self._service, params.arguments)
            case queues.NAME:
                return await queues.queue_status(self._service, caller, params.arguments)
            case _:
                known = ", ".join(INPUT_SCHEMAS)
                raise MCPError(types.INVALID_PARAMS, f"there is no tool {params.name!r:.60}; there are {known}")


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


def build_server(service: Service, callers: Callers, in_flight: InFlight, log: Log) -> Server[Any]:
    """Return the MCP server; the caller of each request comes with it (`caller_of`)."""
    server: Server[Any] = Server(
        "peerwake",
        version=service.version,
        title="peerwake",
        instructions=INSTRUCTIONS,
        get_tool_input_schema=INPUT_SCHEMAS.get,
    )
    # The SDK traces every message by default; nobody here collects the traces.
    server.middleware.clear()
    tools = ToolServer(service, callers, in_flight, log)
    add: Callable[..., None] = server.add_request_handler
    add("tools/list", types.PaginatedRequestParams, tools.list_tools)
    add("tools/call", types.CallToolRequestParams, tools.call_tool)
    add("resources/list", types.PaginatedRequestParams, tools.list_resources)
    add("resources/templates/list", types.PaginatedRequestParams, tools.list_templates)
    add("resources/read", types.ReadResourceRequestParams, tools.read)
    return server
