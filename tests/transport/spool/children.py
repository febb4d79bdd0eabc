"""Processes that use the spool beside the tests; each line they print is JSON."""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from tests.transport.spool.support import BOB, LIMITS, letter
from transport.errors import PeerwakeError
from transport.identity import Identity
from transport.spool.spool import Spool
from transport.spool.store import SpoolStore
from transport.spool.turnstile import Turnstile
from transport.vocabulary import Stage


def say(value: object) -> None:
    os.write(1, (json.dumps(value) + "\n").encode())


def enqueue(path: str) -> None:
    """Accept messages for ever, printing each id right after the answer."""
    store = SpoolStore(Path(path))
    while True:
        say(store.enqueue(letter("x" * 2000), **LIMITS).message.id)


def enqueue_some(path: str, name: str, count: str) -> None:
    """Accept some messages in order; print the longest wait in seconds."""
    store, longest = SpoolStore(Path(path)), 0.0
    say("ready")
    sys.stdin.readline()
    for number in range(int(count)):
        began = time.perf_counter()
        store.enqueue(letter(str(number), sender=Identity("claude", name)), **LIMITS)
        longest = max(longest, time.perf_counter() - began)
    store.close()
    say(longest)


def enqueue_together(path: str) -> None:
    """Accept messages of 16 tasks for ever, printing each id right after the answer."""

    async def write(spool: Spool) -> None:
        while True:
            say((await spool.enqueue(letter("x" * 500), **LIMITS)).message.id)

    async def main() -> None:
        async with Spool(Path(path)) as spool, asyncio.TaskGroup() as tasks:
            for _ in range(16):
                tasks.create_task(write(spool))

    asyncio.run(main())


def deliver(path: str) -> None:
    """Accept, lease, hand over and settle for ever, printing each step right after the answer."""
    store, number = SpoolStore(Path(path)), 0
    while True:
        number += 1
        message = store.enqueue(letter("x" * 500), **LIMITS).message
        say([message.id, "queued"])
        lease = store.lease(BOB, "fence", message.accepted_at)
        assert lease is not None
        say([lease.message.id, "leased"])
        store.stage(lease.message.id, Stage.PASTING, message.accepted_at)
        if number % 3:
            store.consume(lease.message.id, "transcript", message.accepted_at)
            say([lease.message.id, "consumed"])
        else:
            store.bury(lease.message.id, "poison", message.accepted_at)
            say([lease.message.id, "dead"])


def look(path: str) -> None:
    """Open the spool, say how many queues wait, and close it."""
    with SpoolStore(Path(path)) as store:
        say(["waiting", len(store.waiting())])


def hold(path: str) -> None:
    """Hold the lock of writers until a line comes."""
    turnstile = Turnstile(Path(path))
    with turnstile.held(5):
        say("held")
        sys.stdin.readline()
    say("left")
    sys.stdin.readline()


def count(path: str, rounds: str) -> None:
    """Add to a number in a file under the lock, a step that would lose additions without it."""
    turnstile, file = Turnstile(Path(path)), Path(path + ".number")
    for _ in range(int(rounds)):
        with turnstile.held(30):
            file.write_text(str(int(file.read_text()) + 1))
    say("done")


def fill_disk(path: str) -> None:
    """Fill the file system of `path`, then spool, then free space and spool again."""
    store = SpoolStore(Path(path))
    say(store.enqueue(letter("before"), **LIMITS).message.id)
    ballast = Path(path).parent / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    stored = 0
    while stored < 10_000:
        try:
            store.enqueue(letter("y" * 3000), **LIMITS)
        except PeerwakeError as error:
            say([error.code, str(error)])
            break
        stored += 1
    say([stored, store.depth(BOB)])
    ballast.unlink()
    store.enqueue(letter("after"), **LIMITS)
    say([store.depth(BOB), store.read(lambda db: db.execute("PRAGMA quick_check").fetchone()[0])])
    store.close()


def report(path: str) -> None:
    """Accept one message per line that comes; print `ok` or the code of the error, and the depth."""
    store = SpoolStore(Path(path))
    say("ready")
    for _ in sys.stdin:
        try:
            store.enqueue(letter("z" * 100), **LIMITS)
        except PeerwakeError as error:
            say(error.code)
        else:
            say("ok")


def lease_all(path: str, fence: str) -> None:
    """Lease and consume everything that waits for Bob; print the ids in order."""
    store, taken = SpoolStore(Path(path)), []
    say("ready")
    sys.stdin.readline()
    while store.depth(BOB):
        lease = store.lease(BOB, fence, time.time())
        if lease is not None:
            store.consume(lease.message.id, "transcript", time.time(), fence=fence)
            taken.append(lease.message.id)
    say(taken)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
