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
    more = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Host": "localhost"} | headers
    more["Accept"] = "application/json, text/event-stream"
    if headers.get("MCP-Protocol-Version") == MODERN:
        name = message["params"].get("name")
        more |= {"Mcp-Method": message["method"]} | ({"Mcp-Name": name} if name else {})
    more |= {"Transfer-Encoding": "chunked"} if is_chunked else {"Content-Length": str(len(content))}
    head = "".join([f"POST {path} HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in more.items()), "\r\n"])
    if is_chunked:
        parts = [content[at : at + 7] for at in range(0, len(content), 7)]
        content = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in [*parts, b""])
    return head.encode() + content


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


def ends(seed: int, count: int) -> list[End]:
    """Return `count` ways to leave, the same for the same seed."""
    chance = random.Random(seed)
    return [chance.choice(list(End)) for _ in range(count)]
