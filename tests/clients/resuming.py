"""What the tests of resuming do and ask: end a session as the reap does, see which turns the model reads together."""

import re
from pathlib import Path
from typing import Final

import pytest

from lifecycle.limits import Limits
from lifecycle.runtimes.table import load_table
from lifecycle.session import Session, Sessions
from lifecycle.states import End
from lifecycle.terminals import Terminals
from lifecycle.topics import normal
from tests.clients.client import Client, eventually
from tests.clients.product import Product
from tests.model_wire import Conversation, Role
from transport.bulkhead import Bulkhead
from transport.clock import SystemClock
from transport.identity import Identity
from transport.logs import Logs
from transport.vocabulary import ScreenState

NAME: Final = "alice"
BOTH: Final = pytest.mark.parametrize("runtime", ["claude", "codex"])
OPENING: Final = re.compile(r'<peer-message-\S+ id="(m_[^"]+)"')
FIELD: Final = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)')


async def say(product: Product, body: str, topic: str | None = None, *, name: str = NAME) -> str:
    """Send a message, wait until it is taken and answered and its topic is noted, and return its id.

    The server writes the session's record then, and `reap` is another process: only one at a time may.
    """
    sent = await product.send(name, body, "--wait", "60", *(("--topic", topic) if topic else ()))
    assert sent["status"] == "delivered", f"{sent}\n{product.log('lifecycle')}\n{product.log('delivery')}"
    client = await product.client(name)
    await client.until(ScreenState.READY)
    await client.pane.aclose()  # who looks at a session keeps it from being idle

    async def is_noted() -> bool | None:
        return normal(topic or "") in map(normal, product.session(name).topics) or None

    assert topic is None or await eventually(is_noted, 10), product.log("lifecycle")
    return str(sent["message_id"])


async def reap(product: Product, end: End = End.IDLE, *, name: str = NAME) -> Session:
    """End a session deliberately, as the supervisor does, and return the record that it leaves."""
    session = product.session(name)
    sessions, clock = Sessions(product.root), SystemClock()
    logs = Logs(product.root.logs, clock)
    table = load_table(product.root.runtimes)
    terminals = Terminals(product.root, clock, Limits(), table, sessions, logs, Bulkhead(logs.lifecycle))
    await terminals.close(session, end)
    await terminals.aclose()
    return last(product, session.identity)


def last(product: Product, identity: Identity) -> Session:
    """Return the record of the session that an identity had, or has."""
    found = Sessions(product.root).last(identity)
    assert found is not None
    return found


def conversation_of(client: Client) -> str | None:
    """Return the reference of the conversation that a client is in now."""
    return client.reader.refer(client.facts)


async def read_together(product: Product, message_id: str) -> list[str]:
    """Return the ids of the messages that the model read in the request which brought this one, oldest first."""

    async def look() -> list[str] | None:
        for each in product.model.conversations():
            ids = messages_of(each)
            if message_id in ids:
                return ids
        return None

    found = await eventually(look, 20)
    assert found is not None, f"no request of the model holds {message_id}"
    return found


def messages_of(conversation: Conversation) -> list[str]:
    texts = (event.text for event in conversation.events if event.role is Role.USER)
    return [found for text in texts for found in OPENING.findall(text)]


def logged(product: Product, event: str) -> list[dict[str, str]]:
    """Return the fields of the lines of lifecycle.log about one event, oldest first."""
    lines = [dict(FIELD.findall(line)) for line in product.log("lifecycle").splitlines()]
    return [{name: value.strip('"') for name, value in line.items()} for line in lines if line.get("ev") == event]


def transcript(client: Client) -> Path:
    """Return the file of the conversation that a client is in now."""
    found = client.reader.locate(client.facts)
    assert found is not None
    return found


def crashes(product: Product) -> list[Path]:
    """Return the files that count deaths."""
    return sorted(product.root.state.glob("*.deaths"))
