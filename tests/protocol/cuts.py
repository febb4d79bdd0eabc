"""Recorded conversations of one client, cut anywhere: the bytes, and the ways in which a client vanishes."""

import json
import os
import random
import socket
import sqlite3
import struct
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import assert_never

from tests.live.world import World, until
from tests.protocol.messages import INITIALIZE, INITIALIZED, MODERN, Message, encoded, send

SENDS = 3
SECONDS = 20
RSS_SLACK_KIB = 48 << 10
MOST_THREADS = 64


class End(StrEnum):
    """How a client leaves."""

    CLOSE = "close"
    RESET = "reset"
    HALF = "half-closed"


def vanish(connection: socket.socket, end: End) -> bytes:
    """Leave in one way; returns what the server still said to who has only stopped talking.

    Raises TimeoutError when the server does not close its side then.
    """
    said = b""
    with connection:
        match end:
            case End.CLOSE:
                pass
            case End.RESET:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            case End.HALF:
                with suppress(ConnectionError):
                    half_close(connection)
                    while chunk := connection.recv(1 << 16):
                        said += chunk
    return said


def half_close(connection: socket.socket) -> None:
    """Say nothing more; raises ConnectionError when the other end has gone already."""
    try:
        connection.shutdown(socket.SHUT_WR)
    except OSError as error:
        raise ConnectionError(error.errno, "it has gone already") from error


def opened(address: str | tuple[str, int]) -> socket.socket:
    """Connect to a unix socket or to a TCP address."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    connection = socket.socket(family)
    # Blocking: of a unix socket that has enough to accept, a connection with a timeout is refused at once.
    connection.connect(address)
    connection.settimeout(SECONDS)
    return connection


def tcp_address(world: World) -> tuple[str, int]:
    host, port = json.loads(world.root.discovery.read_text())["http"].removeprefix("http://").split(":")
    return host, int(port)


def body(tag: str, number: int) -> str:
    return f"{tag} {number} ü"


def line_conversation(tag: str, token: str) -> list[bytes]:
    """Return the lines of a client that introduces itself and sends three messages."""
    hello = {"peerwake": 1, "role": "mcp", "credential": token}
    sends = [send(n, body(tag, n), to="alice") for n in range(SENDS)]
    return [encoded(message) + b"\n" for message in (hello, INITIALIZE, INITIALIZED, *sends)]


def stdio_conversation(tag: str) -> list[bytes]:
    return line_conversation(tag, "")[1:]


def http_request(
    token: str, message: Message, headers: dict[str, str], path: str = "/mcp", is_chunked: bool = False
) -> bytes:
    """Return the request that posts a message, in chunks of seven bytes where that is asked for."""
    content = encoded(message)
    more = {"Content-Type": "application/json"} | headers
    if headers.get("MCP-Protocol-Version") == MODERN:
        name = message["params"].get("name")
        more |= {"Mcp-Method": message["method"]} | ({"Mcp-Name": name} if name else {})
    more |= {"Transfer-Encoding": "chunked"} if is_chunked else {"Content-Length": str(len(content))}
    if is_chunked:
        parts = [content[at : at + 7] for at in range(0, len(content), 7)]
        content = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in [*parts, b""])
    return http_head("POST", path, token, more) + content


def http_head(method: str, path: str, token: str, headers: dict[str, str]) -> bytes:
    """Return a request up to its body; all of it, where it has none."""
    more = {"Authorization": f"Bearer {token}", "Host": "localhost"} | headers
    more["Accept"] = "application/json, text/event-stream"
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in more.items())]
    return "\r\n".join([*lines, "", ""]).encode()


class Step(StrEnum):
    """A request of a session over HTTP that carries no message."""

    INITIALIZE = "initialize"
    INITIALIZED = "initialized"
    STREAM = "GET /mcp"
    SSE = "GET /sse"
    DELETE = "DELETE /mcp"


def step_request(step: Step, token: str, session: dict[str, str]) -> bytes:
    """Return the request of a step; `session` are the headers of the session that it is about."""
    match step:
        case Step.INITIALIZE:
            return http_request(token, INITIALIZE, {})
        case Step.INITIALIZED:
            return http_request(token, INITIALIZED, session)
        case Step.STREAM | Step.DELETE:
            return http_head(step.split()[0], "/mcp", token, session)
        case Step.SSE:
            return http_head("GET", "/sse", token, {})
        case _:
            assert_never(step)


def control_conversation(tag: str, token: str) -> list[bytes]:
    """Return the lines of a client of the role control that looks around and sends three messages."""
    hello = {"peerwake": 1, "role": "control", "credential": token}
    sends = [{"id": n, "verb": "send", "args": control_args(body(tag, n))} for n in range(SENDS)]
    around = [{"id": "p", "verb": "ping"}, {"id": "l", "verb": "list", "args": {"limit": 2}}]
    return [encoded(message) + b"\n" for message in (hello, *around, *sends, {"id": "q", "verb": "queue"})]


def control_args(text: str, to: str = "alice", wait_seconds: float = 0) -> dict[str, object]:
    return {"personality": to, "message": text, "wait_seconds": wait_seconds}


def accepted(world: World) -> Counter[str]:
    """Return how often each text is in the spool, whatever became of it, in the order of acceptance."""
    with closing(sqlite3.connect(f"file:{world.root.spool}?mode=ro", uri=True, timeout=10)) as db:
        return Counter(row[0] for row in db.execute("SELECT body FROM messages JOIN bodies USING (seq) ORDER BY seq"))


def whole_lines(lines: list[bytes], cut: int) -> int:
    """Return how many of the lines are complete in the first `cut` bytes; the last one needs no LF."""
    count = 0
    for line in lines:
        if cut < len(line) - 1:
            break
        cut -= len(line)
        count += 1
    return count


@dataclass(frozen=True)
class Footprint:
    """What a server process holds: open files, threads (idle ones end after ten seconds), resident memory in KiB."""

    files: int
    threads: int
    memory: int

    def is_within(self, before: "Footprint") -> bool:
        is_more = self.files > before.files or self.threads > MOST_THREADS
        return not is_more and self.memory <= before.memory + RSS_SLACK_KIB


def footprint(pid: int) -> Footprint:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in status)
    files = len(os.listdir(f"/proc/{pid}/fd"))
    return Footprint(files, int(fields["Threads"]), int(fields["VmRSS"].split()[0]))


def nothing_left(pid: int, before: Footprint) -> None:
    """Wait until a server holds no more than before."""
    try:
        until(lambda: footprint(pid).is_within(before), 20)
    except AssertionError as error:
        held = sorted(str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir())
        raise AssertionError(f"{footprint(pid)} is more than {before}; open are {held}") from error


def some_cuts(seed: str, size: int, count: int = 24) -> list[tuple[int, End]]:
    """Return some places of a request of `size` bytes where it ends early, the last possible one among them."""
    chance = random.Random(seed)
    places = sorted({*chance.sample(range(size), min(count, size)), size - 1})
    return [(place, chance.choice(list(End))) for place in places]


def ends(seed: int, count: int) -> list[End]:
    """Return `count` ways to leave, the same for the same seed."""
    chance = random.Random(seed)
    return [chance.choice(list(End)) for _ in range(count)]
