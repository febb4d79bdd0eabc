"""The SDK's message streams over a line connection, without a task or a queue in between."""

import json
from asyncio import AbstractEventLoop, StreamReader, StreamWriter
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final, Protocol, Self, SupportsIndex

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import INVALID_REQUEST, PARSE_ERROR, JSONRPCMessage, JSONRPCNotification, jsonrpc_message_adapter
from pydantic import ValidationError

from mcp_server.serve.guard import NOT_UNICODE, json_of, message_problem, request_id

HIGH_WATER_BYTES: Final = 1 << 18


def _ignore(message: JSONRPCMessage) -> None:
    """Nobody wants to know of answers."""


class LineWriter:
    """Writes JSON-RPC messages as lines; a reader that does not read holds its own requests up."""

    def __init__(self, writer: StreamWriter) -> None:
        self._writer = writer
        self._transport: Any = writer.transport
        self.is_muted = False
        self.on_answer: Callable[[JSONRPCMessage], None] = _ignore

    async def send(self, item: SessionMessage) -> None:
        self.on_answer(item.message)
        await self.line(item.message.model_dump_json(by_alias=True, exclude_unset=True).encode())

    async def line(self, data: bytes) -> None:
        """Write one line; raises BrokenResourceError when nobody can read it any more."""
        if self.is_muted or self._transport.is_closing():
            raise anyio.BrokenResourceError
        self._writer.write(data + b"\n")
        await self.drained()

    async def error(self, request_id: object, code: int, text: str) -> None:
        """Write a JSON-RPC error of the transport itself."""
        error = {"code": code, "message": text}
        await self.line(json.dumps({"jsonrpc": "2.0", "id": request_id, "error": error}).encode())

    @property
    def is_clear(self) -> bool:
        """Tell whether there is anybody to answer, who has read most of what was written."""
        return not self.is_muted and self._transport.get_write_buffer_size() <= HIGH_WATER_BYTES

    async def drained(self) -> None:
        """Wait until the other end has read most of what was written."""
        if self._transport.get_write_buffer_size() > HIGH_WATER_BYTES:
            try:
                await self._writer.drain()
            except ConnectionError as error:
                raise anyio.BrokenResourceError from error

    async def aclose(self) -> None:
        """The connection closes the socket; there is nothing to do here."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Lane(Protocol):
    """A short way beside the SDK for some of the lines."""

    def takes(self, line: bytes) -> bool:
        """Take a line, or leave it to the SDK."""
        ...

    def saw(self, message: JSONRPCMessage) -> None:
        """The SDK gets this message."""
        ...


class SideReader(StreamReader):
    """A stream of lines; while its reader waits for one, and nothing is kept, a `side` may take what comes at once.

    What the side takes costs no buffer and no switch of tasks. Lines stay in their order: from the first
    that it leaves, everything goes to the reader.
    """

    def __init__(self, limit: int, loop: AbstractEventLoop) -> None:
        super().__init__(limit=limit, loop=loop)
        self._longest = limit
        self._kept = 0
        self._is_awaited = False
        self.side: Callable[[bytes], bool] | None = None

    async def readline(self) -> bytes:
        self._is_awaited = True
        try:
            line = await super().readline()
        finally:
            self._is_awaited = False
        self._kept -= len(line)
        return line

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        rest = bytes(data)
        if self.side is not None and self._is_awaited and not self._kept and len(rest) <= self._longest:
            rest = self._past(rest, self.side)
        if rest:
            self._kept += len(rest)
            super().feed_data(rest)

    def _past(self, data: bytes, side: Callable[[bytes], bool]) -> bytes:
        """Return what the side leaves."""
        start = 0
        while end := data.find(b"\n", start) + 1:
            if not side(data[start:end]):
                break
            start = end
        return data[start:]


class LineReader:
    """Reads JSON-RPC messages from lines; a line that is none is answered, and the connection goes on.

    `first` is a line that was read already; what `lane` takes is not seen by the SDK.
    """

    def __init__(
        self,
        reader: StreamReader,
        writer: LineWriter,
        limit: int,
        first: bytes | None = None,
        lane: Lane | None = None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._limit = limit
        self._first = first
        self._lane = lane
        self._is_over = False

    async def receive(self) -> SessionMessage | Exception:
        try:
            return await self.__anext__()
        except StopAsyncIteration:
            raise anyio.EndOfStream from None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        while True:
            line = await self._line()
            if not line or self._writer.is_muted:
                raise StopAsyncIteration
            if self._lane is not None and self._lane.takes(line):
                continue
            message = parsed(line)
            if message is not None:
                if self._lane is not None:
                    self._lane.saw(message)
                return SessionMessage(message)
            await self._answer_malformed(line)

    def is_taken(self, line: bytes) -> bool:
        """Tell whether the lane took a line; none does while answers wait for a client that does not read."""
        return self._lane is not None and self._writer.is_clear and self._lane.takes(line)

    async def _line(self) -> bytes:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        # The SDK asks again after the end of its first loop; what follows a line that was too long is no message.
        while not self._is_over:
            try:
                await self._writer.drained()
                line = await self._reader.readline()
            except ConnectionError:
                return b""
            except anyio.BrokenResourceError:
                return b""
            except ValueError:
                self._is_over = True
                await self._refuse_long()
                break
            if line != b"\n" and line != b"\r\n":
                return line
        return b""

    async def _refuse_long(self) -> None:
        text = f"a line may have up to {self._limit:,} bytes; write the message to a file and attach it"
        try:
            await self._writer.error(None, INVALID_REQUEST, text)
        except anyio.BrokenResourceError:
            return

    async def _answer_malformed(self, line: bytes) -> None:
        code, request_id, text = _malformed(line)
        try:
            await self._writer.error(request_id, code, text)
        except anyio.BrokenResourceError:
            return

    async def aclose(self) -> None:
        """The connection closes the socket; there is nothing to do here."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


def parsed(line: bytes) -> JSONRPCMessage | None:
    """Return the message in a line, None when there is none."""
    try:
        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValidationError:
        return None
    # The SDK takes a request whose id is null, true or 1.5 for a notification, which nobody would answer.
    if isinstance(message, JSONRPCNotification) and b'"id"' in line and message_problem(json.loads(line)):
        return None
    return message


def _malformed(line: bytes) -> tuple[int, object, str]:
    """Return the JSON-RPC code, the request's id if it can be read, and what is wrong with a line."""
    try:
        message = json_of(line)
    except (ValueError, RecursionError):
        return PARSE_ERROR, None, "Parse error: the line is not JSON"
    return INVALID_REQUEST, request_id(message), f"Invalid request: {message_problem(message) or NOT_UNICODE}"
