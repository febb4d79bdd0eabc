"""One place builds the objects: what they share, and what a damaged root says."""

import os
from collections.abc import AsyncIterator

import pytest

from lifecycle.requests import SendRequest
from lifecycle.states import SendStatus
from mcp_server.settings import Settings
from mcp_server.wiring import Wired, wired
from tests.clock import FakeClock
from transport.identity import OPERATOR, Identity
from transport.message import check_draft
from transport.paths import Root
from transport.profile import make_profile
from transport.spool.faults import SpoolCorrupt

ALICE = Identity("scripted", "alice")


@pytest.fixture
async def parts(root: Root) -> AsyncIterator[Wired]:
    async with wired(root, Settings(), operator={"PATH": os.environ["PATH"]}, clock=FakeClock()) as built:
        known = {"runtimes": ("scripted",), "default_runtime": "scripted", "cwd": root.peers / "alice"}
        whose = {"host": "here", "tenant_id": "me", "created_at": "2026-11-20T00:00:00+00:00"}
        built.application.registry.add(make_profile(name="alice", **known, **whose))
        yield built


async def test_all_parts_share_one_state(parts: Wired) -> None:
    app, deck = parts.application, parts.supervisor.deck
    assert app.dispatcher.spool is deck.spool is app.fleet.spool
    assert app.dispatcher.board is deck.board is app.fleet.board
    assert app.verbs.flags is deck.flags is app.fleet.flags
    assert app.verbs.waker is deck.waker
    assert app.verbs.sessions is deck.sessions is deck.waker.sessions is deck.terminals.sessions
    assert deck.waker.deaths is deck.deaths


async def test_without_a_supervisor_a_send_is_spooled_and_says_so(parts: Wired) -> None:
    result = await parts.application.send(OPERATOR, SendRequest("alice", check_draft("hello")))
    assert (result.status, result.reason) == (SendStatus.QUEUED, "no-supervisor")
    assert parts.application.role == "standby"
    assert await parts.application.queue("alice") != ()


async def test_a_broken_runtime_file_is_logged_and_costs_nothing_else(root: Root) -> None:
    root.runtimes.mkdir()
    (root.runtimes / "broken.toml").write_text("name = 3\n")
    async with wired(root, Settings(), operator={}) as built:
        assert "scripted" in built.table.runtimes
    assert "ev=runtime-invalid" in (root.logs / "lifecycle.log").read_text()


async def test_a_damaged_spool_is_left_as_it_is(root: Root) -> None:
    root.spool.write_bytes(b"this is no database" * 100)
    with pytest.raises(SpoolCorrupt):
        async with wired(root, Settings(), operator={}):
            pass
    assert root.spool.read_bytes().startswith(b"this is no database")


async def test_everything_is_closed_at_the_end(root: Root) -> None:
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        async with wired(root, Settings(), operator={}):
            pass
    assert len(os.listdir("/dev/fd")) <= before
