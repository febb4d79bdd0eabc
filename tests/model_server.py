"""A scripted model on loopback: Anthropic Messages and OpenAI Responses, answered by rules.

    rules = [Rule("send it", Call("send_to_peer", {"personality": "bob", "message": "hi"}), Say("sent")),
             Rule("slowly", Say("one two three", seconds=5)),
             Rule("break", Fail(529, times=2), Say("recovered"))]
    with ModelServer(rules) as server:
        run_a_client(base_url=server.url)
        assert server.count("send it") == 1

A rule is chosen by the last user text that any rule matches; its steps answer one after the other, one
per tool result that came back since. Whatever no rule matches is answered `ok`. By hand:
`python tests/model_server.py --port 0 --rule 'slowly=say:5:one two three' --rule 'date=call:Bash:{"command":"date"}'`.
"""

import argparse
import json
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.model_wire import (
    Conversation,
    Role,
    Use,
    anthropic_message,
    anthropic_stream,
    openai_stream,
    read_anthropic,
    read_openai,
)

SEARCH_TOOLS = ("ToolSearch", "tool_search")


@dataclass(frozen=True, slots=True)
class Say:
    """Stream `text` word by word over `seconds`, after `silence` seconds of nothing.

    With `until` the last word comes when that event is set.
    """

    text: str = "ok"
    seconds: float = 0.0
    silence: float = 0.0
    until: threading.Event | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """Call the tool `name` (the client's prefix is found in its tool list), saying `text` first."""

    name: str
    arguments: dict[str, Any]
    text: str = ""


@dataclass(frozen=True, slots=True)
class Fail:
    """Answer with an HTTP error `times` times, then go on with the next step."""

    status: int = 529
    times: int = 1


Step = Say | Call | Fail


class Rule:
    """What to answer, step by step, when `pattern` (a regular expression) is in the user's text."""

    def __init__(self, pattern: str, *steps: Step) -> None:
        self.pattern = re.compile(pattern, re.DOTALL)
        self.failures = [step for step in steps for _ in range(step.times if isinstance(step, Fail) else 0)]
        self.steps = [step for step in steps if not isinstance(step, Fail)]


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came in; `conversation` is None for anything but a model call."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    conversation: Conversation | None
    at: float = field(default_factory=time.monotonic)


class ModelServer:
    """The server, on a port of its own while the `with` block lasts; `url` has no trailing slash."""

    def __init__(self, rules: Sequence[Rule] = (), port: int = 0) -> None:
        self.rules = list(rules)
        self.seen: list[Seen] = []
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._failed: dict[Rule, int] = {}
        self._http = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._http.daemon_threads = True
        self._http.block_on_close = False
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> "ModelServer":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def record(self, seen: Seen) -> None:
        with self._lock:
            self.seen.append(seen)

    def conversations(self) -> list[Conversation]:
        """Return the conversations of all model calls that offered tools, oldest first."""
        with self._lock:
            return [seen.conversation for seen in self.seen if seen.conversation and seen.conversation.tools]

    def count(self, pattern: str) -> int:
        """Return how often `pattern` stands in the user texts of the longest conversation seen."""
        return max((sum(bool(re.search(pattern, event.text)) for event in conversation.events
                        if event.role is Role.USER) for conversation in self.conversations()), default=0)  # fmt: skip

    def next_step(self, conversation: Conversation) -> Step:
        """Choose the answer to a conversation; a failing step is used up by being chosen."""
        if not conversation.tools:
            return Say()
        results = 0
        for event in reversed(conversation.events):
            if event.role is Role.RESULT:
                results += 1
            elif event.role is Role.CALL and event.text in SEARCH_TOOLS:
                results -= 1
            elif event.role is Role.USER and (rule := self._rule_for(event.text)):
                return self._fail(rule) or (rule.steps[results] if results < len(rule.steps) else Say())
        return Say()

    def _rule_for(self, text: str) -> Rule | None:
        return next((rule for rule in self.rules if rule.pattern.search(text)), None)

    def _fail(self, rule: Rule) -> Fail | None:
        with self._lock:
            used = self._failed.get(rule, 0)
            if used >= len(rule.failures):
                return None
            self._failed[rule] = used + 1
            return rule.failures[used]

    def pieces(self, say: Say) -> Iterator[str]:
        """Yield the words of an answer at the pace it asks for, or at once when the server stops."""
        self.stopping.wait(say.silence)
        words = re.findall(r"\S+\s*|\s+", say.text)
        for number, word in enumerate(words, 1):
            while say.until and number == len(words) and not say.until.wait(0.05) and not self.stopping.is_set():
                pass
            yield word
            self.stopping.wait(say.seconds / len(words))


def use_of(call: Call, conversation: Conversation) -> Use | None:
    """Return the tool call in the client's own names, or the search that brings a deferred tool."""
    if tool := conversation.find_tool(call.name):
        return Use(tool, call.arguments)
    searched = any(event.role is Role.CALL and event.text in SEARCH_TOOLS for event in conversation.events)
    if searched:
        return None
    if search := conversation.find_tool("ToolSearch"):
        return Use(search, {"query": f"select:mcp__peerwake__{call.name}", "max_results": 5})
    if search := conversation.find_tool("tool_search"):
        return Use(search, {"query": call.name.replace("_", " "), "limit": 8})
    return None


def _handler(server: ModelServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Stay silent: the requests are recorded."""

        def do_HEAD(self) -> None:
            self._record({}, None)
            self._json(200, {})

        def do_GET(self) -> None:
            self._record({}, None)
            self._json(200, {"data": [], "object": "list", "models": [], "has_more": False})

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                body = json.loads(raw or b"{}")
            except ValueError:
                body = {}
            path = self.path.partition("?")[0]
            if path.endswith("/count_tokens"):
                self._record(body, None)
                self._json(200, {"input_tokens": 10})
            elif path.endswith("/messages"):
                self._model(body, read_anthropic(body), openai=False)
            elif path.endswith("/responses"):
                self._model(body, read_openai(body), openai=True)
            else:
                self._record(body, None)
                self._json(200, {})

        def _model(self, body: dict[str, Any], conversation: Conversation, *, openai: bool) -> None:
            self._record(body, conversation)
            step = server.next_step(conversation)
            if isinstance(step, Fail):
                error = {"type": "overloaded_error", "message": "scripted failure"}
                self._json(step.status, {"type": "error", "error": error})
                return
            say, use = (step, None) if isinstance(step, Say) else (Say(step.text), use_of(step, conversation))
            if isinstance(step, Call) and use is None:
                say = Say(f"there is no tool {step.name}")
            pieces = server.pieces(say)
            if not body.get("stream"):
                self._json(200, anthropic_message(conversation.model, say.text, use))
                return
            write = openai_stream if openai else anthropic_stream
            self._stream(write(conversation.model, pieces, use))

        def _record(self, body: dict[str, Any], conversation: Conversation | None) -> None:
            server.record(Seen(self.command, self.path, dict(self.headers), body, conversation))

        def _json(self, status: int, document: dict[str, Any]) -> None:
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def _stream(self, events: Iterable[bytes]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            try:
                for event in events:
                    self.wfile.write(event)
                    self.wfile.flush()
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

    return Handler


def parse_rule(text: str) -> Rule:
    """Read `PATTERN=say:SECONDS:TEXT`, `PATTERN=call:TOOL:JSON` or `PATTERN=fail:STATUS:TIMES`."""
    pattern, _, answer = text.partition("=")
    kind, first, rest = answer.split(":", 2)
    match kind:
        case "say":
            return Rule(pattern, Say(rest, seconds=float(first)))
        case "call":
            return Rule(pattern, Call(first, json.loads(rest)))
        case "fail":
            return Rule(pattern, Fail(int(first), int(rest)))
    raise argparse.ArgumentTypeError(f"{text!r} is none of PATTERN=say:…, PATTERN=call:…, PATTERN=fail:…")


def main() -> int:
    """Serve until interrupted, printing the URL first and then one line per request."""
    parser = argparse.ArgumentParser(description="A scripted model on loopback.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--rule", type=parse_rule, action="append", default=[])
    parser.add_argument("--log", type=Path, help="append every request as a JSON line")
    options = parser.parse_args()
    with ModelServer(options.rule, options.port) as server:
        print(server.url, flush=True)
        shown = 0
        try:
            while not server.stopping.wait(0.2):
                for seen in server.seen[shown:]:
                    shown += 1
                    print(f"{seen.method} {seen.path}", flush=True)
                    if options.log:
                        with options.log.open("a") as file:
                            file.write(
                                json.dumps({"path": seen.path, "headers": seen.headers, "body": seen.body}) + "\n"
                            )
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
