"""The main job with the real clients: a message wakes a sleeping agent, arrives, and is proven to have arrived."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from threading import Event

import anyio.to_thread
import pytest

from lifecycle.runtimes.table import READERS
from tests.clients.client import Client, eventually
from tests.clients.product import Product
from tests.clients.scenes import ESCALATED
from tests.clients.test_boot import trusted
from tests.model_server import Call, Rule, Say
from tests.model_wire import Role
from transport.envelope import Envelope, parse
from transport.screen import Screen
from transport.vocabulary import Receipt, ScreenState

pytestmark = [pytest.mark.clients, pytest.mark.live]

BOTH = pytest.mark.parametrize("runtime", ["claude", "codex"])
SLOWLY = "one two three four five six seven eight"
WAIT = "until [ -e {} ]; do sleep 0.05; done"


def to(name: str, message: str) -> Call:
    return Call("send_to_peer", {"personality": name, "message": message})


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


ASKING = {
    "claude": Rule("ask permission", Call("Bash", {"command": "touch asked", "description": "touch"}), Say("done")),
    "codex": Rule("ask permission", Call("exec_command", ESCALATED | {"cmd": "touch asked"}), Say("done")),
}
MANUAL = 'argv = ["claude", "--session-id", "{session_id}", "--permission-mode", "manual"]\n'
QUESTION = {"claude": "Do you want to proceed?", "codex": "Would you like to run the following command?"}


@BOTH
async def test_nothing_is_typed_into_a_question(runtime: str) -> None:
    async with Product((ASKING[runtime],)) as product:
        product.runtime_file("claude", MANUAL)
        there = await product.create("alice", runtime)
        await product.serve()
        first = await product.send("alice", "ask permission", "--wait", "60")
        alice = await product.client("alice")
        before = below(await alice.shows(QUESTION[runtime]), QUESTION[runtime])
        second = await product.send("alice", "a second message", "--wait", "2")
        assert (second["status"], second["reason"]) == ("queued", "asks")
        row = await product.state("alice", "blocked")
        assert QUESTION[runtime] in row["detail"]
        assert below(await alice.screen(), QUESTION[runtime]) == before
        assert product.taken(alice) == [first["message_id"]]
        assert not (there / "asked").exists()
        await alice.press("Enter")
        await product.takes(alice, [first["message_id"], second["message_id"]])
        assert (there / "asked").exists()
        await all_is_quiet(product, alice)


@BOTH
async def test_a_draft_is_left_alone(runtime: str) -> None:
    async with Product() as product:
        await product.create("alice", runtime)
        await product.serve()
        first = await product.send("alice", "hello", "--wait", "60")
        alice = await product.client("alice")
        await alice.until(ScreenState.READY)
        await alice.type("half a thought")
        await alice.until(lambda reading: reading.input_text == "half a thought", "the draft")
        second = await product.send("alice", "a second message", "--wait", "2")
        assert (second["status"], second["reason"]) == ("queued", "draft")
        assert (await alice.reading()).input_text == "half a thought"
        assert product.taken(alice) == [first["message_id"]]
        await alice.press(*["BSpace"] * len("half a thought"))
        await product.takes(alice, [first["message_id"], second["message_id"]])
        assert product.model.count("half") == 0
        await all_is_quiet(product, alice)


def below(screen: Screen, text: str) -> tuple[str, ...]:
    """Return the lines from the one that holds `text` on; above it Claude's logo moves."""
    (first,) = [number for number, line in enumerate(screen.lines) if text in line]
    return screen.lines[first:]


UNKNOWN = {
    "claude": ("Do you want to use this API key?", ("Up", "Enter")),
    "codex": ("Trust this folder?", ("Enter",)),
}


@BOTH
async def test_an_unknown_dialog_is_reported_and_left_to_a_person(runtime: str) -> None:
    text, keys = UNKNOWN[runtime]
    async with Product(settings={"blocked_seconds": 2}) as product:
        there = await product.create("alice", runtime)
        if runtime == "claude":
            launch_env(there, runtime, "ANTHROPIC_AUTH_TOKEN=\nANTHROPIC_API_KEY=" + "k" * 30)
        else:
            product.runtime_file(
                "codex", '[[dialogs]]\nname = "trust"\npattern = "another question"\nkeys = ["Enter"]\n'
            )
        await product.serve()
        sent = [await product.send("alice", "first"), await product.send("alice", "second")]
        assert [(each["status"], each["reason"]) for each in sent] == [("queued", "blocked")] * 2
        alice = await product.client("alice")
        before = below(await alice.shows(text), text)
        row = await product.state("alice", "blocked")
        assert text in row["detail"]
        assert (row["queue_depth"], product.taken(alice)) == (2, [])
        assert below(await alice.screen(), text) == before
        await alice.press(*keys)
        await product.takes(alice, [each["message_id"] for each in sent])
        await product.emptied("alice")
        assert (await alice.until(ScreenState.READY)).input_text == ""


def launch_env(directory: Path, runtime: str, text: str) -> None:
    """Give a peer variables of its own, as a user does."""
    path = directory / ".peerwake" / "runtimes" / runtime / "launch.env"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")
    path.chmod(0o600)


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
