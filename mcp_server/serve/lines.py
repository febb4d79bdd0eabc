"""JSON lines on the unix socket: an optional hello, then MCP or the control protocol (docs/protocol.md)."""

import asyncio
import json
import os
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import anyio
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_dual_era_loop

from lifecycle.requests import NotAllowed
from mcp_server.serve.callers import Caller, Callers, Claim, SocketPeer
from mcp_server.serve.control import Control
from mcp_server.serve.fast_lane import fast_lane
from mcp_server.serve.options import ServeOptions
from mcp_server.serve.streams import LineReader, LineWriter, SideReader
from mcp_server.tools.server import InternalError, ToolServer
from transport.errors import InvalidInput, PeerwakeError
from transport.logs import Log

PROTOCOL: Final = 1


class Role(StrEnum):
    """What a connection is for."""

    MCP = "mcp"
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Hello:
    """The first line of a connection that introduces itself."""

    role: Role
    claim: Claim


class LineServer:
    """Serves line connections; each is one coroutine in the front's task group."""

    def __init__(
        self,
        server: Server[Any],
        callers: Callers,
        control: Control,
        options: ServeOptions,
        version: str,
        log: Log,
        tools: ToolServer | None = None,
    ) -> None:
        self._server = server
        self._callers = callers
        self._control = control
        self._options = options
        self._version = version
        self._log = log
        self._tools = tools
        self._writers: set[LineWriter] = set()

    @property
    def connections(self) -> int:
        return len(self._writers)

    async def serve(self, reader: SideReader, raw: asyncio.StreamWriter, peer: SocketPeer) -> None:
        """Serve one connection to its end; never raises, what goes wrong ends this connection alone."""
        writer = LineWriter(raw)
        self._writers.add(writer)
        try:
            await self._introduce(reader, writer, peer)
        except (ConnectionError, anyio.BrokenResourceError, TimeoutError):
            return
        except Exception as error:  # the boundary of one connection: the others go on, the log has the fault
            self._log.write("connection-failed", pid=peer.process.pid, error=f"{type(error).__name__}: {error}"[:500])
        finally:
            self._writers.discard(writer)
            raw.close()

    def mute(self) -> None:
        """Answer nothing more: a bridge sends what was in flight to the next server."""
        for writer in self._writers:
            writer.is_muted = True

    async def _introduce(self, reader: SideReader, writer: LineWriter, peer: SocketPeer) -> None:
        try:
            with anyio.fail_after(self._options.header_seconds):
                line = await reader.readline()
            if not line:
                return
            hello = parse_hello(line)
            caller = await self._callers.on_socket(peer, hello.claim if hello else Claim())
        except ValueError:
            await _write(writer, refusal(InvalidInput("hello", "the first line is too long")))
            return
        except PeerwakeError as error:
            await _write(writer, refusal(error))
            return
        except (ConnectionError, anyio.BrokenResourceError, TimeoutError):
            raise
        except Exception as error:
            await _write(writer, refusal(InternalError("a fault in peerwake; logs/lifecycle.log has it")))
            raise error
        if hello is None:
            await self._serve_mcp(reader, writer, caller, line)
            return
        await _write(writer, self._welcome(caller))
        match hello.role:
            case Role.MCP:
                await self._serve_mcp(reader, writer, caller)
            case Role.CONTROL:
                await self._control.serve(reader, writer, caller)

    async def _serve_mcp(
        self, reader: SideReader, writer: LineWriter, caller: Caller, first: bytes | None = None
    ) -> None:
        async with fast_lane(self._tools, writer, caller) as lane:
            messages = LineReader(reader, writer, self._options.message_bytes, first, lane)
            reader.side = messages.is_taken
            await serve_dual_era_loop(self._server, messages, writer, lifespan_state=caller)

    def _welcome(self, caller: Caller) -> dict[str, Any]:
        return {
            "ok": True,
            "version": self._version,
            "pid": os.getpid(),
            "identity": str(caller.identity) if caller.identity else None,
            "operator": caller.is_operator,
        }


def parse_hello(line: bytes) -> Hello | None:
    """Return the hello in `line`, None if it is a message already; raises NotAllowed or InvalidInput."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or "peerwake" not in value:
        return None
    if value["peerwake"] != PROTOCOL:
        raise InvalidInput("peerwake", f"protocol {value['peerwake']!r:.40} is not spoken here; this server speaks 1")
    role = value.get("role")
    if not isinstance(role, str) or role not in set(Role):
        raise InvalidInput("role", f"{role!r:.40} is not a role; use 'mcp' or 'control'")
    texts = {name: value.get(name) for name in ("credential", "cwd")}
    for name, text in texts.items():
        if text is not None and not isinstance(text, str):
            raise NotAllowed(f"{name} is not text")
    return Hello(Role(role), Claim(texts["credential"], texts["cwd"]))


def refusal(error: PeerwakeError) -> dict[str, Any]:
    """Return an error as an answer line."""
    return {"ok": False, "error": {"code": error.code, "message": str(error)}}


async def _write(writer: LineWriter, value: dict[str, Any]) -> None:
    await writer.line(json.dumps(value).encode())
