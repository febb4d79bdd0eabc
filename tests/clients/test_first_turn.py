"""The first message of a session finds our tools: the client had the time to connect to them."""

import pytest

from lifecycle.states import Mode
from tests.clients.client import eventually
from tests.clients.product import Product
from tests.clients.resuming import BOTH, NAME, logged, messages_of, reap, say
from tests.model_server import Call, Rule, Say
from tests.model_wire import Conversation, Role

pytestmark = [pytest.mark.clients, pytest.mark.live]

RULES = (Rule("what waits", Call("queue_status", {}), Say("nothing")),)
WAKES = 3


async def asked(product: Product, message_id: str) -> bool:
    """Tell whether the answer to a message came with a result of our tool."""

    async def look() -> bool | None:
        for each in product.model.conversations():
            at = [number for number, event in enumerate(each.events) if message_id in event.text]
            if at and any(event.role is Role.RESULT and '"queues"' in event.text for event in each.events[at[-1] :]):
                return True
        return None

    return bool(await eventually(look, 20))


def first_request(product: Product, message_id: str) -> Conversation:
    return next(each for each in product.model.conversations() if message_id in messages_of(each))


@BOTH
@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_the_first_message_can_be_answered_at_once(runtime: str, transport: str) -> None:
    async with Product(RULES) as product:
        await product.serve()
        await product.create(NAME, runtime, "--transport", transport)
        for number in range(WAKES):
            message_id = await say(product, f"what waits, {number}", "release" if number else None)
            if runtime == "claude":
                assert first_request(product, message_id).find_tool("send_to_peer")
            assert await asked(product, message_id)
            await reap(product)
        assert [line["mode"] for line in logged(product, "wake")] == [Mode.FRESH, Mode.FRESH, Mode.RESUME]
        assert not logged(product, "no-tools")
