"""Wakes that are to resume and cannot, or whose client comes up without our tools; with the scripted agent in tmux."""

import pytest

from lifecycle.renewal import Renewal, Renewals
from lifecycle.requests import CrashLooping
from lifecycle.runtimes.base import CannotResume
from lifecycle.states import End, Mode
from lifecycle.wake import WakeFailed
from tests.lifecycle.workshop import Workshop, workshop
from transport.identity import Identity
from transport.paths import Root

pytestmark = pytest.mark.live

ALICE = Identity("scripted", "alice")

REFUSING = """
resume_argv = ["/bin/sh", "-c", "echo 'LOCKED: This conversation is open'; exec sleep 60"]
refusals = ["^LOCKED: "]
"""


def runtime_file(root: Root, text: str) -> None:
    root.runtimes.mkdir(exist_ok=True)
    (root.runtimes / "scripted.toml").write_text(text)


async def reaped(shop: Workshop) -> None:
    """Let alice take a message about the release, then close her session as the idle reap does."""
    assert (await shop.send(body="one", topic="release")).status == "delivered"
    await shop.deck.terminals.close(shop.record(ALICE), End.IDLE)


async def test_a_client_that_refuses_to_resume_is_closed_and_started_fresh(root: Root) -> None:
    runtime_file(root, REFUSING)
    async with workshop(root) as shop, shop.supervised():
        shop.peer()
        await reaped(shop)
        assert (await shop.send(body="two", topic="release")).status == "delivered"
        assert shop.record(ALICE).mode is Mode.FRESH
        (line,) = [line for line in shop.log().splitlines() if "ev=resume-failed" in line]
        assert "LOCKED: This conversation is open" in line
        assert not root.flag(ALICE, "deaths").exists()


async def test_who_asked_for_a_resume_that_is_refused_is_told_and_the_conversation_stays(root: Root) -> None:
    runtime_file(root, REFUSING)
    async with workshop(root) as shop, shop.supervised():
        shop.peer()
        await reaped(shop)
        before = shop.deck.sessions.last(ALICE)
        with pytest.raises(CannotResume, match="LOCKED: This conversation is open"):
            await shop.deck.waker.wake(ALICE, asked=Mode.RESUME)
        after = shop.deck.sessions.last(ALICE)
        assert before is not None and after is not None
        assert (after.session_ref, after.topics, after.is_alive()) == (before.session_ref, before.topics, False)
        assert shop.deck.sessions.identities() == []
        assert not root.flag(ALICE, "deaths").exists()


async def test_a_client_that_refuses_every_fresh_start_is_a_crash_loop_and_its_seed_is_kept(root: Root) -> None:
    runtime_file(root, REFUSING.replace("resume_argv", "argv"))
    async with workshop(root) as shop, shop.supervised():
        shop.peer()
        Renewals(root).set(ALICE, Renewal(None, "go on"))
        for _ in range(shop.deck.limits.crash_count):
            with pytest.raises(WakeFailed, match="LOCKED: This conversation is open"):
                await shop.deck.waker.wake(ALICE)
        with pytest.raises(CrashLooping):
            await shop.deck.waker.wake(ALICE)
        assert Renewals(root).load(ALICE) == Renewal(None, "go on")


async def test_an_empty_transcript_is_no_conversation(root: Root) -> None:
    async with workshop(root) as shop, shop.supervised():
        shop.peer()
        await reaped(shop)
        last = shop.deck.sessions.last(ALICE)
        assert last is not None
        (root.peers / f"alice/.peerwake/runtimes/scripted/{last.session_ref}.jsonl").write_bytes(b"")
        with pytest.raises(CannotResume, match="is empty"):
            await shop.deck.waker.wake(ALICE, asked=Mode.RESUME)


async def test_a_client_that_never_asks_for_our_tools_gets_its_message_all_the_same(root: Root) -> None:
    runtime_file(root, 'mcp_files = [".mcp.json"]')
    async with workshop(root) as shop, shop.supervised():
        shop.peer()
        (root.peers / "alice/.mcp.json").write_text('{"mcpServers": {"peerwake": {}}}')
        assert (await shop.send(body="one")).status == "delivered"
        assert shop.log().count("ev=no-tools") == 1
        await shop.deck.terminals.close(shop.record(ALICE), End.IDLE)
        assert (await shop.send(body="two")).status == "delivered"
        assert shop.log().count("ev=no-tools") == 1
