"""The control protocol: verbs, who may use them, errors that say what to do."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from mcp_server.serve.options import ServeOptions
from mcp_server.serve.verbs import VERBS, Who
from tests.mcp_server.fronts import ALICE, BOB, Lines, Running, control, running
from transport.identity import OPERATOR
from transport.paths import Root


@pytest.fixture
async def run(root: Root) -> AsyncIterator[Running]:
    async with running(root, options=ServeOptions(port=0, stop_seconds=1.0)) as found:
        yield found


async def do(connection: Lines, verb: str, **args: Any) -> dict[str, Any]:
    answer = await connection.ask({"id": verb, "verb": verb, "args": args})
    assert answer["id"] == verb
    assert answer["ok"], answer
    return dict(answer["result"])


async def refused(connection: Lines, verb: str, **args: Any) -> dict[str, Any]:
    answer = await connection.ask({"id": verb, "verb": verb, "args": args})
    assert answer["id"] == verb
    assert not answer["ok"], answer
    return dict(answer["error"])


async def test_send_as_operator_and_in_a_peers_name(run: Running) -> None:
    async with control(run.socket) as connection:
        sent = await do(connection, "send", personality="bob", message="one")
        assert (sent["status"], sent["personality"], sent["runtime"]) == ("queued", "bob", "scripted")
        await do(connection, "send", personality="bob", message="two", **{"from": "alice"})
        await do(connection, "send", personality="bob", message="three", **{"from": "codex-alice"})
        error = await refused(connection, "send", personality="bob", message="four", **{"from": "nobody"})
        assert error["code"] == "unknown-peer"
    senders = [str(message.sender) for message in run.service.accepted("bob")]
    assert senders == [str(OPERATOR), "claude-alice", "codex-alice"]


async def test_a_peer_sends_as_itself_only(run: Running) -> None:
    with run.service.this_process_is(ALICE):
        async with control(run.socket) as connection:
            await do(connection, "send", personality="bob", message="one")
            await do(connection, "send", personality="bob", message="two", **{"from": "alice"})
            error = await refused(connection, "send", personality="bob", message="three", **{"from": "carol"})
            assert error["code"] == "not-allowed"
            error = await refused(connection, "send", personality="bob", message="x", **{"from": "operator"})
            assert error["code"] == "not-allowed"
    assert [message.sender for message in run.service.accepted("bob")] == [ALICE, ALICE]


@pytest.mark.parametrize("verb", sorted(name for name, verb in VERBS.items() if verb.who is Who.OPERATOR))
async def test_operators_verbs_are_refused_to_peers(run: Running, verb: str) -> None:
    token = run.credentials.credential_for(ALICE)
    async with control(run.socket, credential=token) as connection:
        assert (await refused(connection, verb))["code"] == "not-allowed"


@pytest.mark.parametrize("verb", ["self-done", "self-new"])
async def test_self_is_for_sessions(run: Running, verb: str) -> None:
    async with control(run.socket) as connection:
        assert (await refused(connection, verb))["code"] == "not-allowed"
    with run.service.this_process_is(BOB):
        async with control(run.socket) as connection:
            assert (await do(connection, verb))["identity"] == "scripted-bob"
    assert run.service.own_sessions == [(verb.removeprefix("self-"), BOB)]


async def test_list_peer_and_queue(run: Running) -> None:
    async with control(run.socket) as connection:
        page = await do(connection, "list", limit=2)
        assert ([row["name"] for row in page["rows"]], page["total"]) == (["alice", "bob"], 3)
        assert {"host", "tenant_id", "cwd", "default_runtime", "wake_policy"} <= page["rows"][0].keys()
        assert (await do(connection, "peer", name="carol"))["description"] == "writes"
        await do(connection, "send", personality="bob", message="x")
        rows = (await do(connection, "queue", personality="bob"))["rows"]
        assert [(row["identity"], row["depth"]) for row in rows] == [("scripted-bob", 1)]
        assert len((await do(connection, "queue"))["rows"]) == 4
    with run.service.this_process_is(BOB):
        async with control(run.socket) as connection:
            assert [row["identity"] for row in (await do(connection, "queue"))["rows"]] == ["scripted-bob"]


async def test_a_messages_history_is_for_its_parties(run: Running) -> None:
    async with control(run.socket) as connection:
        sent = await do(connection, "send", personality="bob", message="x", **{"from": "alice"})
        report = await do(connection, "message", message_id=sent["message_id"])
        assert (report["sender"], report["recipient"]) == ("claude-alice", "scripted-bob")
    for name, code in (("alice", None), ("bob", None), ("carol", "not-allowed")):
        identity = ALICE if name == "alice" else BOB if name == "bob" else type(BOB)("scripted", "carol")
        async with control(run.socket, credential=run.credentials.credential_for(identity)) as connection:
            if code is None:
                assert (await do(connection, "message", message_id=sent["message_id"]))["message_id"]
            else:
                assert (await refused(connection, "message", message_id=sent["message_id"]))["code"] == code


async def test_dead_letters(run: Running) -> None:
    async with control(run.socket) as connection:
        sent = await do(connection, "send", personality="bob", message="body of it")
        dropped = await do(connection, "drop", message_id=sent["message_id"])
        assert dropped["state"] == "dead"
        dead = (await do(connection, "dead"))["rows"]
        assert [row["message_id"] for row in dead] == [sent["message_id"]]
        assert (await do(connection, "dead", personality="carol"))["rows"] == []
        assert (await do(connection, "show", message_id=sent["message_id"]))["body"] == "body of it"
        assert (await do(connection, "retry", message_id=sent["message_id"]))["state"] == "queued"
        assert (await refused(connection, "show", message_id="m_nope"))["code"] == "no-such-message"
        assert (await refused(connection, "show"))["field"] == "message_id"


async def test_dead_letters_of_several_messages_or_of_all(run: Running) -> None:
    async with control(run.socket) as connection:
        sent = [(await do(connection, "send", personality="bob", message=str(n)))["message_id"] for n in range(3)]
        dropped = await do(connection, "drop", message_ids=[*sent, "m_nope"])
        assert dropped["done"] == [{"message_id": each, "recipient": "scripted-bob"} for each in sent]
        ((refused_id, code),) = [(each["message_id"], each["code"]) for each in dropped["refused"]]
        assert (refused_id, code) == ("m_nope", "no-such-message")
        listed = await do(connection, "dead", limit=2)
        assert (len(listed["rows"]), listed["total"]) == (2, 3)
        assert (await do(connection, "retry", all=True, personality="carol"))["done"] == []
        assert len((await do(connection, "retry", all=True, personality="bob", older_seconds=0))["done"]) == 3


@pytest.mark.parametrize(
    ("args", "field"),
    [
        ({}, "message_ids"),
        ({"message_ids": []}, "message_ids"),
        ({"message_ids": "m_1"}, "message_ids"),
        ({"message_ids": [1]}, "message_ids"),
        ({"message_ids": ["m_1"], "message_id": "m_1"}, "message_ids"),
        ({"message_ids": ["m_1"], "all": True}, "message_ids"),
        ({"message_id": "m_1", "older_seconds": 5}, "message_ids"),
        ({"message_id": "m_1", "personality": "bob"}, "message_ids"),
        ({"all": "yes"}, "all"),
        ({"all": True, "older_seconds": -1}, "older_seconds"),
        ({"all": True, "older_seconds": True}, "older_seconds"),
        ({"all": True, "personality": "No!"}, "personality"),
        ({"all": True, "personality": ""}, "personality"),
        ({"all": True, "message_id": ""}, "message_id"),
    ],
)
async def test_what_cannot_be_retried_names_the_argument(run: Running, args: dict[str, Any], field: str) -> None:
    async with control(run.socket) as connection:
        error = await refused(connection, "retry", **args)
        assert (error["code"], error["field"]) == ("invalid", field)


async def test_stop_and_start(run: Running) -> None:
    async with control(run.socket) as connection:
        assert (await do(connection, "stop", name="bob"))["rows"] == [{"identity": "scripted-bob", "state": "stopped"}]
        error = await refused(connection, "send", personality="bob", message="x")
        assert error["code"] == "stopped"
        await do(connection, "start", name="bob")
        await do(connection, "send", personality="bob", message="x")
        assert len((await do(connection, "stop", name=None))["rows"]) == 3


@pytest.mark.parametrize(
    ("verb", "args", "field"),
    [
        ("stop", {"name": ""}, "name"),
        ("start", {"name": ""}, "name"),
        ("retry", {"all": True, "personality": ""}, "personality"),
        ("drop", {"all": True, "personality": ""}, "personality"),
        ("dead", {"personality": ""}, "personality"),
        ("queue", {"personality": ""}, "personality"),
        ("send", {"personality": "bob", "message": "x", "from": ""}, "from"),
        ("send", {"personality": "bob", "message": "x", "runtime": ""}, "runtime"),
    ],
)
async def test_an_empty_name_is_refused_and_never_means_everybody(
    run: Running, verb: str, args: dict[str, Any], field: str
) -> None:
    async with control(run.socket) as connection:
        dead, waiting = [await do(connection, "send", personality=name, message="x") for name in ("bob", "carol")]
        await do(connection, "drop", message_id=dead["message_id"])
        await do(connection, "stop", name="alice")
        error = await refused(connection, verb, **args)
        assert (error["code"], error["field"]) == ("invalid", field)
    assert run.service.stopped == {"alice"}
    states = {one.message.id: one.state for one in run.service.letters.values()}
    assert states == {dead["message_id"]: "dead", waiting["message_id"]: "queued"}


async def test_attach_and_reload(run: Running) -> None:
    async with control(run.socket) as connection:
        found = await do(connection, "attach", name="alice", runtime="codex")
        assert found["identity"] == "codex-alice"
        assert (await do(connection, "reload"))["peers"] == 3


async def test_status(run: Running) -> None:
    async with control(run.socket) as connection:
        await do(connection, "send", personality="bob", message="x")
        status = await do(connection, "status")
    assert status["addresses"] == {"socket": run.socket, "http": run.http, "no_http": None}
    assert status["counts"]["peers"] == 3
    assert status["counts"]["queued"] == 1
    assert status["counts"]["connections"] == 1
    assert status["role"] == "supervisor"
    assert status["operator"] is True
    assert status["uptime_seconds"] >= 0


@pytest.mark.parametrize(
    ("line", "answered", "field"),
    [
        (b"nonsense", None, "request"),
        (b"[]", None, "request"),
        (b'{"id": 1}', None, "request"),
        (b'{"id": 1, "verb": 3}', None, "request"),
        (b'{"id": 1, "verb": "ping", "args": []}', None, "args"),
        (b'{"id": 4, "verb": "fly"}', 4, "verb"),
        (b'{"id": 4, "verb": "ping", "args": {"x": 1}}', 4, "args"),
        (b'{"id": 4, "verb": "list", "args": {"limit": "x"}}', 4, "limit"),
        (b'{"id": 4, "verb": "list", "args": {"live_only": "yes"}}', 4, "live_only"),
        (b'{"id": 4, "verb": "peer"}', 4, "name"),
        (b'{"id": 4, "verb": "peer", "args": {"name": "No Name"}}', 4, "name"),
        (b'{"id": 4, "verb": "send", "args": {"personality": "bob", "message": 5}}', 4, "message"),
        (b'{"id": 4, "verb": "send", "args": {"personality": "bob", "message": "\\ud800"}}', 4, "message"),
        (b'{"id": 4, "verb": "send", "args": {"personality": "\\ud800", "message": "x"}}', 4, "personality"),
    ],
)
async def test_bad_requests_are_answered_and_the_connection_goes_on(
    run: Running, line: bytes, answered: object, field: str
) -> None:
    async with control(run.socket) as connection:
        answer = await connection.ask(line)
        assert answer["ok"] is False
        assert (answer["error"]["code"], answer["error"]["field"]) == ("invalid", field)
        assert answer["id"] == answered or answer["id"] == 1
        assert (await do(connection, "ping"))["pid"]


async def test_pipelined_sends_are_accepted_in_their_order(run: Running) -> None:
    async with control(run.socket) as connection:
        await connection.write(
            *({"id": n, "verb": "send", "args": {"personality": "bob", "message": str(n)}} for n in range(200))
        )
        answers = [await connection.read() for _ in range(200)]
    assert all(answer["ok"] for answer in answers)
    assert [message.body for message in run.service.accepted("bob")] == [str(n) for n in range(200)]


async def test_a_fault_of_ours_is_answered_and_logged(run: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(name: str) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(run.service, "peer", broken)
    async with control(run.socket) as connection:
        error = await refused(connection, "peer", name="bob")
    assert error["code"] == "internal"
    assert "secret" not in error["message"]
    assert "secret detail" in (run.root.logs / "lifecycle.log").read_text()
