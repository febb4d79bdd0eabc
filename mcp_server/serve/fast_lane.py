"""The short way of a tool call over a line connection: past the SDK's dispatch, which costs more than a send does.

Only what is certainly a plain call, on a connection that began with a handshake, goes this way. The SDK gets
all else: every other method, the modern protocol, calls that ask for progress, and whatever is not as it should be.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio
from mcp_types import JSONRPCError, JSONRPCMessage, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse
from pydantic_core import from_json

from mcp_server.serve.callers import Caller
from mcp_server.serve.streams import LineWriter
from mcp_server.tools.server import INPUT_SCHEMAS, ToolCall, ToolServer

METHOD: Final = "tools/call"
MARK: Final = METHOD.encode()
REQUEST_FIELDS: Final = frozenset({"jsonrpc", "id", "method", "params"})
PARAMS_FIELDS: Final = frozenset({"name", "arguments", "_meta"})

MODERN: Final = "io.modelcontextprotocol/"

ENCODE: Final = json.JSONEncoder(separators=(",", ":")).encode

RequestId = str | int


class FastLane:
    """The calls of one connection, each a task; they begin in their order and may end in another.

    While the SDK has a call of this connection it gets the next ones too: none is overtaken.
    """

    def __init__(self, tools: ToolServer, writer: LineWriter, caller: Caller, tasks: asyncio.TaskGroup) -> None:
        self._tools = tools
        self._writer = writer
        self._caller = caller
        self._tasks = tasks
        self._running: dict[RequestId, asyncio.Task[None]] = {}
        self._elsewhere: set[RequestId] = set()
        self._idle = anyio.Event()
        self._is_first = True
        self._is_greeted = False
        self._is_open = False

    def takes(self, line: bytes) -> bool:
        """Begin the call in `line` if it certainly is one, and tell whether it was."""
        if not self._is_open or self._elsewhere or MARK not in line:
            return False
        found = plain_call(line, self._caller)
        if found is None or found[0] in self._running:
            return False
        request_id, call = found
        self._running[request_id] = self._tasks.create_task(self._run(request_id, call))
        return True

    def saw(self, message: JSONRPCMessage) -> None:
        """Open after the handshake; cancel a call that the client does not wait for any more."""
        match message:
            case JSONRPCRequest(method="tools/call", id=request):
                self._elsewhere.add(request)
            case JSONRPCRequest(method="initialize"):
                self._is_greeted = self._is_first
            case JSONRPCNotification(method="notifications/initialized"):
                self._is_open = self._is_greeted
            case JSONRPCNotification(method="notifications/cancelled", params={"requestId": str() | int() as request}):
                if type(request) is not bool:
                    self._drop(request)
            case _:
                pass
        self._is_first = False

    def answered(self, message: JSONRPCMessage) -> None:
        """The SDK has answered."""
        match message:
            case JSONRPCResponse(id=str() | int() as request) | JSONRPCError(id=str() | int() as request):
                self._elsewhere.discard(request)
            case _:
                pass

    def _drop(self, request: RequestId) -> None:
        self._elsewhere.discard(request)
        if task := self._running.get(request):
            _cancel(task)

    async def close(self) -> None:
        """Cancel what still runs: nobody waits for an answer any more. Returns when it has ended."""
        self._is_open = False
        for task in self._running.values():
            _cancel(task)
        if self._running:
            await self._idle.wait()

    async def _run(self, request_id: RequestId, call: ToolCall) -> None:
        try:
            result = await self._tools.answer(call)
            await self._writer.line(ENCODE({"jsonrpc": "2.0", "id": request_id, "result": result}).encode())
        except anyio.BrokenResourceError:
            return
        finally:
            del self._running[request_id]
            if not self._running and not self._is_open:
                self._idle.set()


def _cancel(task: asyncio.Task[None]) -> None:
    """Cancel a call, but not before it has begun: what was read is accepted, whoever leaves."""
    task.get_loop().call_soon(task.cancel)


def plain_call(line: bytes, caller: Caller) -> tuple[RequestId, ToolCall] | None:
    """Return the id and the call of a line that is nothing but a well-formed call of a tool of ours, else None."""
    try:
        message = from_json(line)
    except ValueError:
        return None
    if not isinstance(message, dict) or message.keys() != REQUEST_FIELDS:
        return None
    request_id, params = message["id"], message["params"]
    if message["jsonrpc"] != "2.0" or message["method"] != METHOD or type(request_id) not in (str, int):
        return None
    if not isinstance(params, dict) or not params.keys() <= PARAMS_FIELDS:
        return None
    name, arguments, meta = params.get("name"), params.get("arguments"), params.get("_meta")
    if not isinstance(name, str) or name not in INPUT_SCHEMAS or not isinstance(arguments, dict):
        return None
    return (request_id, ToolCall(caller, name, arguments, meta)) if _is_quiet(meta) else None


def _is_quiet(meta: object) -> bool:
    """Say that the client wants no progress and does not speak the modern protocol."""
    if not isinstance(meta, dict):
        return meta is None
    return "progressToken" not in meta and not any(key.startswith(MODERN) for key in meta)


@asynccontextmanager
async def fast_lane(tools: ToolServer | None, writer: LineWriter, caller: Caller) -> AsyncIterator[FastLane | None]:
    """Yield the lane of one connection; what still runs at its end is cancelled. None for a server of other tools."""
    if tools is None:
        yield None
        return
    async with asyncio.TaskGroup() as tasks:
        lane = FastLane(tools, writer, caller, tasks)
        writer.on_answer = lane.answered
        try:
            yield lane
        finally:
            # The group alone would cancel calls that have not begun.
            with anyio.CancelScope(shield=True):
                await lane.close()
