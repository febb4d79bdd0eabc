"""The operator's environment, kept for servers that a session starts."""

import json
from pathlib import Path

import pytest

from lifecycle.operator_env import FILE, operator_environment
from transport.paths import Root

OPERATOR = {"HOME": "/home/me", "PATH": "/usr/bin", "LC_ALL": "C", "OPENAI_API_KEY": "secret"}
SESSION = {"HOME": "/tmp/peer", "PATH": "/tmp/bin", "PEER_IDENTITY": "scripted-alice", "EXTRA": "1"}


def test_a_server_in_a_session_takes_the_operators_common_part(root: Root) -> None:
    assert operator_environment(root, OPERATOR) == OPERATOR
    found = operator_environment(root, SESSION)
    assert found == {
        "HOME": "/home/me",
        "PATH": "/usr/bin",
        "LC_ALL": "C",
        "PEER_IDENTITY": "scripted-alice",
        "EXTRA": "1",
    }


def test_no_secret_is_written_and_nobody_else_reads_it(root: Root) -> None:
    operator_environment(root, OPERATOR)
    path = root.state / FILE
    assert set(json.loads(path.read_text())) == {"HOME", "PATH", "LC_ALL"}
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [None, b"{", b"[]", b"null", b"\xff", b'"x"'])
def test_without_a_usable_file_the_session_keeps_its_own(root: Root, content: bytes | None) -> None:
    if content is not None:
        (root.state / FILE).write_bytes(content)
    assert operator_environment(root, SESSION) == SESSION


def test_a_full_disk_keeps_no_server_from_starting(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("transport.files.replace", full)
    assert operator_environment(root, OPERATOR) == OPERATOR


def test_a_server_that_a_sessions_bridge_started_changes_nothing(root: Root) -> None:
    operator_environment(root, OPERATOR)
    kept = (root.state / FILE).read_text()
    found = operator_environment(root, {"HOME": "/tmp/peer", "PATH": "/tmp/bin", "PEERWAKE_FROM_SESSION": "1"})
    assert (found["HOME"], found["PATH"]) == ("/home/me", "/usr/bin")
    assert (root.state / FILE).read_text() == kept
