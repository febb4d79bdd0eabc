"""What an MCP caller was told is on disk: seen in the order of the system calls, and after a SIGKILL."""

import json
import random
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bench.callers import Caller
from tests.transport.spool.support import TOP, check_counts
from tests.transport.spool.test_store import CAN_TRACE
from transport.paths import Root
from transport.spool.store import SpoolStore

CALLERS = 16
ROUNDS = 6
TRACE = ("strace", "-f", "-qq", "-s", "8192", "-e", "trace=pwrite64,fdatasync,fsync,sendto")
CALL = re.compile(r"^(\d+) +(?:<\.\.\. )?(\w+)(?: resumed>|\()")


@contextmanager
def server(home: Path, *prefix: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a server that accepts and delivers nothing; killed at the end if it still runs."""
    argv = [*prefix, sys.executable, "-m", "tests.mcp_server.serve.accepting_server", str(home)]
    with subprocess.Popen(argv, cwd=TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@dataclass
class Seen:
    """One line of a trace: which call, whether it began or ended there, and its text."""

    thread: str
    name: str
    begins: bool
    ends: bool
    text: str


def seen(trace: str) -> list[Seen]:
    found = []
    for line in trace.splitlines():
        if match := CALL.match(line):
            is_resumed, is_unfinished = "resumed>" in line[:60], line.endswith("<unfinished ...>")
            found.append(Seen(match[1], match[2], not is_resumed, not is_unfinished, line))
    return found


@dataclass
class Disk:
    """What a power cut at one moment would leave, as far as the trace tells."""

    written: set[str] = field(default_factory=set)
    syncing: dict[str, set[str]] = field(default_factory=dict)
    safe: set[str] = field(default_factory=set)

    def follow(self, one: Seen) -> None:
        if one.name == "pwrite64":
            self.written |= set(re.findall(r"body-\d+-", one.text))
        elif one.name in ("fdatasync", "fsync"):
            if one.begins:
                self.syncing[one.thread] = set(self.written)
            if one.ends:
                self.safe |= self.syncing.pop(one.thread)


@pytest.mark.skipif(not CAN_TRACE, reason="needs strace")
def test_each_of_many_answers_comes_after_the_fsync_of_its_message(root: Root, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with server(root.home, *TRACE, "-o", str(trace)) as (process, path), ExitStack() as stack:
        callers = [stack.enter_context(Caller(path, None)) for _ in range(CALLERS)]
        for turn in range(ROUNDS):
            for place, caller in enumerate(callers):
                number = 1000 + turn * CALLERS + place
                arguments = {"personality": f"peer{place}", "message": f"body-{number}-"}
                caller.prepare("send_to_peer", arguments, number)
                caller.ask()
            for caller in callers:
                assert b'"isError":false' in caller.answer()
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)
    disk, answered = Disk(), []
    for one in seen(trace.read_text()):
        if one.name == "sendto" and one.begins and (number := re.search(r'\\"id\\":(1\d\d\d),', one.text)):
            assert f"body-{number[1]}-" in disk.safe, one.text[:300]
            answered.append(number[1])
        disk.follow(one)
    assert len(set(answered)) == CALLERS * ROUNDS


def hammer(caller: Caller, place: int, answered: list[str]) -> None:
    """Call again and again until the server is gone."""
    caller.prepare("send_to_peer", {"personality": f"peer{place}", "message": f"from {place}"}, 1)
    while True:
        try:
            caller.ask()
            line = caller.answer()
        except OSError:
            return
        if not line.endswith(b"\n"):
            return
        structure: dict[str, Any] = json.loads(line)["result"]["structuredContent"]
        answered.append(structure["message_id"])


def test_a_killed_server_has_on_disk_what_it_answered_once_and_in_order(root: Root) -> None:
    chance = random.Random(5)
    answered: list[list[str]] = [[] for _ in range(CALLERS)]
    for _ in range(4):
        with server(root.home) as (process, path), ExitStack() as stack:
            callers = [stack.enter_context(Caller(path, None)) for _ in range(CALLERS)]
            threads = [threading.Thread(target=hammer, args=(callers[n], n, answered[n])) for n in range(CALLERS)]
            for thread in threads:
                thread.start()
            threads[0].join(chance.uniform(0.05, 0.3))
            process.kill()
            for thread in threads:
                thread.join(20)
        # The next server registers its peers anew; the spool is what the killed one left.
        shutil.rmtree(root.peers)
        root.registry.unlink()
        root.prepare()
    with SpoolStore(root.spool) as store:
        check_counts(store)
        rows = store.read(lambda db: db.execute("SELECT id, recipient FROM messages ORDER BY seq").fetchall())
    for place, mine in enumerate(answered):
        kept = [name for name, recipient in rows if recipient == f"scripted-peer{place}"]
        assert len(mine) > 0
        assert [name for name in kept if name in set(mine)] == mine
        assert len(kept) - len(mine) <= 4, "more than the one call in flight at each kill"
