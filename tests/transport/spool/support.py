"""Messages to spool, and writers in processes of their own."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from transport.identity import Identity
from transport.message import Draft, Message, accept
from transport.spool.store import SpoolStore

TOP = Path(__file__).parents[3]
ALICE = Identity("claude", "alice")
BOB = Identity("codex", "bob")
CAROL = Identity("claude", "carol")
NOW = 1_800_000_000.0
LIMITS: dict[str, int] = {"cap": 1_000_000, "hop_limit": 20}


def letter(
    body: str = "hello", *, to: Identity = BOB, sender: Identity = ALICE, at: float = NOW, **changes: Any
) -> Message:
    """Return a message that nobody has accepted yet."""
    return replace(accept(Draft(body), sender, to, hops=0, now=at), **changes)


def fill(store: SpoolStore, count: int, **changes: Any) -> list[Message]:
    """Accept `count` messages and return them in order."""
    return [store.enqueue(letter(f"message {number}", **changes), **LIMITS).message for number in range(count)]


def listed(*messages: Message) -> list[Message]:
    """Return messages as they stand in a list: without their bodies."""
    return [replace(message, body="") for message in messages]


@contextmanager
def child(what: str, path: Path, *arguments: str, prefix: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    """Run one of the functions of `children.py` in a process of its own; killed at the end if it still runs."""
    argv = [*prefix, sys.executable, "-m", "tests.transport.spool.children", what, str(path), *arguments]
    environment = os.environ | {"PYTHONPATH": str(TOP)}
    with subprocess.Popen(
        argv, cwd=TOP, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> Any:
    """Return the next line of a child, which is JSON."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"the child ended with {process.wait()}"
    return json.loads(line)


def rest(process: subprocess.Popen[str]) -> list[Any]:
    """Return all further whole lines of a child that ends."""
    assert process.stdout is not None
    text = process.stdout.read()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def until(condition: Any, seconds: float = 60.0) -> None:
    """Wait until `condition()` holds; fail after a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def check_counts(store: SpoolStore) -> None:
    """Assert that the file is sound and its counters say what its rows say."""
    store.read(_check_counts)


def _check_counts(db: sqlite3.Connection) -> None:
    assert db.execute("PRAGMA quick_check").fetchone() == ("ok",)
    counted = db.execute(
        "SELECT recipient, sum(state IN ('queued', 'leased')), sum(state = 'dead') FROM messages GROUP BY recipient"
    ).fetchall()
    kept = {name: (depth, dead) for name, depth, dead in db.execute("SELECT recipient, depth, dead FROM queues")}
    assert {name: counts for name, counts in kept.items() if counts != (0, 0)} == {
        name: (depth, dead) for name, depth, dead in counted if (depth, dead) != (0, 0)
    }
    assert (
        db.execute("SELECT count(*) FROM messages JOIN bodies USING (seq)").fetchone()
        == db.execute("SELECT count(*) FROM messages").fetchone()
    )
    assert (
        db.execute("SELECT count(*) FROM bodies").fetchone() == db.execute("SELECT count(*) FROM messages").fetchone()
    )
    assert db.execute("SELECT count(*) FROM events WHERE seq NOT IN (SELECT seq FROM messages)").fetchone() == (0,)
