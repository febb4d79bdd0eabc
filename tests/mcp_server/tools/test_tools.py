"""The three tools: arguments, results, sizes, refusals, in both eras, in memory of one process."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import jsonschema
import pytest
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError

from lifecycle.requests import PeerPage, QueueRow
from mcp_server.tools.schemas import INSTRUCTIONS, TOOLS
from tests.mcp_server.fronts import ALICE, BOB, Running, connected, running
from transport.message import MAX_BODY_BYTES
from transport.paths import Root

Ask = Callable[..., Any]


@pytest.fixture
async def run(root: Root) -> AsyncIterator[Running]:
    async with running(root) as found:
        yield found


@pytest.fixture(params=["auto", "legacy"])
async def client(run: Running, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    async with connected("lines", run, request.param) as found:
        yield found


async def ask(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    assert len(result.content) == 1
    assert "\n" not in result.content[0].text
    return {"text": result.content[0].text} | dict(result.structured_content or {})


async def refused(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert result.is_error, result
    structure = dict(result.structured_content or {})
    assert structure["status"] == "error"
    assert structure["reason"] == result.content[0].text
    assert "pydantic" not in structure["reason"]
    return structure


# what clients are told


@pytest.mark.parametrize("kind", ["lines", "http"])
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_peer_that_asks_for_the_tools_has_arrived(run: Running, kind: str, mode: str) -> None:
    async with connected(kind, run, mode, None) as client:
        await client.list_tools()
    assert run.service.arrivals == []
    async with connected(kind, run, mode) as client:
        await client.list_tools()
    assert set(run.service.arrivals) == {ALICE}


async def test_there_are_exactly_three_tools_and_they_are_small(client: Client) -> None:
    listed = await client.list_tools()
    assert [tool.name for tool in listed.tools] == ["send_to_peer", "list_peers", "queue_status"]
    for tool in listed.tools:
        assert tool.output_schema is not None
        assert tool.input_schema["additionalProperties"] is False
        jsonschema.Draft202012Validator.check_schema(tool.input_schema)
        jsonschema.Draft202012Validator.check_schema(tool.output_schema)
    assert [tool.annotations.read_only_hint for tool in listed.tools if tool.annotations] == [False, True, True]
    wire = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"tools": TOOLS}}, separators=(",", ":"))
    assert len(wire) <= 4_800
    # A token of JSON is rarely shorter than three characters.
    assert len(wire) / 3 < 1_200


async def test_the_standing_rules_are_said_once(client: Client) -> None:
    assert client.instructions == INSTRUCTIONS
    assert "<peer-message-" in INSTRUCTIONS
    assert len(INSTRUCTIONS) < 1_000


# send_to_peer


async def test_a_send_is_queued_with_its_reason(run: Running, client: Client) -> None:
    answer = await ask(
        client,
        "send_to_peer",
        personality="bob",
        message="a\x1b[201~b",
        topic="release",
        runtime="scripted",
        wait_seconds=0,
    )
    (message,) = run.service.accepted("bob")
    assert (message.body, message.topic, message.sender) == ("a[201~b", "release", ALICE)
    assert answer["delivered_to"] == {"personality": "bob", "runtime": "scripted", "host": "here"}
    assert (answer["status"], answer["reason"], answer["queue_depth"]) == ("queued", "busy", 1)
    assert answer["removed_controls"] == 1
    assert answer["message_id"] in answer["text"]
    assert "do not send it again" in answer["text"]


async def test_delivered_needs_the_receipt_and_progress_is_told(run: Running, client: Client) -> None:
    run.service.waking.add("bob")
    told: list[str] = []
    heard = anyio.Event()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        told.append(message or "")
        heard.set()

    results: list[Any] = []

    async def call() -> None:
        arguments = {"personality": "bob", "message": "x"}
        results.append(await client.call_tool("send_to_peer", arguments, progress_callback=on_progress))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await heard.wait()
            (message,) = run.service.accepted("bob")
            run.service.consume(message.id)
    assert told == ["bob: waking"]
    assert results[0].structured_content["status"] == "delivered"
    assert results[0].structured_content["woke"] is True


async def test_attachments_must_exist(client: Client, tmp_path: Path, run: Running) -> None:
    there = tmp_path / "a.txt"
    there.write_text("x")
    await ask(client, "send_to_peer", personality="bob", message="x", attachments=[str(there)])
    assert run.service.accepted("bob")[0].attachments == (str(there),)
    for bad in ("relative.txt", str(tmp_path), str(tmp_path / "missing")):
        error = await refused(client, "send_to_peer", personality="bob", message="x", attachments=[bad])
        assert error["field"] == "attachments"


async def test_the_same_key_is_one_message(run: Running, client: Client) -> None:
    first = await ask(client, "send_to_peer", personality="bob", message="x", idempotency_key="k")
    again = await ask(client, "send_to_peer", personality="bob", message="x", idempotency_key="k")
    assert first["message_id"] == again["message_id"]
    assert again["duplicate"] is True
    assert len(run.service.accepted("bob")) == 1


async def test_a_bridges_request_id_is_the_key_when_there_is_none(run: Running, client: Client) -> None:
    arguments = {"personality": "bob", "message": "x"}
    for _ in range(2):
        result = await client.call_tool("send_to_peer", arguments, meta={"peerwake/request": "r1"})
        assert "sent before" not in result.content[0].text
    assert len(run.service.accepted("bob")) == 1
    await client.call_tool("send_to_peer", arguments | {"idempotency_key": "own"}, meta={"peerwake/request": "r1"})
    assert len(run.service.accepted("bob")) == 2
    result = await client.call_tool("send_to_peer", arguments, meta={"peerwake/request": 5})
    assert result.is_error


@pytest.mark.parametrize(
    ("arguments", "field", "says"),
    [
        ({"message": "x"}, "personality", "missing"),
        ({"personality": "bob"}, "message", "missing"),
        ({"personality": None, "message": "x"}, "personality", "missing"),
        ({"personality": "Bob!", "message": "x"}, "personality", "not a peer's name"),
        ({"personality": ["bob"], "message": "x"}, "personality", "not a peer's name"),
        ({"personality": "bob", "message": ""}, "message", "empty"),
        ({"personality": "bob", "message": "\x00\x1b"}, "message", "control"),
        ({"personality": "bob", "message": 5}, "message", "not text"),
        ({"personality": "bob", "message": {"a": 1}}, "message", "not text"),
        ({"personality": "bob", "message": "x", "colour": "red"}, "arguments", "colour"),
        ({"personality": "bob", "message": "x", "colour": None}, "arguments", "colour"),
        ({"personality": "bob", "message": "x", "topic": "t" * 201}, "topic", "200"),
        ({"personality": "bob", "message": "x", "topic": 4}, "topic", "not text"),
        ({"personality": "bob", "message": "x", "runtime": "A-B"}, "runtime", "not a runtime's name"),
        ({"personality": "bob", "message": "x", "runtime": 4}, "runtime", "not a runtime's name"),
        ({"personality": "bob", "message": "x", "attachments": "/etc/passwd"}, "attachments", "list"),
        ({"personality": "bob", "message": "x", "attachments": [1]}, "attachments", "not text"),
        ({"personality": "bob", "message": "x", "attachments": ["/etc/passwd"] * 21}, "attachments", "20"),
        ({"personality": "bob", "message": "x", "reply_to": "nope"}, "reply_to", "message id"),
        ({"personality": "bob", "message": "x", "idempotency_key": "k" * 201}, "idempotency_key", "200"),
        ({"personality": "bob", "message": "x", "wait_seconds": "5"}, "wait_seconds", "number"),
        ({"personality": "bob", "message": "x", "wait_seconds": True}, "wait_seconds", "number"),
    ],
)
async def test_bad_arguments_name_the_field_and_change_nothing(
    run: Running, client: Client, arguments: dict[str, Any], field: str, says: str
) -> None:
    error = await refused(client, "send_to_peer", **arguments)
    assert error["field"] == field
    assert says in error["reason"]
    assert run.service.letters == {}


async def test_too_large_is_its_own_code(run: Running, client: Client) -> None:
    await ask(client, "send_to_peer", personality="bob", message="x" * MAX_BODY_BYTES)
    error = await refused(client, "send_to_peer", personality="bob", message="x" * (MAX_BODY_BYTES + 1))
    assert error["code"] == "too-large"


async def test_refusals_carry_stable_codes(run: Running, client: Client) -> None:
    error = await refused(client, "send_to_peer", personality="bpb", message="x")
    assert error["code"] == "unknown-peer"
    assert "bob" in error["reason"]
    error = await refused(client, "send_to_peer", personality="alice", message="x")
    assert error["code"] == "self"
    error = await refused(client, "send_to_peer", personality="bob", message="x", runtime="codex")
    assert error["code"] == "undeclared-runtime"
    run.service.stopped.add("bob")
    error = await refused(client, "send_to_peer", personality="bob", message="x")
    assert error["code"] == "stopped"
    assert run.service.letters == {}


async def test_an_unknown_tool_is_a_protocol_error(client: Client) -> None:
    with pytest.raises(MCPError, match="there are send_to_peer"):
        await client.call_tool("fly", {})


async def test_a_fault_of_ours_is_told_without_its_details(
    run: Running, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*args: object) -> PeerPage:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(run.service, "peers", broken)
    error = await refused(client, "list_peers")
    assert error["code"] == "internal"
    assert "secret" not in error["reason"]
    assert "secret detail" in (run.root.logs / "lifecycle.log").read_text()


# list_peers


async def test_peers_are_listed_with_their_states(run: Running, client: Client) -> None:
    run.service.stopped.add("bob")
    answer = await ask(client, "list_peers")
    assert [peer["name"] for peer in answer["peers"]] == ["alice", "bob", "carol"]
    assert [one["runtime"] for one in answer["peers"][0]["runtimes"]] == ["claude", "codex"]
    assert answer["peers"][1]["runtimes"] == [{"runtime": "scripted", "state": "stopped", "queue_depth": 0}]
    assert answer["total"] == 3
    assert "next_offset" not in answer
    assert "bob (scripted:stopped)" in answer["text"]
    answer = await ask(client, "list_peers", query="REVIEWS")
    assert [peer["name"] for peer in answer["peers"]] == ["alice"]
    answer = await ask(client, "list_peers", live_only=True)
    assert (answer["peers"], answer["text"]) == ([], "No peers that match.")


@pytest.mark.parametrize("description", ["d" * 450, "é" * 450, "\U0001f600" * 450, "short", '"\\' * 225])
async def test_a_page_is_at_most_4_kib_and_pages_reach_everybody(
    run: Running, client: Client, description: str
) -> None:
    for number in range(120):
        run.service.add(f"peer-with-a-long-name-{number:03}", "claude", "codex", "opencode", description=description)
    seen: list[str] = []
    offset = 0
    while True:
        result = await client.call_tool("list_peers", {"offset": offset})
        structure = result.structured_content
        assert structure is not None
        wire = json.dumps(structure, ensure_ascii=False, separators=(",", ":")) + result.content[0].text
        assert len(wire.encode()) <= 4096
        assert structure["peers"]
        seen += [peer["name"] for peer in structure["peers"]]
        if "next_offset" not in structure:
            break
        assert f"offset={structure['next_offset']}" in result.content[0].text
        offset = structure["next_offset"]
    assert seen == sorted(run.service.rows)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"query": 5}, "query"),
        ({"query": "q" * 201}, "query"),
        ({"live_only": "yes"}, "live_only"),
        ({"offset": -1}, "offset"),
        ({"offset": 1.5}, "offset"),
        ({"offset": True}, "offset"),
        ({"limit": 5}, "arguments"),
    ],
)
async def test_list_peers_refuses_bad_arguments(client: Client, arguments: dict[str, Any], field: str) -> None:
    assert (await refused(client, "list_peers", **arguments))["field"] == field


# queue_status


async def test_queue_status_shows_one_short_line_of_what_a_screen_says(
    run: Running, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = QueueRow("scripted-bob", "here", "me", 1, None, 2.0, None, 0, "blocked", "Proceed?\n  1. Yes\n" + "x" * 900)

    async def queue(name: str | None) -> tuple[QueueRow, ...]:
        return (row,)

    monkeypatch.setattr(run.service, "queue", queue)
    (shown,) = (await ask(client, "queue_status", personality="bob"))["queues"]
    assert shown["hold"] == "blocked"
    assert shown["detail"].startswith("Proceed? 1. Yes xxx") and len(shown["detail"]) == 120


async def test_queue_status_of_a_peer_of_oneself_and_of_a_message(run: Running, client: Client) -> None:
    sent = await ask(client, "send_to_peer", personality="bob", message="x")
    answer = await ask(client, "queue_status", personality="bob")
    assert [(row["identity"], row["depth"]) for row in answer["queues"]] == [("scripted-bob", 1)]
    assert "1 waiting" in answer["text"]
    own = await ask(client, "queue_status")
    assert [row["identity"] for row in own["queues"]] == ["claude-alice", "codex-alice"]
    assert own["text"] == "Nothing waits and nothing was given up."
    report = await ask(client, "queue_status", message_id=sent["message_id"])
    assert report["message"]["state"] == "queued"
    assert report["message"]["events"][0][1] == "accepted"


async def test_a_message_is_told_to_its_parties_only(run: Running, client: Client) -> None:
    async with connected("lines", run, "auto", BOB) as other:
        sent = await ask(other, "send_to_peer", personality="carol", message="x")
    error = await refused(client, "queue_status", message_id=sent["message_id"])
    assert error["code"] == "not-allowed"
    async with connected("lines", run, "auto", None) as operator:
        assert (await ask(operator, "queue_status", message_id=sent["message_id"]))["message"]["sender"] == str(BOB)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"personality": "bob", "message_id": "m_x"}, "invalid"),
        ({"personality": "nobody"}, "unknown-peer"),
        ({"personality": 3}, "invalid"),
        ({"message_id": 3}, "invalid"),
        ({"message_id": "m_x"}, "no-such-message"),
        ({"depth": 1}, "invalid"),
    ],
)
async def test_queue_status_refuses(client: Client, arguments: dict[str, Any], code: str) -> None:
    assert (await refused(client, "queue_status", **arguments))["code"] == code


# resources


async def test_resources(run: Running, client: Client) -> None:
    listed = await client.list_resources()
    assert [str(one.uri) for one in listed.resources] == ["fleet://snapshot"]
    templates = await client.list_resource_templates()
    assert [one.uri_template for one in templates.resource_templates] == ["peer://{name}"]
    snapshot = json.loads((await client.read_resource("fleet://snapshot")).contents[0].text)
    assert [peer["name"] for peer in snapshot["peers"]] == ["alice", "bob", "carol"]
    assert (snapshot["host"], snapshot["tenant_id"]) == ("here", "me")
    peer = json.loads((await client.read_resource("peer://alice")).contents[0].text)
    assert peer["description"] == "reviews code"
    for uri in ("peer://nobody", "peer://", "fleet://other"):
        with pytest.raises(MCPError) as refusal:
            await client.read_resource(uri)
        assert refusal.value.error.data["uri"] == uri


async def test_pipelined_calls_of_one_client_are_accepted_in_their_order(run: Running, client: Client) -> None:
    async with anyio.create_task_group() as group:
        for number in range(200):
            group.start_soon(ask_one, client, number)
    assert [message.body for message in run.service.accepted("bob")] == [str(number) for number in range(200)]


async def ask_one(client: Client, number: int) -> None:
    await ask(client, "send_to_peer", personality="bob", message=str(number))
