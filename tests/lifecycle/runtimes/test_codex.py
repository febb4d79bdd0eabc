import json
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lifecycle.runtimes.base import LaunchSpec, SessionFacts
from lifecycle.runtimes.codex import CODEX, left, locate, refer, status
from lifecycle.states import Mode
from tests.lifecycle.runtimes.test_codex_records import TEXT, line, message
from transport.vocabulary import ScreenState

ONE, TWO = "01a1f845-e083-7272-a8d8-a2d2c0755862", "02a1f845-e083-7272-a8d8-a2d2c0755862"
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="open files are seen in /proc only")
NOW = 1_795_000_000.0


def facts(tmp_path: Path, **fields: object) -> SessionFacts:
    cwd = tmp_path / "alice"
    cwd.mkdir(exist_ok=True)
    return SessionFacts("s", cwd, NOW, **{"env": {"HOME": str(tmp_path)}, **fields})


def rollout(tmp_path: Path, name: str, begun: float = NOW + 1, cwd: str = "alice", home: str = ".codex") -> Path:
    """Write a rollout that was begun at `begun` (wall seconds) in a directory below `tmp_path`."""
    moment = datetime.fromtimestamp(begun)
    path = tmp_path / home / "sessions" / f"{moment:%Y/%m/%d}" / f"rollout-{moment:%Y-%m-%dT%H-%M-%S}-{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    written = datetime.fromtimestamp(begun, UTC).isoformat().replace("+00:00", "Z")
    path.write_bytes(line("session_meta", id=name, timestamp=written, cwd=str(tmp_path / cwd)) + b"\n")
    os.utime(path, (begun, begun))
    return path


def test_the_newest_rollout_of_the_directory_since_the_wake_is_taken(tmp_path: Path) -> None:
    assert locate(facts(tmp_path)) is None
    rollout(tmp_path, ONE, begun=NOW - 60)
    rollout(tmp_path, TWO, begun=NOW + 9, cwd="bob")
    assert locate(facts(tmp_path)) is None
    assert refer(facts(tmp_path)) is None
    first = rollout(tmp_path, ONE, begun=NOW + 1)
    second = rollout(tmp_path, TWO, begun=NOW + 90_000)
    assert locate(facts(tmp_path)) == second
    assert refer(facts(tmp_path)) == TWO
    second.unlink()
    assert locate(facts(tmp_path)) == first


def test_a_resumed_rollout_is_found_by_its_id(tmp_path: Path) -> None:
    old = rollout(tmp_path, ONE, begun=NOW - 900_000)
    assert locate(facts(tmp_path, session_ref=ONE)) == old
    assert refer(facts(tmp_path, session_ref=ONE)) == ONE
    assert locate(facts(tmp_path, session_ref="../../*")) is None


def test_codex_home_is_respected(tmp_path: Path) -> None:
    path = rollout(tmp_path, ONE, home="elsewhere")
    assert locate(facts(tmp_path, env={"CODEX_HOME": str(tmp_path / "elsewhere")})) == path


@pytest.mark.parametrize("text", ["", "{", '{"payload": 7}', '{"payload": {"timestamp": "x", "cwd": "/"}}'])
def test_a_rollout_that_cannot_be_read_is_passed_over(tmp_path: Path, text: str) -> None:
    rollout(tmp_path, ONE).write_text(text)
    assert locate(facts(tmp_path)) is None


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """A rollout of another directory that this very process holds open."""
    path = rollout(tmp_path, TWO, begun=NOW - 500, cwd="bob")
    with path.open("rb"):
        yield path


@LINUX
def test_the_rollout_that_the_process_holds_open_is_the_one(tmp_path: Path, held: Path) -> None:
    rollout(tmp_path, ONE, begun=NOW + 5)
    assert locate(facts(tmp_path, pane_pid=os.getpid())) == held
    assert refer(facts(tmp_path, pane_pid=os.getpid())) == TWO


@LINUX
def test_a_rollout_that_was_left_stays_held(tmp_path: Path, held: Path) -> None:
    now = rollout(tmp_path, ONE, begun=NOW + 5)
    with now.open("rb"):
        known = facts(tmp_path, pane_pid=os.getpid())
        assert locate(known) == now
        assert set(left(known)) == {held, now}


def event(kind: str, seconds_ago: float) -> bytes:
    moment = datetime.fromtimestamp(time.time() - seconds_ago, UTC).isoformat().replace("+00:00", "Z")
    text = json.dumps({"timestamp": moment, "type": "event_msg", "payload": {"type": kind}})
    return text.replace(": ", ":").encode() + b"\n"


STARTED, COMPLETE, ABORTED = "task_started", "task_complete", "turn_aborted"
UNDATED = b'{"type":"event_msg","payload":{"type":"task_started"}}\n'


@pytest.mark.parametrize(
    ("events", "rest", "state"),
    [
        ((), b"", ScreenState.READY),
        (((STARTED, 0.1),), b"", ScreenState.BUSY),
        (((STARTED, 0.1),), message("user", TEXT) + b"\n", ScreenState.BUSY),
        (((STARTED, 0.2), (COMPLETE, 0.1)), b"", ScreenState.READY),
        (((STARTED, 0.2), (ABORTED, 0.1)), b"", ScreenState.READY),
        (((STARTED, 0.3), (COMPLETE, 0.2), (STARTED, 0.1)), b"", ScreenState.BUSY),
        (((STARTED, 60),), b"", ScreenState.READY),
        ((), UNDATED, ScreenState.READY),
        (((STARTED, 0.1),), b"x" * 100_000, ScreenState.READY),
    ],
)
def test_a_turn_that_just_began_is_known_from_the_rollout(
    tmp_path: Path, events: tuple[tuple[str, float], ...], rest: bytes, state: ScreenState
) -> None:
    path = rollout(tmp_path, ONE)
    path.write_bytes(path.read_bytes() + b"".join(event(*each) for each in events) + rest)
    assert status(facts(tmp_path)) is state


def test_before_the_first_prompt_nothing_speaks_against_one(tmp_path: Path) -> None:
    assert status(facts(tmp_path)) is ScreenState.READY


@LINUX
@pytest.mark.parametrize(("seconds_ago", "state"), [(0.0, ScreenState.BUSY), (5.0, ScreenState.READY)])
def test_a_conversation_that_just_began_is_not_ready_yet(
    tmp_path: Path, seconds_ago: float, state: ScreenState
) -> None:
    lock = tmp_path / "thread-writer-locks" / f"{ONE}.lock"
    lock.parent.mkdir()
    with lock.open("w"):
        os.utime(lock, (time.time() - seconds_ago,) * 2)
        assert status(facts(tmp_path, pane_pid=os.getpid())) is state


def spec(mode: Mode, **fields: object) -> LaunchSpec:
    return LaunchSpec(mode, "s", Path("/p"), Path("/h"), "python", **fields)


def test_command_lines() -> None:
    assert CODEX.command(spec(Mode.FRESH)) == ("codex", "--no-daemon")
    resumed = CODEX.command(spec(Mode.RESUME, session_ref=ONE))
    assert resumed == ("codex", "resume", "--no-daemon", "-C", str(spec(Mode.RESUME).cwd), ONE)


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "CODEX_HOME"])
def test_what_a_user_chose_is_passed_on(name: str) -> None:
    assert CODEX.environment({name: "1"}, spec(Mode.FRESH))[name] == "1"


TRUST = "\n  Folder access\n  /p\n\n  Trust this folder? Codex can read it.\n\n› 1. {}\n  2. {}\n\n  enter continue"


def test_the_trust_dialog_is_answered_by_its_text() -> None:
    trust = CODEX.dialogs[0]
    first = trust.step(TRUST.format("Trust and continue", "Back"))
    second = trust.step(TRUST.format("Back", "Trust and continue"))
    assert first is not None and first.answers
    assert second is not None and second.keys == ("Down",)
    assert trust.step(TRUST.format("Trust everything", "Back")) is None


REVIEW = """
  Hooks need review
  {} hooks are new or changed.
  Hooks can run outside the sandbox after you trust them.

› 1. Review hooks
  2. Trust all and continue
  3. Continue without trusting (hooks won't run)

  enter confirm · esc skip"""


def test_of_unknown_hooks_only_ours_are_gone_without() -> None:
    hooks = CODEX.dialogs[1]
    step = hooks.step(REVIEW.format(8))
    assert step is not None and step.keys == ("Down",)
    assert hooks.step(REVIEW.format(9)) is None
    assert hooks.step(REVIEW.format(1).replace("hooks are", "hook is")) is None


def test_the_prompt_is_given_by_hooks_fresh_resumed_and_held() -> None:
    fresh = CODEX.command(spec(Mode.FRESH, prompt_file=Path("/f")))
    assert fresh[2:] == CODEX.prompt_argv
    resumed = CODEX.command(spec(Mode.RESUME, session_ref=ONE, prompt_file=Path("/f")))
    assert resumed[-4:] == fresh[2:]
    held = CODEX.command(spec(Mode.RESUME, session_ref=ONE, prompt_file=Path("/f"), is_prompt_held=True))
    assert '[{matcher="startup|clear|compact",hooks=[' in held[-3]


def test_it_takes_no_input_while_it_works() -> None:
    assert not CODEX.takes_input_while_busy
