"""The main job with the real clients: a message wakes a sleeping agent, arrives, and is proven to have arrived."""

import os
from pathlib import Path
from threading import Event

import anyio.to_thread
import pytest

from lifecycle.runtimes.table import READERS
from tests.clients.checks import all_is_quiet, envelope, held, reads_each_once, to, took
from tests.clients.product import Product
from tests.model_server import Call, Rule, Say
from transport.vocabulary import Receipt, ScreenState

pytestmark = [pytest.mark.clients, pytest.mark.live]

BOTH = pytest.mark.parametrize("runtime", ["claude", "codex"])
SLOWLY = "one two three four five six seven eight"
WAIT = "until [ -e {} ]; do sleep 0.05; done"


def when(file: str) -> Call:
    """Codex waits for a file in its directory before it goes on."""
    return Call("exec_command", {"cmd": WAIT.format(file), "yield_time_ms": 30_000})


def conversation(said: Event) -> tuple[Rule, ...]:
    """What alice (Claude) and bob (Codex) say; alice's second turn ends with `said`, her third with a file."""
    working = Call("Bash", {"command": WAIT.format("done"), "description": "wait"})
    return (
        Rule("greet bob", to("bob", "a greeting"), Say("greeted")),
        Rule("ask bob while you speak", to("bob", "a question"), Say(SLOWLY, until=said)),
        Rule("ask bob while you work", to("bob", "a request"), working, Say("worked")),
        Rule("a greeting", when("one"), to("alice", "the first answer"), Say("answered")),
        Rule("a question", when("two"), to("alice", "the second answer"), Say("answered")),
        Rule("a request", when("three"), to("alice", "the third answer"), Say("answered")),
        Rule("the (first|second|third) answer", Say("thank you")),
    )


@pytest.mark.parametrize("ordinary_user", [False, True], ids=["same-user", "ordinary-user"])
async def test_claude_and_codex_talk_to_each_other(ordinary_user: bool) -> None:
    if ordinary_user and os.geteuid() != 0:
        pytest.skip("these tests already run as an ordinary user")
    said = Event()
    async with Product(conversation(said), ordinary_user=ordinary_user) as product:
        here = await product.create("alice", "claude")
        there = await product.create("bob", "codex")
        await product.serve()
        asked = [await product.send("alice", "greet bob", "--wait", "60")]
        assert (asked[0]["status"], asked[0]["woke"]) == ("delivered", True)
        bob, alice = await product.client("bob"), await product.client("alice")
        await alice.until(ScreenState.READY, seconds=60)
        (result,) = product.results('"personality":"bob"')
        assert '"status":"delivered"' in result
        assert '"woke":true' in result
        assert len(product.taken(bob)) == 1

        (there / "one").touch()
        first = await took(product, alice, 2)
        assert alice.evidence(first) == [Receipt.CONSUMED]
        await alice.until(ScreenState.READY)

        asked.append(await product.send("alice", "ask bob while you speak", "--wait", "60"))
        await took(product, bob, 2)
        await alice.until(ScreenState.BUSY)
        (there / "two").touch()
        second = await held(product, alice)
        said.set()
        assert await took(product, alice, 4) == second
        await alice.until(ScreenState.READY)

        asked.append(await product.send("alice", "ask bob while you work", "--wait", "60"))
        await alice.shows("sleep 0.05")
        (there / "three").touch()
        third = await held(product, alice)
        (here / "done").touch()
        assert await took(product, alice, 6) == third

        ids = [each["message_id"] for each in asked]
        assert product.taken(alice) == [ids[0], first, ids[1], second, ids[2], third]
        assert len(set(product.taken(bob))) == len(product.taken(bob)) == 3
        await all_is_quiet(product, alice, bob)


def work(done: Event) -> tuple[Rule, ...]:
    return Rule("work slowly", Say(SLOWLY, until=done)), Rule("number", Say("noted"))


@BOTH
async def test_a_sleeping_peer_is_woken_and_gets_everything_in_order(runtime: str) -> None:
    done = Event()
    async with Product(work(done)) as product:
        await product.create("alice", runtime)
        await product.serve()
        sent = [await product.send("alice", "hello\n\ttab, #{pane_id} $(id) `id` \\", "--wait", "60")]
        assert (sent[0]["status"], sent[0]["woke"]) == ("delivered", True)
        alice = await product.client("alice")
        await alice.until(ScreenState.READY)
        sent.append(await product.send("alice", "again", "--wait", "60"))
        assert (sent[1]["status"], sent[1]["woke"]) == ("delivered", False)
        await alice.until(ScreenState.READY)
        long = "".join(f"{number} bottles\n" for number in range(1_000))
        sent.append(await product.send("alice", long, "--wait", "60"))
        assert sent[2]["status"] == "delivered"
        await alice.until(ScreenState.READY)
        path = (await envelope(product, sent[2]["message_id"])).body_file
        assert path is not None
        assert path.read_text("utf-8") == long
        sent.append(await product.send("alice", "work slowly", "--wait", "60"))
        await alice.until(ScreenState.BUSY)
        sent += product.queue("alice", *(f"number {number}" for number in range(5)))
        assert [each["status"] for each in sent[4:]] == ["queued"] * 5
        if runtime == "claude":
            assert await held(product, alice) == sent[4]["message_id"]
        assert product.taken(alice) == [each["message_id"] for each in sent[:4]]
        done.set()
        await product.takes(alice, [each["message_id"] for each in sent])
        await reads_each_once(product, [each["message_id"] for each in sent])
        await all_is_quiet(product, alice)


TASKS = (
    Rule("task one", to("boss", "one is done"), Say("finished")),
    Rule("task two", to("boss", "two is done"), Say("finished")),
)


async def test_each_task_of_an_ephemeral_worker_gets_a_fresh_session() -> None:
    async with Product(TASKS, settings={"ephemeral_quiet_seconds": 1}) as product:
        await product.create("worker", "claude", "--ephemeral")
        await product.create("boss", "codex")
        await product.serve()
        sent = [await product.send("worker", f"task {number}", "--from", "boss") for number in ("one", "two")]
        assert [(each["status"], each["reason"]) for each in sent] == [("queued", "ephemeral")] * 2
        boss = await product.client("boss", seconds=60)
        await took(product, boss, 2)
        await product.emptied("worker", "boss")
        assert await product.state("worker", "asleep")
        transcripts = sorted(
            product.home.glob(".claude/projects/*worker/*.jsonl"), key=lambda path: path.stat().st_mtime
        )
        assert [ids(path) for path in transcripts] == [[each["message_id"]] for each in sent]
        answers = [(await envelope(product, message_id)).body for message_id in product.taken(boss)]
        assert answers == ["one is done", "two is done"]
        assert product.log("exits") == ""


def ids(path: Path) -> list[str]:
    found = [READERS["claude"].parse(line) for line in path.read_bytes().splitlines()]
    return [message_id for message_id, receipt in filter(None, found) if receipt is Receipt.CONSUMED]


@BOTH
async def test_attach_resumes_the_conversation(runtime: str) -> None:
    async with Product() as product:
        await product.create("alice", runtime)
        await product.serve()
        first = await product.send("alice", "before", "--wait", "60")
        alice = await product.client("alice")
        await alice.until(ScreenState.READY)
        reference = alice.reader.refer(alice.facts)
        for verb in ("stop", "start"):
            assert (await product.peerwake(verb, "alice")).status == 0
        assert not alice.started.tmux.is_alive()
        attached = await anyio.to_thread.run_sync(product.attach, "alice")
        assert (attached["state"], attached["mode"]) == ("ready", "resume")
        second = await product.send("alice", "after", "--wait", "60")
        assert (second["status"], second["woke"]) == ("delivered", False)
        again = await product.client("alice")
        assert again.reader.refer(again.facts) == reference
        assert product.taken(again) == [first["message_id"], second["message_id"]]
        assert product.model.count(first["message_id"]) == 1


@BOTH
async def test_a_killed_server_loses_and_doubles_nothing(runtime: str) -> None:
    done = Event()
    async with Product(work(done)) as product:
        await product.create("alice", runtime)
        await product.serve()
        sent = [await product.send("alice", "work slowly", "--wait", "60")]
        alice = await product.client("alice")
        await alice.until(ScreenState.BUSY)
        sent += product.queue("alice", *(f"number {number}" for number in range(4)))
        await product.kill_server()
        assert (await alice.reading()).state is ScreenState.BUSY
        sent.append(await product.send("alice", "number 4"))
        assert (sent[-1]["status"], sent[-1]["reason"]) == ("queued", "no-supervisor")
        await product.serve()
        assert (await alice.reading()).state is ScreenState.BUSY
        done.set()
        await product.takes(alice, [each["message_id"] for each in sent])
        await reads_each_once(product, [each["message_id"] for each in sent])
        await all_is_quiet(product, alice, events=["wake", "boot", "adopt"])
