"""The tools over every transport, in both protocol eras."""

from collections.abc import AsyncIterator

import pytest

from tests.mcp_server.fronts import Running, connected, running
from transport.paths import Root

KINDS = ("http", "unix-http", "sse", "lines", "bridge")
ERAS = ("auto", "legacy")


@pytest.fixture
async def run(root: Root) -> AsyncIterator[Running]:
    async with running(root) as found:
        yield found


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", KINDS)
async def test_send_is_accepted_for_the_credentials_peer(run: Running, kind: str, era: str) -> None:
    async with connected(kind, run, era) as client:
        assert (client.protocol_version == "2026-07-28") == (era == "auto")
        result = await client.call_tool("send_to_peer", {"personality": "bob", "message": "build it"})
    assert not result.is_error
    assert result.structured_content is not None
    assert result.structured_content["status"] == "queued"
    (message,) = run.service.accepted("bob")
    assert message.body == "build it"
    assert str(message.sender) == "claude-alice"
    assert result.structured_content["message_id"] == message.id
