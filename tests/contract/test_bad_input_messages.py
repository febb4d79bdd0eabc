"""Bad messages, on every transport and from the command line: a clear error, nothing queued, the next send works.

Checklist of issue 2: unknown peer with nearest names, self, stopped, undeclared runtime, message empty / over the
limit / only control characters / lone surrogates, topic too long, unknown tool argument, wrong types.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.bad_input import HTTP, credential, private_world, refused, stored, unchanged
from tests.contract.wires import KINDS, Wire, wire
from tests.live.control import Control
from tests.live.world import World

pytestmark = pytest.mark.live

LIMIT = 256 * 1024
TO_ALICE = {"personality": "alice", "message": "hello"}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Alice has two runtimes, bob writes, dora is stopped."""
    with private_world(**HTTP) as world:
        world.create("alice", "--runtime", "command", "--", "/bin/cat")
        world.create("bob")
        world.create("dora")
        world.serve()
        assert world.run("stop", "dora").returncode == 0
        yield world


@pytest.fixture(scope="module")
def wires(world: World) -> Iterator[dict[str, Wire]]:
    token = credential(world, "scripted-bob")
    made = {kind: wire(kind, world, token) for kind in KINDS}
    yield made
    for each in made.values():
        each.close()


REFUSED: dict[str, tuple[dict[str, Any], str, str | None, tuple[str, ...]]] = {
    "unknown peer": ({"personality": "alicia"}, "unknown-peer", None, ("alicia", "did you mean alice?")),
    "unknown peer, nobody near": ({"personality": "xyzzy"}, "unknown-peer", None, ("xyzzy", "list_peers")),
    "no peer's name": ({"personality": "Alice!"}, "invalid", "personality", ("Alice!", "1 to 32 of a-z")),
    "a peer's name is needed": ({"personality": None}, "invalid", "personality", ("missing",)),
    "a path for a name": ({"personality": "../alice"}, "invalid", "personality", ("../alice",)),
    "self": ({"personality": "bob"}, "self", None, ("you are bob", "choose another")),
    "stopped": ({"personality": "dora"}, "stopped", None, ("dora is stopped", "peerwake start dora")),
    "undeclared runtime": ({"runtime": "claude"}, "undeclared-runtime", None, ("claude", "scripted, command")),
    "no runtime's name": ({"runtime": "Cl-aude"}, "invalid", "runtime", ("Cl-aude", "a-z")),
    "empty": ({"message": ""}, "invalid", "message", ("empty", "1 character to 256 KiB")),
    "missing": ({"message": None}, "invalid", "message", ("missing",)),
    "blank": ({"message": " \n\t "}, "invalid", "message", ("blank",)),
    "over the limit": ({"message": "x" * (LIMIT + 1)}, "too-large", "message", ("262,145", "262,144", "attach")),
    "over the limit in bytes": ({"message": "é" * (LIMIT // 2 + 1)}, "too-large", "message", ("262,146", "262,144")),
    "only control characters": ({"message": "\x00\x1b\x07\x9b"}, "invalid", "message", ("only control characters",)),
    "topic too long": ({"topic": "t" * 201}, "invalid", "topic", ("201", "200", "shorten")),
    "topic of two lines": ({"topic": "a\nb"}, "invalid", "topic", ("line break",)),
    "topic with controls": ({"topic": "a\x1b[2J"}, "invalid", "topic", ("control characters",)),
    "key too long": ({"idempotency_key": "k" * 201}, "invalid", "idempotency_key", ("201", "200")),
    "no message id": ({"reply_to": "yesterday"}, "invalid", "reply_to", ("yesterday", "not a message id")),
    "too long a wait": ({"wait_seconds": 121}, "invalid", "wait_seconds", ("121", "0 and 120")),
    "no number": ({"wait_seconds": float("nan")}, "invalid", "wait_seconds", ("nan", "0 and 120")),
    "for ever": ({"wait_seconds": float("inf")}, "invalid", "wait_seconds", ("inf", "0 and 120")),
    "a wait before now": ({"wait_seconds": -1}, "invalid", "wait_seconds", ("-1", "0 and 120")),
    "unknown argument": ({"mesage": "x"}, "invalid", "arguments", ("mesage", "send_to_peer", "personality")),
    "an argument of the command line": ({"from": "alice"}, "invalid", "arguments", ("from",)),
}
WRONG_TYPES: dict[str, tuple[object, ...]] = {
    "personality": (7, True, ["alice"], {"name": "alice"}),
    "message": (7, False, ["hello"], {"text": "hello"}),
    "runtime": (7, ["scripted"], {}),
    "topic": (7, ["a"], {"a": 1}),
    "attachments": ("/etc/hostname", 7, {"path": "/etc/hostname"}, [7], [None], [["/etc/hostname"]]),
    "reply_to": (7, ["m_"]),
    "idempotency_key": (7, ["k"]),
    "wait_seconds": ("20", True, [20], {}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_message_is_refused_on_every_transport(
    world: World, wires: dict[str, Wire], case: str, kind: str
) -> None:
    changes, code, field, says = REFUSED[case]
    with unchanged(world):
        answer = wires[kind].call("send_to_peer", TO_ALICE | changes)["result"]
    assert answer["isError"] is True
    structure = answer["structuredContent"]
    assert (structure["status"], structure["code"], structure.get("field")) == ("error", code, field)
    (content,) = answer["content"]
    assert content["text"] == structure["reason"]
    assert "\n" not in content["text"]
    assert len(content["text"]) < 400
    for text in says:
        assert text in content["text"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("field", WRONG_TYPES)
def test_wrong_types_are_refused_by_name(world: World, wires: dict[str, Wire], field: str, kind: str) -> None:
    with unchanged(world):
        for value in WRONG_TYPES[field]:
            structure = wires[kind].send(**TO_ALICE | {field: value})
            assert (structure["status"], structure["code"], structure["field"]) == ("error", "invalid", field), value


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("field", ["message", "topic", "personality", "idempotency_key"])
def test_a_lone_surrogate_is_refused(world: World, wires: dict[str, Wire], field: str, kind: str) -> None:
    with unchanged(world):
        answer = wires[kind].call("send_to_peer", TO_ALICE | {field: "half \ud83d of a pair"})
    if "error" in answer:
        text = answer["error"]["message"]
        assert answer["id"] is not None, answer
    else:
        assert answer["result"]["isError"] is True
        text = answer["result"]["content"][0]["text"]
    assert "surrogate" in text or field in text, text
    assert "\ud83d" not in text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arguments", [["alice", "hello"], "alice", 7, True])
def test_arguments_that_are_no_object_are_a_protocol_error(
    world: World, wires: dict[str, Wire], arguments: object, kind: str
) -> None:
    with unchanged(world):
        answer = wires[kind].call("send_to_peer", arguments)
    assert answer["error"]["code"] in (-32600, -32602), answer


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_tool_and_an_unknown_method_are_named(world: World, wires: dict[str, Wire], kind: str) -> None:
    with unchanged(world):
        tool = wires[kind].call("send_to_pear", TO_ALICE)["error"]
        assert (tool["code"], "send_to_pear" in tool["message"], "send_to_peer" in tool["message"]) == (
            -32602,
            True,
            True,
        )
        assert wires[kind].request("tools/destroy", {})["error"]["code"] == -32601


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("tool", "arguments", "field"),
    [
        ("list_peers", {"querry": "a"}, "arguments"),
        ("list_peers", {"query": 7}, "query"),
        ("list_peers", {"query": "q" * 201}, "query"),
        ("list_peers", {"live_only": "yes"}, "live_only"),
        ("list_peers", {"offset": -1}, "offset"),
        ("queue_status", {"name": "alice"}, "arguments"),
        ("queue_status", {"personality": 7}, "personality"),
        ("queue_status", {"message_id": "m" * 65}, "message_id"),
        ("queue_status", {"personality": "alice", "message_id": "m_1"}, "message_id"),
    ],
)
def test_the_other_tools_refuse_by_name(
    wires: dict[str, Wire], tool: str, arguments: dict[str, Any], field: str, kind: str
) -> None:
    structure = wires[kind].call(tool, arguments)["result"]["structuredContent"]
    assert (structure["status"], structure["code"], structure["field"]) == ("error", "invalid", field)


COMMANDS: dict[str, tuple[tuple[str, ...], int, tuple[str, ...]]] = {
    "unknown peer": (("alicia", "x"), 4, ("alicia", "did you mean alice?")),
    "self": (("bob", "x", "--from", "bob"), 4, ("you are bob",)),
    "stopped": (("dora", "x"), 4, ("dora is stopped", "peerwake start dora")),
    "undeclared runtime": (("alice", "x", "--runtime", "claude"), 4, ("claude", "scripted, command")),
    "empty": (("alice", ""), 4, ("message", "empty")),
    "only control characters": (("alice", "\x1b\x07"), 4, ("message", "only control characters")),
    "not UTF-8": (("alice", "half \udced\udca0\udcbd"), 4, ("message", "UTF-8")),
    "topic too long": (("alice", "x", "--topic", "t" * 201), 4, ("topic", "201", "200")),
    "no message id": (("alice", "x", "--reply-to", "yesterday"), 4, ("reply_to", "yesterday")),
    "unknown sender": (("alice", "x", "--from", "bab"), 4, ("bab", "bob")),
    "unknown option": (("alice", "x", "--topik", "t"), 2, ("--topik", "--help")),
    "no message": (("alice",), 2, ("no message",)),
    "no number": (("alice", "x", "--wait", "soon"), 2, ("--wait", "soon")),
    "no such number": (("alice", "x", "--wait", "nan"), 2, ("--wait", "nan", "120")),
    "too long a wait": (("alice", "x", "--wait", "121"), 2, ("--wait", "121", "120")),
    "no file": (("alice", "--file", "/nowhere/at/all"), 2, ("--file", "/nowhere/at/all")),
    "a directory": (("alice", "--file", "/tmp"), 2, ("--file", "/tmp")),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_a_bad_command_line_is_refused_with_its_exit_code(world: World, case: str) -> None:
    words, status, says = COMMANDS[case]
    with unchanged(world):
        refused(world.run("send", *words), status, *says)


@pytest.mark.parametrize("given", ["--file", "-"])
def test_text_over_the_limit_is_not_read_to_its_end(world: World, tmp_path: Path, given: str) -> None:
    text = tmp_path / "long"
    text.write_bytes(b"x" * (LIMIT + 1))
    words = ("--file", str(text)) if given == "--file" else ("-",)
    with unchanged(world):
        refused(world.run("send", "alice", *words, stdin=text.read_text()), 4, "message", "262144", "--attach")


def test_a_file_with_half_a_surrogate_pair_names_its_byte(world: World, tmp_path: Path) -> None:
    text = tmp_path / "odd"
    text.write_bytes(b"abc \xed\xa0\xbd def")
    with unchanged(world):
        refused(world.run("send", "alice", "--file", str(text)), 4, "message", "UTF-8", "byte 4")


def test_a_refusal_as_json_has_a_stable_code(world: World) -> None:
    done = world.run("send", "alicia", "x", "--json")
    assert done.returncode == 4
    document = json.loads(done.stdout)
    assert document["error"]["code"] == "unknown-peer"
    assert "alice" in document["error"]["message"]
    assert {"host", "tenant_id"} <= document.keys()


def test_a_reply_chain_over_the_bound_is_refused(world: World) -> None:
    before, sent, parent = len(stored(world)), 0, {}
    with Control(world.root) as control:
        while sent < 50:
            answer = control.call("send", personality="alice", message="again", wait_seconds=0, **parent)
            if not answer["ok"]:
                break
            parent, sent = {"reply_to": answer["result"]["message_id"]}, sent + 1
    assert answer["error"]["code"] == "hop-limit"
    assert "20" in answer["error"]["message"]
    assert len(stored(world)) == before + sent == before + 21


@pytest.mark.parametrize("kind", KINDS)
def test_after_all_of_this_every_transport_still_sends(world: World, wires: dict[str, Wire], kind: str) -> None:
    structure = wires[kind].send(personality="alice", message=f"a good one over {kind}", wait_seconds=0)
    assert structure["status"] in ("queued", "delivered")
    assert stored(world)[-1][0] == structure["message_id"]
