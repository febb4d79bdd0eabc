"""Credentials guessed by the hundred over TCP: each refused alike, others are served meanwhile, the log stays small."""

import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from string import ascii_letters, digits

import pytest

from mcp_server.serve.library_logs import BURST
from tests.contract.bad_input import HTTP, credential, private_world, stored
from tests.contract.wires import ACCEPT, tcp, wire
from tests.live.world import World, until
from tests.protocol.cuts import footprint, nothing_left
from tests.protocol.messages import MODERN, encoded, send

pytestmark = pytest.mark.live

GUESSERS, GUESSES = 6, 100
ALPHABET = ascii_letters + digits + "-_"
CALL = encoded(send(1, "guessed", MODERN, to="alice"))
ROUTING = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "send_to_peer"}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with private_world(**HTTP) as world:
        for name in ("alice", "bob"):
            world.create(name)
        world.serve()
        yield world


def guess(chance: random.Random, good: str) -> str:
    """Return something like bob's credential, another peer's or the operator's: never a good one."""
    version, name, digest = good.split(".")
    at = chance.randrange(len(digest) - 1)
    other = chance.choice(ALPHABET.replace(digest[at], ""))
    return chance.choice(
        [
            f"{version}.{name}.{digest[:at]}{other}{digest[at + 1 :]}",
            f"{version}.{name}.{digest[:at]}",
            f"{version}.{chance.choice(['operator', 'scripted-alice', 'scripted-nobody'])}.{digest}",
            f"{version}.{name}.{''.join(chance.choices(ALPHABET, k=43))}",
            "".join(chance.choices(ALPHABET, k=chance.randint(1, 300))),
        ]
    )


def guessing(world: World, seed: int, answers: list[tuple[int, str]]) -> None:
    """Guess on a few connections, one after the other, each of which is used again after a refusal."""
    chance, good = random.Random(seed), credential(world, "scripted-bob")
    for _ in range(4):
        with closing(tcp(world)) as connection:
            for _ in range(GUESSES // 4):
                headers = ACCEPT | ROUTING | {"Authorization": f"Bearer {guess(chance, good)}"}
                connection.request("POST", "/mcp", CALL, headers)
                with connection.getresponse() as answer:
                    answers.append((answer.status, answer.read().decode()))


def log_bytes(world: World) -> int:
    return sum(path.stat().st_size for path in world.root.logs.rglob("*") if path.is_file())


def test_a_burst_of_guesses_is_refused_alike_and_keeps_nobody_from_being_served(world: World) -> None:
    pid = world.server_pid()
    assert pid is not None
    answers: list[tuple[int, str]] = []
    served: Counter[str] = Counter()
    with wire("http", world, credential(world, "scripted-bob")) as http, wire("lines", world, "") as lines:
        assert http.call("list_peers", {})["result"]["isError"] is False
        held, before = footprint(pid), log_bytes(world)
        threads = [threading.Thread(target=guessing, args=(world, seed, answers)) for seed in range(GUESSERS)]
        for thread in threads:
            thread.start()
        until(lambda: answers, what="the first refusal")
        while any(thread.is_alive() for thread in threads):
            for name, one in (("http", http), ("lines", lines)):
                assert one.call("list_peers", {})["result"]["isError"] is False
                served[name] += len(answers) < GUESSERS * GUESSES
        for thread in threads:
            thread.join()
    assert len(answers) == GUESSERS * GUESSES
    assert {status for status, _ in answers} == {401}
    (refusal,) = {text for _, text in answers}
    assert json.loads(refusal)["error"]["data"] == {"code": "bad-credential"}
    assert min(served["http"], served["lines"]) > 0, "nobody else asked while they were guessing"
    assert stored(world) == []
    assert log_bytes(world) - before < 200 * (BURST + 5)
    nothing_left(pid, held)
