"""Which conversation a client is in, or was in when it ended: people leave one for another in the same session."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lifecycle.runtimes import claude, codex
from lifecycle.runtimes.base import SessionFacts
from transport.process import start_time

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="open files are seen in /proc only")
ONE, TWO, THREE = (f"0{number}a1f845-e083-7272-a8d8-a2d2c0755862" for number in (1, 2, 3))
NOW = time.time()
Hold = Callable[[Path], Path]


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Opens files in this very process, as a client does."""
    with ExitStack() as stack:

        def opened(path: Path) -> Path:
            stack.enter_context(path.open("rb"))
            return path

        yield opened


@pytest.fixture
def ended() -> int:
    """The id of a process that is no more."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert start_time(process.pid) is None
    return process.pid


def facts(tmp_path: Path, **fields: object) -> SessionFacts:
    cwd = tmp_path / "alice"
    cwd.mkdir(exist_ok=True)
    known: dict[str, object] = {"env": {"HOME": str(tmp_path)}, "pane_pid": os.getpid(), **fields}
    return SessionFacts(ONE, cwd, NOW - 60, **known)  # type: ignore[arg-type]


def rollout(tmp_path: Path, name: str, changed: float, source: str = "user") -> Path:
    moment = datetime.fromtimestamp(NOW)
    path = tmp_path / ".codex/sessions" / f"{moment:%Y/%m/%d}" / f"rollout-{moment:%Y-%m-%dT%H-%M-%S}-{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    begun = datetime.fromtimestamp(NOW, UTC).isoformat()
    payload = {"id": name, "timestamp": begun, "cwd": str(tmp_path / "alice"), "thread_source": source}
    path.write_text(json.dumps({"type": "session_meta", "payload": payload}) + "\n")
    os.utime(path, (changed, changed))
    return path


def lock(tmp_path: Path, name: str, changed: float) -> Path:
    path = tmp_path / ".codex/thread-writer-locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (changed, changed))
    return path


@LINUX
def test_codex_is_in_a_new_conversation_before_anything_is_said_there(tmp_path: Path, hold: Hold) -> None:
    hold(lock(tmp_path, ONE, NOW - 30))
    before = hold(rollout(tmp_path, ONE, NOW - 20))
    assert (codex.locate(facts(tmp_path)), codex.refer(facts(tmp_path))) == (before, ONE)
    hold(lock(tmp_path, TWO, NOW - 10))
    assert (codex.locate(facts(tmp_path)), codex.refer(facts(tmp_path))) == (None, TWO)
    assert codex.refer(facts(tmp_path, session_ref=ONE)) == TWO
    after = hold(rollout(tmp_path, TWO, NOW - 5))
    assert (codex.locate(facts(tmp_path)), codex.refer(facts(tmp_path))) == (after, TWO)
    os.utime(before, (NOW, NOW))
    assert codex.refer(facts(tmp_path)) == ONE


@LINUX
def test_codex_has_a_resumed_conversation_before_it_opens_the_rollout(tmp_path: Path, hold: Hold) -> None:
    hold(lock(tmp_path, ONE, NOW - 30))
    assert codex.locate(facts(tmp_path, session_ref=ONE)) is None
    stored = rollout(tmp_path, ONE, NOW - 90_000)
    assert codex.locate(facts(tmp_path, session_ref=ONE)) == stored


@LINUX
def test_nobody_talks_to_a_sub_agent_of_codex(tmp_path: Path, hold: Hold) -> None:
    main = hold(rollout(tmp_path, ONE, NOW - 20))
    hold(lock(tmp_path, TWO, NOW - 10))
    hold(rollout(tmp_path, TWO, NOW, source="subagent"))
    assert codex.locate(facts(tmp_path)) == main
    assert codex.locate(facts(tmp_path, pane_pid=None)) == main


def test_codex_that_has_ended_was_in_what_it_began_last(tmp_path: Path, ended: int) -> None:
    rollout(tmp_path, ONE, NOW - 20)
    assert codex.refer(facts(tmp_path, pane_pid=ended, session_ref=ONE)) == ONE
    last = rollout(tmp_path, TWO, NOW - 10)
    assert codex.locate(facts(tmp_path, pane_pid=ended, session_ref=ONE)) == last
    assert codex.refer(facts(tmp_path, pane_pid=ended, session_ref=ONE)) == TWO


def test_a_stored_conversation_of_codex_is_itself_or_nothing(tmp_path: Path) -> None:
    rollout(tmp_path, TWO, NOW)
    assert codex.locate(facts(tmp_path, pane_pid=None, session_ref=ONE)) is None
    stored = rollout(tmp_path, ONE, NOW - 50)
    assert codex.locate(facts(tmp_path, pane_pid=None, session_ref=ONE)) == stored


def status_file(tmp_path: Path, pid: int, conversation: str, changed: float) -> None:
    path = tmp_path / ".claude/sessions" / f"{pid}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"pid": pid, "procStart": "1", "sessionId": conversation, "status": "idle"}))
    os.utime(path, (changed, changed))


def transcript(tmp_path: Path, name: str, changed: float) -> Path:
    path = tmp_path / ".claude/projects" / claude.slug(tmp_path / "alice") / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (changed, changed))
    return path


@LINUX
def test_the_last_word_of_a_claude_that_was_killed_counts(tmp_path: Path, ended: int) -> None:
    known = facts(tmp_path, pane_pid=ended)
    status_file(tmp_path, ended, TWO, NOW - 90_000)
    assert claude.refer(known) == ONE
    status_file(tmp_path, ended, TWO, NOW)
    assert claude.refer(known) == TWO
    assert claude.status(known) is None


def test_a_claude_that_left_no_word_was_in_what_it_wrote_last(tmp_path: Path, ended: int) -> None:
    known = facts(tmp_path, pane_pid=ended)
    transcript(tmp_path, THREE, NOW - 90_000)
    assert claude.refer(known) == ONE
    transcript(tmp_path, ONE, NOW - 20)
    last = transcript(tmp_path, TWO, NOW - 10)
    assert (claude.refer(known), claude.locate(known)) == (TWO, last)
    assert claude.refer(facts(tmp_path, pane_pid=None, session_ref=THREE)) == THREE


def test_a_living_claude_without_a_status_file_is_where_it_was_started(tmp_path: Path) -> None:
    transcript(tmp_path, TWO, NOW)
    assert claude.refer(facts(tmp_path)) == ONE
