"""Pipelines with cancels in them, against `peerwake serve` and a scripted agent; the agent's transcript has the books.

The other files of calls that are pipelined or cancelled look into a front over a service in memory.
"""

import json
import random
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass

import anyio
import pytest
from anyio.abc import TaskGroup

from mcp_server.serve.credentials import Credentials, load_credentials
from tests.contract.bad_input import HTTP, private_world
from tests.live.alice import bodies
from tests.live.world import World
from tests.protocol.messages import HANDSHAKE, MODERN, Message, cancelled, encoded, send
from tests.protocol.pipes import HttpConnection, HttpPipe, Pipe, Reached, pipe
from transport.identity import Identity
from transport.paths import Root

pytestmark = pytest.mark.live

LIMITS = {"PEERWAKE_SENDS_PER_MINUTE": "1000000", "PEERWAKE_QUEUE_CAP": "1000000"}
BOB = Identity("scripted", "bob")
CASES = [*((kind, HANDSHAKE) for kind in ("bridge", "lines", "http", "sse")), ("lines", MODERN), ("http", MODERN)]
BY_LINE = [("bridge", HANDSHAKE), ("lines", HANDSHAKE)]
"""Where a line that was read whole is a message, whatever comes behind it."""
MANY = 30
ENDLESS = [{"match": "^work", "sleep_forever": True}]


@dataclass(frozen=True)
class Serving:
    """A server process, as the pipes of this directory reach it."""

    world: World

    @property
    def root(self) -> Root:
        return self.world.root

    @property
    def credentials(self) -> Credentials:
        return load_credentials(self.root.secret)

    @property
    def socket(self) -> str:
        return str(self.root.server_socket)

    @property
    def http(self) -> str:
        return str(json.loads(self.root.discovery.read_text())["http"])


class OneByOne(HttpPipe):
    """Streamable HTTP with its requests pipelined on one connection, and its notifications on another."""

    def __init__(self, run: Reached, group: TaskGroup, token: str) -> None:
        super().__init__(run, group, False, token)
        self._requests: HttpConnection | None = None
        self._notifications: HttpConnection | None = None

    async def begin(self) -> "OneByOne":
        await self.open(HANDSHAKE)
        self._requests, self._notifications = await self.connect(), await self.connect()
        self.connections += [self._requests, self._notifications]
        for connection in (self._requests, self._notifications):
            self._group.start_soon(self._read_all, connection)
        return self

    async def tell(self, *messages: Message | bytes) -> None:
        if self._requests is None or self._notifications is None:
            await super().tell(*messages)
            return
        for message in messages:
            data = encoded(message)
            connection = self._requests if b'"id"' in data else self._notifications
            await connection.stream.send(connection.post("/mcp", data, self.headers))

    async def _read_all(self, connection: HttpConnection) -> None:
        try:
            while True:
                body = (await connection.response())[2].decode()
                events = [line[5:] for line in body.splitlines() if line.startswith("data:") and line[5:].strip()]
                for text in events or ([body] if body else []):
                    self._messages.put_nowait(json.loads(text))
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return


class SideBySide(HttpPipe):
    """Streamable HTTP without a session: each call is a connection of its own, and is cancelled by closing that."""

    def __init__(self, run: Reached, group: TaskGroup, token: str) -> None:
        super().__init__(run, group, False, token)
        self._calls: dict[object, HttpConnection] = {}

    async def begin(self) -> "SideBySide":
        await self.open(MODERN)
        return self

    async def tell(self, *messages: Message | bytes) -> None:
        for message in messages:
            told = json.loads(encoded(message))
            if told["method"] == "notifications/cancelled":
                await anyio.aclose_forcefully(self._calls[told["params"]["requestId"]].stream)
            else:
                await super().tell(message)
                self._calls[told["id"]] = self.connections[-1]


@asynccontextmanager
async def client_of(kind: str, era: str, world: World) -> AsyncIterator[Pipe]:
    """Connect as bob; leaving the block closes the connection, whatever is on its way."""
    run = Serving(world)
    if kind != "http":
        async with pipe(kind, run, era, BOB) as client:
            yield client
        return
    async with anyio.create_task_group() as group:
        shape = OneByOne if era == HANDSHAKE else SideBySide
        client = await shape(run, group, run.credentials.credential_for(BOB)).begin()
        try:
            yield client
        finally:
            group.cancel_scope.cancel()
            await client.leave()
            await client.end()


def peer(kind: str, era: str, what: str) -> str:
    """Return the name of a recipient of one transport and era."""
    return f"{kind}-{'old' if era == HANDSHAKE else 'new'}-{what}"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A server, bob who sends, and recipients for each transport and era: one that takes all, one at work."""
    with private_world(**HTTP, **LIMITS) as world:
        world.create("bob")
        for kind, era in CASES:
            world.create(peer(kind, era, "idle"))
            world.create(peer(kind, era, "busy"), rules=ENDLESS)
        world.serve()
        yield world
        assert "Traceback" not in world.log("server")
        assert "ev=failed" not in world.log("lifecycle")


def accepted(world: World, name: str) -> list[tuple[str, str]]:
    """Return body and state of every message to a peer, in the order of acceptance."""
    query = "SELECT body, state FROM messages JOIN bodies USING (seq) WHERE recipient = ? ORDER BY seq"
    with closing(sqlite3.connect(f"file:{world.root.spool}?mode=ro", uri=True, timeout=10)) as db:
        return [(body, state) for body, state in db.execute(query, (f"scripted-{name}",))]


async def seen(question: Callable[[], object]) -> None:
    with anyio.fail_after(60):
        while not question():  # noqa: ASYNC110
            await anyio.sleep(0.005)


async def balanced(world: World, name: str, tag: str) -> list[int]:
    """Wait until all is settled; the agent took each accepted message once, in the order of acceptance.

    Returns the numbers of `tag`.
    """
    await seen(lambda: accepted(world, name) and {state for _, state in accepted(world, name)} == {"consumed"})
    taken = bodies(world, name)
    assert taken == [body for body, _ in accepted(world, name)]
    assert len(taken) == len(set(taken))
    return [int(body.removeprefix(tag)) for body in taken if body.startswith(tag)]


def in_the_order_of_their_lines(kind: str, era: str, numbers: list[int]) -> bool:
    """Tell whether messages were accepted in the order in which they were sent; side by side they have none."""
    return numbers == sorted(numbers) or (kind, era) == ("http", MODERN)


def pipeline(chance: random.Random, era: str, tag: str, name: str, unwanted: list[int]) -> list[Message]:
    """Return sends, some of which wait, and somewhere behind each unwanted one its cancel."""
    waits = {n: chance.choice((0, 0, 5)) for n in range(MANY)}
    lines = [(float(n), send(n, f"{tag}{n}", era, to=name, wait_seconds=waits[n])) for n in range(MANY)]
    cancels = [(n + chance.choice((0.5, 0.5, chance.uniform(0.5, MANY / 2))), cancelled(n)) for n in unwanted]
    return [message for _, message in sorted(lines + cancels, key=lambda line: line[0])]


async def told_in_pieces(chance: random.Random, world: World, name: str, client: Pipe, lines: list[Message]) -> None:
    """Send lines in pieces, the next one when the agent has taken some number of prompts."""
    taken = len(bodies(world, name))
    while lines:
        size = chance.randint(1, 12)
        piece, lines = lines[:size], lines[size:]
        await client.tell(*piece)
        taken += chance.randint(0, sum("id" in line for line in piece)) // 2
        wanted = min(taken, len(accepted(world, name)))
        await seen(lambda least=wanted: len(bodies(world, name)) >= least)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("kind", "era"), CASES)
async def test_each_accepted_message_is_taken_once_and_in_the_order_of_its_line(
    world: World, kind: str, era: str, seed: int
) -> None:
    name, tag, chance = peer(kind, era, "idle"), f"{seed}/", random.Random(f"{kind} {era} {seed}")
    unwanted = chance.sample(range(MANY), MANY // 3)
    wanted = set(range(MANY)) - set(unwanted)
    answers: list[Message] = []
    async with client_of(kind, era, world) as client:
        await told_in_pieces(chance, world, name, client, pipeline(chance, era, tag, name, unwanted))
        await client.tell(send("last", f"{tag}{MANY}", era, to=name, wait_seconds=60))
        while {"last", *wanted} - {answer["id"] for answer in answers}:
            answers.append(await client.answer())
    taken = await balanced(world, name, tag)
    assert {*taken} >= {*wanted, MANY}
    assert in_the_order_of_their_lines(kind, era, taken)
    if (kind, era) in BY_LINE:
        assert len(taken) == MANY + 1, "what was read whole is accepted, though it is cancelled"
    ids = [answer["id"] for answer in answers]
    assert len(ids) == len(set(ids))
    told = {answer["result"]["structuredContent"]["message_id"] for answer in answers if "result" in answer}
    prompts = world.prompts(name)
    assert all(sum(f'id="{message_id}"' in prompt for prompt in prompts) == 1 for message_id in told)


@pytest.mark.parametrize(("kind", "era"), CASES)
async def test_a_cancel_while_the_message_is_handed_over(world: World, kind: str, era: str) -> None:
    name, tag = peer(kind, era, "idle"), "handed/"
    async with client_of(kind, era, world) as client:
        for number in range(10):
            await client.tell(send(number, f"{tag}{number}", era, to=name, wait_seconds=30))
            await seen(lambda body=f"{tag}{number}": dict(accepted(world, name)).get(body, "queued") != "queued")
            await client.tell(cancelled(number))
        await client.tell(send("last", f"{tag}10", era, to=name, wait_seconds=60))
        while (await client.answer())["id"] != "last":
            pass
    assert await balanced(world, name, tag) == list(range(11))


@pytest.mark.parametrize(("kind", "era"), CASES)
async def test_a_cancel_while_the_agent_is_busy(world: World, kind: str, era: str) -> None:
    """The first message stands in the client's own queue then, the others in the spool."""
    name, tag = peer(kind, era, "busy"), "busy/"
    async with client_of(kind, era, world) as client:
        await client.tell(send("work", "work", era, to=name, wait_seconds=60))
        assert (await client.answer())["result"]["structuredContent"]["status"] == "delivered"
        # On one HTTP connection a call begins when the one before it was answered.
        waits = [0, 0, 0, 0, 60] if (kind, era) == ("http", HANDSHAKE) else [60] * 5
        await client.tell(*(send(n, f"{tag}{n}", era, to=name, wait_seconds=wait) for n, wait in enumerate(waits)))
        await seen(lambda: len(accepted(world, name)) == 6)
        await seen(lambda: any(record["type"] == "queued" for record in world.transcript(name)))
        await client.tell(*(cancelled(n) for n in range(5)))
        await client.tell(send("last", f"{tag}5", era, to=name))
        while (answer := await client.answer())["id"] != "last":
            pass
        assert answer["result"]["structuredContent"]["status"] == "queued"
        assert bodies(world, name) == ["work"]
        assert world.run("interrupt", name).returncode == 0
        taken = await balanced(world, name, tag)
        assert sorted(taken) == list(range(6))
        assert in_the_order_of_their_lines(kind, era, taken)


@pytest.mark.parametrize(("kind", "era"), CASES)
async def test_a_client_that_closes_in_the_middle(world: World, kind: str, era: str) -> None:
    name, tag, chance = peer(kind, era, "idle"), "closed/", random.Random(f"closed {kind} {era}")
    unwanted = chance.sample(range(MANY), MANY // 3)
    lines = pipeline(chance, era, tag, name, unwanted)[: chance.randint(MANY // 2, MANY)]
    before = len(bodies(world, name))
    async with client_of(kind, era, world) as client:
        await told_in_pieces(chance, world, name, client, lines)
        await seen(lambda: len(bodies(world, name)) > before)
    async with client_of("lines", HANDSHAKE, world) as other:
        await other.tell(send("marker", "marker", to=name, wait_seconds=60))
        assert (await other.answer())["result"]["structuredContent"]["status"] == "delivered"
    taken = await balanced(world, name, tag)
    assert taken
    assert {*taken} <= {line["id"] for line in lines if "id" in line}
    assert in_the_order_of_their_lines(kind, era, taken)
    if (kind, era) in BY_LINE:
        assert taken == list(range(len(taken)))
