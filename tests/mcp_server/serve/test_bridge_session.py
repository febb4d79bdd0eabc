"""What a bridge remembers of its client, and what it says for a server that is not there."""

import json
from typing import Any

import pytest

from mcp_server.serve.bridge_session import (
    INVALID_REQUEST,
    LINE_BYTES,
    PARSE_ERROR,
    REPLAY_ID,
    Session,
    key_of,
    marked,
)
from tests.mcp_server.client_lines import INITIALIZE, INITIALIZED, PING, call

CANCELLED = {"jsonrpc": "2.0", "method": "notifications/cancelled"}


def said(*values: Any) -> Session:
    """Return what is known after a client has said these things."""
    session = Session()
    for value in values:
        session.from_client(json.dumps(value).encode())
    return session


def ids(lines: bytes) -> list[object]:
    """Return the ids of these messages, the methods of those without one."""
    return [one.get("id", one.get("method")) for one in map(json.loads, lines.splitlines())]


def test_a_call_is_marked_once_and_the_same_at_every_sending() -> None:
    session = Session()
    line, back = session.from_client(json.dumps(call(1)).encode())
    assert back == b""
    mark = json.loads(line)["params"]["_meta"]["peerwake/request"]
    assert len(mark) == 24
    assert session.replay() == line
    other, _ = session.from_client(json.dumps(call(2)).encode())
    assert json.loads(other)["params"]["_meta"]["peerwake/request"] != mark
    own = call(3)
    own["params"]["_meta"] = {"peerwake/request": "mine", "progressToken": 4}
    line, _ = session.from_client(json.dumps(own).encode())
    assert json.loads(line) == own


def test_only_what_is_unanswered_is_sent_again_after_the_handshake() -> None:
    session = Session()
    for value in (INITIALIZE, INITIALIZED, PING, PING | {"id": "other"}):
        session.from_client(json.dumps(value).encode())
    session.from_server(json.dumps({"jsonrpc": "2.0", "id": 0, "result": {}}).encode())
    session.from_server(json.dumps({"jsonrpc": "2.0", "id": "ping", "result": {}}).encode())
    replayed = [json.loads(line) for line in session.replay().splitlines()]
    assert [one.get("id", one["method"]) for one in replayed] == [
        REPLAY_ID,
        "notifications/initialized",
        "other",
    ]
    answer = json.dumps({"jsonrpc": "2.0", "id": REPLAY_ID, "result": {}}).encode()
    assert session.from_server(answer) == b""
    assert session.from_server(answer) != b""


def test_an_unanswered_handshake_is_sent_again_as_it_was() -> None:
    session = Session()
    session.from_client(json.dumps(INITIALIZE).encode())
    assert [json.loads(line) for line in session.replay().splitlines()] == [INITIALIZE]


def test_ids_of_different_types_are_different_requests() -> None:
    session = Session()
    session.from_client(json.dumps(PING | {"id": 1}).encode())
    session.from_client(json.dumps(PING | {"id": "1"}).encode())
    session.from_server(b'{"jsonrpc": "2.0", "id": "1", "result": {}}')
    assert list(session.pending) == [key_of(1)]
    told = [json.loads(line) for line in session.give_up("gone").splitlines()]
    assert [(one["id"], one["error"]["message"]) for one in told] == [(1, "gone")]
    assert (session.pending, session.pending_bytes) == ({}, 0)


def test_two_calls_with_one_id_are_two_calls() -> None:
    session = Session()
    answer = b'{"jsonrpc": "2.0", "id": 1, "result": {}}'
    lines = [session.from_client(json.dumps(call(1, message=text)).encode())[0] for text in ("a", "b")]
    assert session.replay() == b"".join(lines)
    assert session.pending_bytes == sum(map(len, lines))
    session.from_server(answer)
    assert session.replay() == lines[1]
    session.from_server(answer)
    assert (session.pending, session.pending_bytes) == ({}, 0)
    for text in ("a", "b"):
        session.from_client(json.dumps(call(1, message=text)).encode())
    assert [json.loads(line)["id"] for line in session.give_up("gone").splitlines()] == [1, 1]
    assert (session.pending, session.pending_bytes) == ({}, 0)


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":%s}}',
        b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"x":%s}}',
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%s}}',
        b'{"jsonrpc":"2.0","result":{},"id":%s}',
    ],
)
def test_no_depth_of_nesting_ends_it(line: bytes) -> None:
    """There are depths that can be read and not be written."""
    for depth in range(1, 1100):
        session = Session()
        session.from_client(json.dumps(INITIALIZE).encode())
        session.from_server(b'{"jsonrpc": "2.0", "id": 0, "result": {}}')
        nested = line % (b"[" * depth + b"]" * depth)
        session.from_client(nested)
        session.from_server(nested)
        session.from_server(b'{"jsonrpc": "2.0", "id": 1, "result": {}}')
        session.replay()


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{", PARSE_ERROR),
        (b"\xff", PARSE_ERROR),
        (b"[" * 100_000, PARSE_ERROR),
        (b"[]", INVALID_REQUEST),
        (b'"ping"', INVALID_REQUEST),
    ],
)
def test_a_line_that_is_no_message_is_answered_at_once_and_sent_nowhere(line: bytes, code: int) -> None:
    session = Session()
    sent, back = session.from_client(line)
    answer = json.loads(back)
    assert (sent, answer["id"], answer["error"]["code"]) == (b"", None, code)
    assert session.replay() == b""


@pytest.mark.parametrize(("message", "request_id"), [(PING, "ping"), (INITIALIZED, None), (PING | {"id": True}, None)])
def test_a_message_that_is_too_long_is_refused_and_not_remembered(message: dict[str, Any], request_id: object) -> None:
    session = Session()
    short = json.dumps(message | {"params": {"x": ""}}).encode()
    room = LINE_BYTES - len(short)
    sent, back = session.from_client(json.dumps(message | {"params": {"x": "x" * room}}).encode())
    answer = json.loads(back)
    assert (sent, answer["id"], answer["error"]["code"]) == (b"", request_id, INVALID_REQUEST)
    assert session.pending == {}
    sent, back = session.from_client(json.dumps(message | {"params": {"x": "x" * (room - 1)}}).encode())
    assert (len(sent), back) == (LINE_BYTES, b"")


def test_a_cancelled_request_is_not_sent_again_however_often_its_id_was_used() -> None:
    session = said(PING, PING, PING | {"id": "other"})
    line = json.dumps(CANCELLED | {"params": {"requestId": "ping"}}).encode()
    assert session.from_client(line) == (line + b"\n", b"")
    assert ids(session.replay()) == ["other"]
    assert session.pending_bytes == len(session.replay())


@pytest.mark.parametrize("rest", [{}, {"params": []}, {"params": {}}, {"params": {"requestId": "unheard-of"}}])
def test_a_cancellation_of_nothing_goes_to_the_server_and_forgets_nothing(rest: dict[str, Any]) -> None:
    session = said(PING)
    line = json.dumps(CANCELLED | rest).encode()
    assert session.from_client(line) == (line + b"\n", b"")
    assert ids(session.replay()) == ["ping"]


def test_a_notification_is_passed_on_and_not_kept() -> None:
    line = b'{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}'
    session = Session()
    assert session.from_client(line) == (line + b"\n", b"")
    assert session.replay() == b""


@pytest.mark.parametrize(
    ("line", "passed"),
    [
        (b"{", b""),
        (b"[" * 100_000, b""),
        (b"[]", b"[]\n"),
        (b'{"jsonrpc":"2.0","method":"ping","id":"ping"}', b'{"jsonrpc":"2.0","method":"ping","id":"ping"}\n'),
        (b'{"jsonrpc":"2.0","result":{},"id":"unasked"}', b'{"jsonrpc":"2.0","result":{},"id":"unasked"}\n'),
        (b'{"jsonrpc":"2.0","result":{},"id":null}', b'{"jsonrpc":"2.0","result":{},"id":null}\n'),
    ],
)
def test_what_answers_no_request_is_passed_to_the_client_and_ends_no_wait(line: bytes, passed: bytes) -> None:
    session = said(PING)
    assert session.from_server(line) == passed
    assert ids(session.replay()) == ["ping"]


def test_a_handshake_that_was_refused_is_not_repeated_to_the_next_server() -> None:
    session = said(INITIALIZE)
    session.from_server(b'{"jsonrpc": "2.0", "id": 0, "error": {"code": 1, "message": "no"}}')
    assert session.replay() == b""


@pytest.mark.parametrize("params", [None, [], "x", {"_meta": 7}, {"_meta": {"peerwake/request": None}}])
def test_a_call_that_cannot_be_marked_or_is_marked_stays_as_it_is(params: object) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"} | ({} if params is None else {"params": params})
    line = json.dumps(message).encode()
    assert marked(json.loads(line), line) is line


@pytest.mark.parametrize(("text", "written"), [("grüße", "grüße".encode()), ("\ud800", rb"\ud800")])
def test_a_marked_call_says_what_it_said(text: str, written: bytes) -> None:
    message = call(1, message=text)
    line = marked(message, b"")
    assert written in line
    assert json.loads(line) == message
    assert len(message["params"]["_meta"]["peerwake/request"]) == 24


@pytest.mark.parametrize(("request_id", "key"), [(1, "1"), ("1", '"1"'), (None, ""), ([], ""), (1.5, "")])
def test_a_key_is_an_id_as_it_is_written(request_id: object, key: str) -> None:
    assert key_of(request_id) == key
