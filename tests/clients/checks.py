"""What the end-to-end tests wait for and check, on the sessions of a `Product`."""

import re
from collections.abc import Sequence

from tests.clients.client import Client, eventually
from tests.clients.product import Product
from tests.clients.test_boot import trusted
from tests.model_server import Call
from tests.model_wire import Role
from transport.envelope import Envelope, parse
from transport.vocabulary import Receipt, ScreenState


def to(name: str, message: str) -> Call:
    return Call("send_to_peer", {"personality": name, "message": message})


async def held(product: Product, client: Client) -> str:
    """Return the id of a message that Claude holds in its own queue while it is busy."""

    async def look() -> str | None:
        taken = product.taken(client)
        return next((each for each, _ in reversed(product.records(client)) if each not in taken), None)

    found = await eventually(look, 40)
    assert found, f"{await client.reading()}\n{product.log('delivery')}"
    assert client.evidence(found) == [Receipt.INJECTED]
    assert (await client.reading()).state is ScreenState.BUSY
    return found


async def took(product: Product, client: Client, number: int) -> str:
    """Return the id of the `number`-th message that a client takes."""

    async def look() -> str | None:
        taken = product.taken(client)
        return taken[number - 1] if len(taken) >= number else None

    found = await eventually(look, 40)
    assert found, f"{await client.reading()}\n{product.log('delivery')}\n{product.log('lifecycle')}"
    return found


async def all_is_quiet(product: Product, *clients: Client, events: Sequence[str] = ("wake", "boot")) -> None:
    """Nothing waits, nothing stands in a composer, no process was replaced, no dialog answered that was not known."""
    await product.emptied(*(client.facts.cwd.name for client in clients))
    for client in clients:
        reading = await client.until(ScreenState.READY, seconds=30)
        assert reading.input_text == ""
        session = product.session(client.facts.cwd.name)
        assert (session.tmux, session.pane) == (client.started.tmux, client.started.pane)
        assert client.started.pane.is_alive()
        log = [line for line in product.log("lifecycle").splitlines() if f"identity={session.identity}" in line]
        assert [event(line) for line in log] == list(events)
        assert re.search(r"end=ready .*dialogs=trust$", log[1]), log[1]
        assert str(client.facts.cwd) in trusted(product, client.runtime.name)
    assert product.log("exits") == ""


def event(line: str) -> str:
    return line.partition(" ev=")[2].partition(" ")[0]


async def reads_each_once(product: Product, message_ids: Sequence[str]) -> None:
    """The model reads each message, and none a second time."""

    async def last() -> bool | None:
        return product.model.count(message_ids[-1]) > 0 or None

    assert await eventually(last, 20)
    assert [product.model.count(message_id) for message_id in message_ids] == [1] * len(message_ids)


async def envelope(product: Product, message_id: str) -> Envelope:
    """Return a message as the models read it, the same each time; Claude marks a long one as pasted."""
    pattern = re.compile(
        rf'\s*(?:<pasted_content [^>]*>\s*)?(<peer-message-(\S+) id="{message_id}".*\n</peer-message-\2>)', re.S
    )

    async def look() -> set[str] | None:
        events = [event for conversation in product.model.conversations() for event in conversation.events]
        found = [pattern.match(event.text) for event in events if event.role is Role.USER]
        return {each[1] for each in found if each} or None

    texts = await eventually(look, 20)
    assert texts is not None
    assert len(texts) == 1, texts
    return parse(texts.pop())
