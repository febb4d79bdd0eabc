"""HTTP: what the guard refuses, on TCP and on the unix socket."""

import json
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest

from mcp_server.serve.options import ServeOptions
from tests.mcp_server.fronts import ALICE, BOB, Running, running
from transport.identity import Identity
from transport.paths import Root

LIMIT = 64 * 1024
OPTIONS = ServeOptions(port=0, message_bytes=LIMIT, header_seconds=0.5, body_seconds=0.5, stop_seconds=1.0)
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


@pytest.fixture
async def run(root: Root) -> AsyncIterator[Running]:
    async with running(root, options=OPTIONS) as found:
        yield found


async def post(run: Running, path: str = "/mcp", *, content: bytes | None = None, **headers: str) -> httpx2.Response:
    body = json.dumps(PING).encode() if content is None else content
    async with httpx2.AsyncClient() as client:
        return await client.post(f"{run.http}{path}", content=body, headers=ACCEPT | headers)


def problem(response: httpx2.Response) -> dict[str, Any]:
    return dict(response.json()["error"])


async def test_without_a_credential_401(run: Running) -> None:
    response = await post(run)
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert problem(response)["data"]["code"] == "bad-credential"


@pytest.mark.parametrize("value", ["Bearer nonsense", "Bearer pw1.claude-alice.AAAA", "Basic abc", "Bearer", "x"])
async def test_a_bad_credential_401(run: Running, value: str) -> None:
    assert (await post(run, Authorization=value)).status_code == 401


async def test_a_removed_peers_credential_403(run: Running) -> None:
    response = await post(run, **run.bearer(Identity("claude", "gone")))
    assert response.status_code == 403
    assert problem(response)["data"]["code"] == "not-allowed"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "localhost.evil.example", "127.0.0.1.evil.example"]
)
async def test_a_foreign_host_421(run: Running, host: str) -> None:
    response = await post(run, Host=host, **run.bearer())
    assert response.status_code == 421


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "https://localhost.evil.example", "null", "file://", "http://evil.example:8765"]
)
async def test_a_foreign_origin_403(run: Running, origin: str) -> None:
    response = await post(run, Origin=origin, **run.bearer())
    assert response.status_code == 403
    assert problem(response)["data"]["code"] == "bad-origin"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]:80", "[::1]"])
async def test_loopback_names_pass(run: Running, host: str) -> None:
    response = await post(run, Host=host, Origin="http://localhost:5173", **run.bearer())
    assert response.status_code != 421
    assert response.status_code != 403
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("host", ["mybox.example", "MyBox.Example:8765", "MYBOX.EXAMPLE"])
async def test_a_name_with_capitals_passes_in_any_case(root: Root, host: str) -> None:
    async with running(root, options=replace(OPTIONS, allowed_hosts=frozenset({"MyBox.Example"}))) as run:
        response = await post(run, Host=host, Origin=f"https://{host}", **run.bearer())
        assert response.status_code not in (403, 421)


async def test_no_server_header_and_no_date(run: Running) -> None:
    response = await post(run)
    assert "server" not in response.headers


@pytest.mark.parametrize("path", ["/mcp", "/messages?session_id=00000000000000000000000000000000"])
@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe", b"[" * 20_000, b"nope"])
async def test_malformed_json_400(run: Running, path: str, content: bytes) -> None:
    response = await post(run, path, content=content, **run.bearer())
    assert response.status_code == 400
    assert problem(response)["code"] == -32700
    assert "pydantic" not in response.text


@pytest.mark.parametrize("path", ["/mcp", "/messages?session_id=00000000000000000000000000000000"])
@pytest.mark.parametrize(
    "value", [[PING], 1, None, {}, {"jsonrpc": "2.0"}, PING | {"id": 1.5}, PING | {"params": 3}, PING | {"method": 4}]
)
async def test_json_that_is_no_message_400(run: Running, path: str, value: object) -> None:
    response = await post(run, path, content=json.dumps(value).encode(), **run.bearer())
    assert response.status_code == 400
    assert problem(response)["code"] == -32600
    assert "pydantic" not in response.text


@pytest.mark.parametrize("path", ["/mcp", "/messages"])
async def test_a_body_over_the_limit_413(run: Running, path: str) -> None:
    response = await post(run, path, content=b'"' + b"x" * LIMIT + b'"', **run.bearer())
    assert response.status_code == 413


@pytest.mark.parametrize("path", ["/mcp", "/messages"])
async def test_a_chunked_body_over_the_limit_413(run: Running, path: str) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(LIMIT // 1024 + 2):
            yield b"x" * 1024

    async with httpx2.AsyncClient() as client:
        response = await client.post(f"{run.http}{path}", content=chunks(), headers=ACCEPT | run.bearer())
    assert response.status_code == 413


async def test_an_unknown_path_404_before_anything_is_said_of_credentials(run: Running) -> None:
    assert (await post(run, "/")).status_code == 404
    assert (await post(run, "/.well-known/oauth-protected-resource")).status_code == 404


async def test_sse_takes_get_only(run: Running) -> None:
    assert (await post(run, "/sse", **run.bearer())).status_code == 405


def raw(run: Running, *sent: bytes) -> bytes:
    """Send bytes, each after an answer to those before, and read until the server closes."""
    host, _, port = run.http.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        received = b""
        for number, one in enumerate(sent):
            if number:
                received += connection.recv(65536)
            connection.sendall(one)
        while chunk := connection.recv(65536):
            received += chunk
        return received


async def test_slow_headers_are_cut_off(run: Running) -> None:
    received = await anyio.to_thread.run_sync(raw, run, b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n")
    assert received == b""


async def test_slow_headers_of_a_second_request_are_cut_off(run: Running) -> None:
    first = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"
    received = await anyio.to_thread.run_sync(raw, run, first, b"GET /mcp HTT")
    assert received.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    ("start", "host", "status"), [("/mcp", "localhost", 401), ("/", "localhost", 404), ("/mcp", "evil.example", 421)]
)
async def test_a_body_that_goes_on_after_its_refusal_is_cut_off(
    run: Running, start: str, host: str, status: int
) -> None:
    """Without a byte the connection would end by itself; the first one must not make it last for ever."""
    head = f"POST {start} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000000\r\n\r\n"
    received = await anyio.to_thread.run_sync(raw, run, head.encode(), b"x")
    assert received.startswith(f"HTTP/1.1 {status} ".encode())


async def test_a_refused_body_that_comes_after_its_answer_leaves_the_connection_to_the_next_request(
    run: Running,
) -> None:
    head = b"POST /%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n"
    received = await anyio.to_thread.run_sync(raw, run, head % b"mcp", b"{}" + head % b"nowhere" + b"{}")
    assert received.count(b"HTTP/1.1 401") == received.count(b"HTTP/1.1 404") == 1


async def test_a_slow_body_408(run: Running) -> None:
    token = run.bearer()["Authorization"]
    head = f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\nContent-Length: 100\r\n\r\n{{"
    received = await anyio.to_thread.run_sync(raw, run, head.encode())
    assert received.startswith(b"HTTP/1.1 408")


async def test_bytes_that_are_no_http_400(run: Running) -> None:
    received = await anyio.to_thread.run_sync(raw, run, b"\x16\x03\x01\x02\x00\x01garbage\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 400")


@pytest.fixture
def unix(run: Running) -> Iterator[httpx2.AsyncClient]:
    yield httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(uds=run.socket), headers=ACCEPT)


async def test_on_the_unix_socket_the_kernel_is_the_credential(run: Running, unix: httpx2.AsyncClient) -> None:
    call = {"personality": "bob", "message": "hi"}
    request = envelope("tools/call", {"name": "send_to_peer", "arguments": call})
    headers = modern("tools/call", "send_to_peer")
    async with unix:
        with run.service.this_process_is(ALICE):
            response = await unix.post("http://localhost/mcp", json=request, headers=headers)
            assert response.status_code == 200, response.text
            refused = await unix.post("http://localhost/mcp", json=request, headers=headers | run.bearer(BOB))
            assert refused.status_code == 403
    assert [str(one.sender) for one in run.service.accepted("bob")] == ["claude-alice"]


async def test_on_the_unix_socket_a_forged_credential_401(run: Running, unix: httpx2.AsyncClient) -> None:
    async with unix:
        headers = {"Authorization": "Bearer pw1.operator.AAAA"}
        assert (await unix.post("http://localhost/mcp", json=PING, headers=headers)).status_code == 401
        assert (await unix.post("http://evil.example/mcp", json=PING)).status_code == 421


async def test_a_legacy_session_belongs_to_the_credential_that_opened_it(run: Running) -> None:
    opening = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }
    async with httpx2.AsyncClient(headers=ACCEPT) as client:
        opened = await client.post(f"{run.http}/mcp", json=opening, headers=run.bearer(ALICE))
        session = {"Mcp-Session-Id": opened.headers["mcp-session-id"]}
        own = await client.post(f"{run.http}/mcp", json=PING, headers=run.bearer(ALICE) | session)
        other = await client.post(f"{run.http}/mcp", json=PING, headers=run.bearer(BOB) | session)
    assert (own.status_code, other.status_code) == (200, 404)


def envelope(method: str, params: dict[str, Any]) -> dict[str, Any]:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
    }
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params | {"_meta": meta}}


def modern(method: str, name: str) -> dict[str, str]:
    return {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method, "Mcp-Name": name}
