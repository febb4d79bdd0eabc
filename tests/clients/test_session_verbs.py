"""Interrupt, compact, new and self new with the real clients: nothing is lost, nothing is taken twice."""

import json
import sys
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests.clients.checks import held
from tests.clients.client import Client, eventually
from tests.clients.harness import TOP
from tests.clients.product import Product
from tests.model_server import Call, Rule, Say
from transport.process import Finished
from transport.vocabulary import Receipt, ScreenState

pytestmark = [pytest.mark.clients, pytest.mark.live]

BOTH = pytest.mark.parametrize("runtime", ["claude", "codex"])
BEGUN = {"claude": "●", "codex": "one two three"}
LONG = "one two three four five six seven eight nine ten"
SELF_NEW = f"PYTHONPATH={TOP} {sys.executable} -m mcp_server self new 'what was left'"


def rules(done: Event) -> tuple[Rule, ...]:
    return (
        Rule("think about it", Say("too late", silence=600)),
        Rule("speak slowly", Say(LONG, until=done)),
        Rule("create a detailed summary of", Say("<summary>a summary of it all</summary>")),
        Rule("zwei", Say("noted")),
    )


async def verb(product: Product, *words: str) -> dict[str, Any]:
    """Run one command and return its document; a failure fails the test."""
    done = await product.peerwake(*words, "--json", seconds=120)
    assert done.status == 0, f"{done.stderr}\n{product.log('lifecycle')}\n{product.log('delivery')}"
    result: dict[str, Any] = json.loads(done.stdout)
    return result


async def woken(product: Product, runtime: str, body: str) -> tuple[Client, str]:
    """Return alice's client at work on a message, and the message's id."""
    await product.create("alice", runtime)
    await product.serve()
    sent = await product.send("alice", body, "--wait", "60")
    assert sent["status"] == "delivered", product.log("lifecycle")
    alice = await product.client("alice")
    await alice.until(ScreenState.BUSY)
    return alice, sent["message_id"]


async def idle(client: Client) -> None:
    """Wait until a client shows an empty composer and says itself that it is idle, which may come later."""

    async def look() -> bool | None:
        is_idle = (await client.reading()).state is client.status() is ScreenState.READY
        return is_idle or None

    assert await eventually(look, 20), f"{client.status()} {await client.reading()}"


@BOTH
async def test_a_turn_that_speaks_is_interrupted_and_the_next_message_is_taken(runtime: str) -> None:
    done = Event()
    async with Product(rules(done)) as product:
        alice, first = await woken(product, runtime, "speak slowly")
        await alice.shows(BEGUN[runtime])
        pressed = await verb(product, "interrupt", "alice")
        assert (pressed["state"], pressed["draft"]) == ("ready", None)
        refused: Finished = await product.peerwake("interrupt", "alice")
        assert (refused.status, "alice is not busy" in refused.stderr) == (4, True)
        second = await product.send("alice", "zwei", "--wait", "60")
        assert second["status"] == "delivered"
        await product.takes(alice, [first, second["message_id"]])
        done.set()


async def test_what_stands_in_claudes_own_queue_is_taken_once_after_an_interrupt() -> None:
    async with Product(rules(Event())) as product:
        alice, first = await woken(product, "claude", "think about it")
        behind = await product.send("alice", "zwei", "--wait", "0")
        assert await held(product, alice) == behind["message_id"]
        pressed = await verb(product, "interrupt", "alice")
        assert (pressed["state"], pressed["draft"]) == ("ready", None)
        await product.takes(alice, [first, behind["message_id"]])
        assert alice.evidence(behind["message_id"]) == [Receipt.INJECTED, Receipt.CONSUMED]


@BOTH
async def test_before_any_output_nothing_is_lost_or_doubled(runtime: str) -> None:
    async with Product(rules(Event())) as product:
        alice, first = await woken(product, runtime, "think about it")
        pressed = await verb(product, "interrupt", "alice")
        second = await product.send("alice", "zwei", "--wait", "5")
        if runtime == "claude":
            assert pressed["state"] == "draft"
            assert first in pressed["draft"]
            assert (second["status"], second["reason"]) == ("queued", "draft")
            assert first in str((await alice.reading()).input_text)
            await alice.press("C-c")
        else:
            assert (pressed["state"], pressed["draft"]) == ("ready", None)
        await product.takes(alice, [first, second["message_id"]])


@BOTH
async def test_an_idle_client_compacts_and_a_busy_one_is_left_alone(runtime: str) -> None:
    done = Event()
    async with Product(rules(done)) as product:
        alice, first = await woken(product, runtime, "speak slowly")
        refused: Finished = await product.peerwake("compact", "alice")
        assert (refused.status, "busy: the screen of alice is busy; nothing was typed" in refused.stderr) == (4, True)
        done.set()
        await idle(alice)
        await verb(product, "compact", "alice")
        await alice.shows("ompact")
        await alice.until(ScreenState.READY)
        second = await product.send("alice", "zwei", "--wait", "60")
        assert second["status"] == "delivered", await alice.reading()
        assert first in product.taken(alice)
        assert product.taken(alice).count(second["message_id"]) == 1


@BOTH
async def test_new_while_busy_gives_the_fresh_session_its_seed_and_what_was_not_taken(runtime: str) -> None:
    done = Event()
    async with Product(rules(done)) as product:
        alice, first = await woken(product, runtime, "speak slowly")
        await alice.shows(BEGUN[runtime])
        second = await product.send("alice", "zwei", "--wait", "0")
        old = product.session("alice")
        answer = await verb(product, "new", "alice", "--seed", "zwei zero")
        assert (answer["state"], answer["mode"]) == ("ready", "fresh")
        fresh = product.session("alice")
        assert fresh.fence != old.fence and not alice.started.pane.is_alive()
        client = await product.client("alice")
        await product.takes(client, [f"m_5eed{fresh.fence}", second["message_id"]])
        assert first not in product.taken(client)
        assert (await product.json("queue", "show", second["message_id"]))["attempts"] == 0
        assert product.log("exits") == ""
        done.set()


@BOTH
async def test_an_agent_renews_itself_when_its_turn_is_over(runtime: str) -> None:
    tool = {"claude": "Bash", "codex": "exec_command"}[runtime]
    arguments = {"command": SELF_NEW, "description": "renew"} if runtime == "claude" else {"cmd": SELF_NEW}
    async with Product(
        [Rule("renew yourself", Call(tool, arguments), Say("the turn ended")), Rule("left", Say("on it"))]
    ) as product:
        directory = await product.create("alice", runtime)
        allow(product, runtime, directory)
        await product.serve()
        await product.send("alice", "renew yourself", "--wait", "60")
        alice = await product.client("alice")
        old = product.session("alice")

        async def is_new() -> bool | None:
            try:
                session = product.session("alice")
            except AssertionError:
                return None
            return True if session.fence != old.fence and session.is_ready else None

        assert await eventually(is_new, 60), f"{product.log('lifecycle')}\n{await alice.reading()}"
        assert [path for path in transcripts(product) if "the turn ended" in path.read_text()]
        fresh = await product.client("alice")
        await product.takes(fresh, [f"m_5eed{product.session('alice').fence}"])
        assert product.log("exits") == ""


def transcripts(product: Product) -> list[Path]:
    return [path for each in ("*.jsonl",) for path in product.home.rglob(each)]


def allow(product: Product, runtime: str, directory: Any) -> None:
    """Let a client run commands without asking."""
    if runtime == "claude":
        product.runtime_file(
            "claude",
            'argv = ["claude", "--session-id", "{session_id}", "--dangerously-skip-permissions"]\n'
            'env = {IS_SANDBOX = "1"}\n',
        )
    else:
        product.runtime_file("codex", 'argv = ["codex", "--no-daemon", "--dangerously-bypass-approvals-and-sandbox"]\n')
