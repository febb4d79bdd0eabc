"""The checks every HTTP request passes before anything looks at it: Host, Origin, caller, body."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, Final

import anyio
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp_types import INVALID_REQUEST, PARSE_ERROR

from lifecycle.requests import NotAllowed
from mcp_server.serve.callers import Caller, Callers, Claim, SocketPeer
from mcp_server.serve.credentials import BadCredential
from mcp_server.serve.inflight import InFlight
from mcp_server.serve.options import ServeOptions
from mcp_server.tools.server import CALLER
from transport.errors import PeerwakeError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SOCKET_PEER: Final = "peerwake.peer"
BEARER: Final = "bearer "
FORGOTTEN_TIMES: Final = 16
SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
NOT_UNICODE: Final = "it has text that is not valid Unicode, such as half of a surrogate pair"


class HttpRefusal(Exception):
    """A request that goes no further: HTTP status, JSON-RPC code, text, stable code, the request's id if known."""

    def __init__(self, status: int, rpc_code: int, text: str, code: str, answers: str | int | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.rpc_code = rpc_code
        self.text = text
        self.code = code
        self.answers = answers


class Guard:
    """The ASGI application of all listeners: checks, then the app of the path."""

    def __init__(self, routes: Mapping[str, App], callers: Callers, options: ServeOptions, in_flight: InFlight) -> None:
        self._routes = routes
        self._callers = callers
        self._options = options
        self._in_flight = in_flight
        self.is_stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            await self._serve(scope, receive, send)
        except HttpRefusal as refusal:
            await _refuse(refusal, send)
        except asyncio.CancelledError:
            # Outermost frame of the request's task: a stop cancels it, and nobody is left to tell.
            if not self.is_stopping:
                raise

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope["headers"])
        _check_framing(headers, scope["http_version"])
        self._check_host(headers)
        app = self._routes.get(scope["path"].rstrip("/"))
        if app is None:
            raise HttpRefusal(404, INVALID_REQUEST, f"there is nothing at {scope['path']!r:.80}", "not-found")
        caller = await self._caller(scope, headers)
        scope[CALLER] = caller
        scope["user"] = AuthenticatedUser(AccessToken(token="", client_id=str(caller.sender), scopes=[]))
        if scope["method"] != "POST":
            await app(scope, receive, send)
            return
        with self._in_flight.one():
            body = await self._body(headers, receive)
            check_message(body)
            await app(scope, _replay(body, receive), send)

    def _check_host(self, headers: "Headers") -> None:
        host = headers.get("host")
        if host is None or _host_name(host) not in self._options.host_names:
            raise HttpRefusal(421, INVALID_REQUEST, "the Host header does not name this server", "bad-host")
        for origin in headers.all("origin"):
            scheme, _, rest = origin.partition("://")
            if scheme not in ("http", "https") or _host_name(rest) not in self._options.host_names:
                raise HttpRefusal(403, INVALID_REQUEST, "requests from other origins are refused", "bad-origin")

    async def _caller(self, scope: Scope, headers: "Headers") -> Caller:
        given = headers.get("authorization")
        credential = given[len(BEARER) :].strip() if given and given.lower().startswith(BEARER) else given
        peer = scope["state"].get(SOCKET_PEER)
        try:
            if isinstance(peer, SocketPeer):
                return await self._callers.on_socket(peer, Claim(credential))
            return self._callers.on_tcp(credential)
        except BadCredential as error:
            raise HttpRefusal(401, INVALID_REQUEST, str(error), error.code) from error
        except NotAllowed as error:
            raise HttpRefusal(403, INVALID_REQUEST, str(error), error.code) from error
        except PeerwakeError as error:
            raise HttpRefusal(503, INVALID_REQUEST, str(error), error.code) from error

    async def _body(self, headers: "Headers", receive: Receive) -> bytes:
        """Return the body; one that is too long is read to its end and forgotten, lest its sender miss the answer."""
        limit = self._options.message_bytes
        too_large = HttpRefusal(413, INVALID_REQUEST, f"a body may have up to {limit:,} bytes", "body-too-large")
        declared = headers.get("content-length")
        if declared is not None and declared.isdigit() and int(declared) > FORGOTTEN_TIMES * limit:
            raise too_large
        body, size = bytearray(), 0
        with anyio.move_on_after(self._options.body_seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise HttpRefusal(400, INVALID_REQUEST, "the body ended before its end", "body-cut-off")
                size += len(message.get("body", b""))
                if size > FORGOTTEN_TIMES * limit:
                    raise too_large
                if size > limit:
                    body.clear()
                else:
                    body += message.get("body", b"")
                if not message.get("more_body", False):
                    if size > limit:
                        raise too_large
                    return bytes(body)
        raise HttpRefusal(
            408, INVALID_REQUEST, f"the body took longer than {self._options.body_seconds:g} s", "body-too-slow"
        )


class Headers:
    """The headers of one request; ASGI has their names in lower case."""

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._raw = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]

    def get(self, name: str) -> str | None:
        return next((value for key, value in self._raw if key == name), None)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self._raw if key == name]


def _check_framing(headers: Headers, version: str) -> None:
    """Refuse what a proxy in front may read in another way than we do: where a request ends, and whose it is."""
    is_chunked = bool(headers.all("transfer-encoding"))
    if is_chunked and (headers.all("content-length") or version != "1.1"):
        text = "a request has either a Content-Length or, in HTTP/1.1, a Transfer-Encoding"
        raise HttpRefusal(400, INVALID_REQUEST, text, "bad-framing")
    if len(headers.all("authorization")) > 1:
        raise HttpRefusal(400, INVALID_REQUEST, "send one Authorization header", "bad-framing")


def check_message(body: bytes) -> None:
    """Raise HttpRefusal (400) unless the body is one JSON-RPC message."""
    try:
        message = json_of(body)
    except (ValueError, RecursionError):
        raise HttpRefusal(400, PARSE_ERROR, "Parse error: the body is not JSON", "bad-json") from None
    problem = message_problem(message) or (NOT_UNICODE if SURROGATE.search(body) and not _is_unicode(message) else None)
    if problem:
        raise HttpRefusal(400, INVALID_REQUEST, f"Invalid request: {problem}", "bad-message", request_id(message))


def json_of(data: bytes) -> object:
    """Return the JSON value in UTF-8 bytes; a byte order mark or another encoding is no JSON. Raises ValueError."""
    return json.loads(data.decode())


def _is_unicode(message: object) -> bool:
    """Return whether no text in a JSON value has half of a surrogate pair, which the SDK cannot read."""
    try:
        json.dumps(message, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def request_id(message: object) -> str | int | None:
    """Return the id of what may be a request, None when it has none that an answer could carry."""
    found = message.get("id") if isinstance(message, dict) else None
    return found if isinstance(found, str | int) and not isinstance(found, bool) else None


def message_problem(message: object) -> str | None:
    """Return what keeps a JSON value from being one JSON-RPC message, None if nothing does."""
    if isinstance(message, list):
        return "batches are not supported; send one message at a time"
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        return 'send one JSON-RPC object with "jsonrpc": "2.0"'
    if isinstance(message.get("id"), bool | float | list | dict):
        return "the id must be a string or a whole number"
    if "method" in message:
        if not isinstance(message["method"], str):
            return "the method must be a string"
        if not isinstance(message.get("params", {}), dict):
            return "params must be an object"
        return None if message.get("id", "") is not None else "the id of a request must not be null"
    return None if "result" in message or "error" in message else "it has neither a method nor a result nor an error"


def _host_name(host: str) -> str:
    name = host.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.rpartition(":")[0] if name.count(":") == 1 else name


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body that was read, and then what comes from the client."""
    is_given = False

    async def replay() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _refuse(refusal: HttpRefusal, send: Send) -> None:
    error = {"code": refusal.rpc_code, "message": refusal.text, "data": {"code": refusal.code}}
    body = json.dumps({"jsonrpc": "2.0", "id": refusal.answers, "error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refusal.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="peerwake"'))
    if refusal.status in (408, 413) or refusal.code == "bad-framing":
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
