"""The control protocol: one JSON request a line, one JSON answer a line (docs/protocol.md)."""

import asyncio
import json
from typing import Any, Final

import anyio

from lifecycle.requests import NotAllowed
from mcp_server.serve.callers import Caller, Callers
from mcp_server.serve.inflight import InFlight
from mcp_server.serve.streams import LineWriter
from mcp_server.serve.verbs import VERBS, Call, ServerFacts, Who
from mcp_server.service import Service
from mcp_server.tools.answers import printable
from mcp_server.tools.server import InternalError
from transport.errors import InvalidInput, PeerwakeError
from transport.logs import Log

AT_ONCE: Final = 64


class Control:
    """Runs verbs for callers; requests of one connection start in their order and may answer in another."""

    def __init__(self, service: Service, callers: Callers, facts: ServerFacts, in_flight: InFlight, log: Log) -> None:
        self._service = service
        self._callers = callers
        self._facts = facts
        self._in_flight = in_flight
        self._log = log

    async def serve(self, reader: asyncio.StreamReader, writer: LineWriter, caller: Caller) -> None:
        """Answer request lines until the other end closes; what it asked for by then is done, however it left."""
        places = anyio.Semaphore(AT_ONCE)
        async with anyio.create_task_group() as group:
            while True:
                try:
                    await writer.drained()
                    line = await reader.readline()
                except (ConnectionError, anyio.BrokenResourceError):
                    break
                except ValueError:
                    await _answer(writer, None, InvalidInput("request", "the line is too long; send a shorter one"))
                    break
                if not line:
                    break
                if line.strip():
                    await places.acquire()
                    group.start_soon(self._one, line, writer, caller, places)

    async def _one(self, line: bytes, writer: LineWriter, caller: Caller, places: anyio.Semaphore) -> None:
        request_id: object = None
        with self._in_flight.one():
            try:
                request_id, verb, args = _parse(line)
                outcome: dict[str, Any] | PeerwakeError = await self._run(verb, args, caller)
            except PeerwakeError as error:
                outcome = error
            except Exception as error:  # the boundary to the wire: the caller is told, the log has the fault
                self._log.write("verb-failed", error=f"{type(error).__name__}: {error}"[:500])
                outcome = InternalError("the server failed at this request; see: peerwake doctor")
            finally:
                places.release()
            try:
                await _answer(writer, request_id, outcome)
            except anyio.BrokenResourceError:
                return

    async def _run(self, name: str, args: dict[str, Any], caller: Caller) -> dict[str, Any]:
        verb = VERBS.get(name)
        if verb is None:
            raise InvalidInput("verb", f"there is no verb {name!r:.40}; there are {', '.join(sorted(VERBS))}")
        self._callers.check(caller)
        if verb.who is Who.OPERATOR and not caller.is_operator:
            raise NotAllowed(f"{name} is for the operator; {caller.identity} may not do it")
        if verb.who is Who.SESSION and caller.identity is None:
            raise NotAllowed(f"{name} works inside a peer's session only; you are the operator")
        unknown = args.keys() - verb.takes
        if unknown:
            takes = ", ".join(sorted(verb.takes)) or "nothing"
            raise InvalidInput("args", f"{name} does not take {', '.join(sorted(unknown))[:80]}; it takes {takes}")
        return await verb.run(Call(self._service, caller, args, self._facts))


def _parse(line: bytes) -> tuple[object, str, dict[str, Any]]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise InvalidInput("request", 'the line is not JSON; send {"id": 1, "verb": "ping"}') from None
    if not isinstance(request, dict) or not isinstance(request.get("verb"), str):
        raise InvalidInput("request", 'it is not an object with a verb; send {"id": 1, "verb": "ping"}')
    args = request.get("args", {})
    if not isinstance(args, dict):
        raise InvalidInput("args", "it is not an object")
    return request.get("id"), request["verb"], args


async def _answer(writer: LineWriter, request_id: object, outcome: dict[str, Any] | PeerwakeError) -> None:
    answer: dict[str, Any] = {"id": request_id, "ok": not isinstance(outcome, PeerwakeError)}
    if isinstance(outcome, PeerwakeError):
        error = {"code": outcome.code, "message": printable(str(outcome))}
        if isinstance(outcome, InvalidInput):
            error["field"] = outcome.field
        answer["error"] = error
    else:
        answer["result"] = outcome
    await writer.line(json.dumps(answer).encode())
