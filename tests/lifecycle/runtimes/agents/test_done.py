import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from lifecycle.runtimes.agents.done import tell_done, tell_new
from transport.paths import Root


def answer(root: Root, answers: list[bytes], asked: list[dict[str, Any]]) -> threading.Thread:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(root.server_socket))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        with listener, connection, connection.makefile("rwb") as lines:
            for each in answers:
                asked.append(json.loads(lines.readline()))
                lines.write(each + b"\n")
                lines.flush()

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def environment(root: Root) -> dict[str, str]:
    return {"PEERWAKE_HOME": str(root.home), "PEERWAKE_CREDENTIAL": "secret"}


def test_the_server_is_greeted_with_the_credential_and_told(root: Root) -> None:
    asked: list[dict[str, Any]] = []
    thread = answer(root, [b'{"ok": true}', b'{"ok": true, "result": {}}'], asked)
    assert tell_done(environment(root), "/w") == "told"
    thread.join()
    assert asked == [
        {"peerwake": 1, "role": "control", "credential": "secret", "cwd": "/w"},
        {"id": 1, "verb": "self-done", "args": {}},
    ]


def test_a_fresh_session_is_asked_for_with_its_seed(root: Root) -> None:
    asked: list[dict[str, Any]] = []
    thread = answer(root, [b'{"ok": true}', b'{"ok": true, "result": {}}'], asked)
    assert tell_new(environment(root), "/w", "go on") == "told"
    thread.join()
    assert asked[1] == {"id": 1, "verb": "self-new", "args": {"seed": "go on"}}


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([b'{"ok": false, "error": {"message": "not a session"}}'], "not a session"),
        ([b"[]"], "the server could not be told"),
        ([b"x"], "the server could not be told"),
        ([b'{"ok": true}'], "the server could not be told"),
    ],
)
def test_a_refusal_or_nonsense_is_said(root: Root, answers: list[bytes], said: str) -> None:
    thread = answer(root, answers, [])
    assert said in tell_done(environment(root), "/w")
    thread.join()


def test_without_a_server_or_a_root_it_says_so(root: Root, tmp_path: Path) -> None:
    assert "could not be told" in tell_done(environment(root), str(tmp_path))
    assert "not a session of peerwake" in tell_done({}, str(tmp_path))
