import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from lifecycle.runtimes.base import LaunchSpec, SessionFacts
from lifecycle.runtimes.claude import CLAUDE, READER, left, locate, refer, slug, status
from lifecycle.states import Mode
from transport.process import start_time
from transport.vocabulary import ScreenState

SESSION = "11111111-1111-4111-8111-111111111111"


def facts(tmp_path: Path, **fields: object) -> SessionFacts:
    cwd = tmp_path / "peers" / "al.ice"
    cwd.mkdir(parents=True, exist_ok=True)
    return SessionFacts(SESSION, cwd, 0.0, **{"env": {"HOME": str(tmp_path)}, "pane_pid": os.getpid(), **fields})


def says(directory: Path, **fields: object) -> None:
    mine = {"pid": os.getpid(), "procStart": start_time(os.getpid()), "sessionId": SESSION, **fields}
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{os.getpid()}.json").write_text(json.dumps(mine))


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("idle", ScreenState.READY),
        ("busy", ScreenState.BUSY),
        ("waiting", ScreenState.ASKS),
        ("dreaming", ScreenState.UNKNOWN),
    ],
)
def test_the_client_says_what_it_does(tmp_path: Path, word: str, state: ScreenState) -> None:
    says(tmp_path / ".claude" / "sessions", status=word)
    assert status(facts(tmp_path)) is state


@pytest.mark.parametrize("fields", [{"procStart": "1"}, {"pid": 1}, {"procStart": None}, {"pid": None}])
def test_what_another_process_said_does_not_count(tmp_path: Path, fields: dict[str, object]) -> None:
    says(tmp_path / ".claude" / "sessions", status="idle", **fields)
    assert status(facts(tmp_path)) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '"idle"', "null", "{}"])
def test_a_status_file_that_cannot_be_read_says_nothing(tmp_path: Path, text: str) -> None:
    says(tmp_path / ".claude" / "sessions", status="idle")
    (tmp_path / ".claude" / "sessions" / f"{os.getpid()}.json").write_text(text)
    assert status(facts(tmp_path)) is None
    assert refer(facts(tmp_path)) == SESSION


def test_without_a_status_file_nothing_is_said(tmp_path: Path) -> None:
    assert status(facts(tmp_path)) is None
    assert status(facts(tmp_path, pane_pid=None)) is None


def test_the_transcript_is_that_of_the_conversation_now(tmp_path: Path) -> None:
    known = facts(tmp_path)
    directory = tmp_path / ".claude" / "projects" / slug(known.cwd)
    assert locate(known) is None
    directory.mkdir(parents=True)
    first, second = directory / f"{SESSION}.jsonl", directory / "22222222-2222-4222-8222-222222222222.jsonl"
    first.touch()
    assert locate(known) == first
    second.touch()
    says(tmp_path / ".claude" / "sessions", status="idle", sessionId=second.stem)
    assert locate(known) == second
    assert refer(known) == second.stem
    assert left(known) == (first,)
    assert left(replace(known, session_ref=second.stem)) == (second,)


def test_a_transcript_under_a_shortened_name_is_found(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere" / "projects" / "long-name-1a2b3c" / f"{SESSION}.jsonl"
    path.parent.mkdir(parents=True)
    path.touch()
    assert locate(facts(tmp_path, env={"CLAUDE_CONFIG_DIR": str(tmp_path / "elsewhere")})) == path


def test_a_session_id_that_is_a_path_is_not_followed(tmp_path: Path) -> None:
    says(tmp_path / ".claude" / "sessions", status="idle", sessionId="../../secret")
    assert locate(facts(tmp_path)) is None


def test_a_resumed_conversation_is_referred_to_by_its_own_id(tmp_path: Path) -> None:
    assert refer(facts(tmp_path, session_ref="33333333-3333-4333-8333-333333333333")).startswith("3333")


def test_a_directory_that_is_a_link_to_itself_has_a_name(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert slug(loop / "below") == slug(loop) + "-below"
    assert locate(replace(facts(tmp_path), cwd=loop)) is None


def test_slugs() -> None:
    assert slug(Path("/srv/a_b/c.d e")) == "-srv-a-b-c-d-e"


def spec(mode: Mode, **fields: object) -> LaunchSpec:
    return LaunchSpec(mode, SESSION, Path("/p"), Path("/h"), "python", **fields)


def test_command_lines() -> None:
    assert CLAUDE.command(spec(Mode.FRESH)) == ("claude", "--session-id", SESSION)
    assert CLAUDE.command(spec(Mode.RESUME, session_ref="r")) == ("claude", "--resume", "r")
    words = CLAUDE.command(spec(Mode.FRESH, prompt_file=Path("/f")))
    assert words[-2:] == ("--append-system-prompt-file", "/f")
    assert not any("dangerously" in word for word in words)


def test_on_a_resume_the_prompt_is_read_anew_by_a_client_that_can() -> None:
    words = ("claude", "--resume", "r", "--append-system-prompt-file", "/f")
    given = {"session_ref": "r", "prompt_file": Path("/f")}
    assert CLAUDE.command(spec(Mode.RESUME, **given)) == (*words, "--system-prompt-snapshot", "off")
    assert CLAUDE.command(spec(Mode.RESUME, **given, is_prompt_renewable=False)) == words
    assert CLAUDE.command(spec(Mode.RESUME, **given, is_prompt_held=True))[:5] == words


@pytest.mark.parametrize("name", ["CLAUDECODE", "CLAUDE_CODE_SESSION_ID", "CLAUDE_CODE_MESSAGING_SOCKET"])
def test_a_session_of_the_operator_does_not_leak_into_a_peers(name: str) -> None:
    assert name not in CLAUDE.environment({name: "1"}, spec(Mode.FRESH))


@pytest.mark.parametrize("name", ["ANTHROPIC_API_KEY", "CLAUDE_CONFIG_DIR", "CLAUDE_CODE_USE_BEDROCK", "IS_SANDBOX"])
def test_what_a_user_chose_is_passed_on(name: str) -> None:
    assert CLAUDE.environment({name: "1"}, spec(Mode.FRESH))[name] == "1"


TRUST = """ Accessing workspace:

 /srv/peers/alice

 ❯ {first}
   {second}

 Enter to confirm · Esc to cancel"""


@pytest.mark.parametrize(
    ("first", "second", "keys", "answers"),
    [
        ("No, exit", "Yes, I trust this folder", ("Down",), False),
        ("Yes, I trust this folder", "No, exit", ("Enter",), True),
        ("1. Yes, I trust this folder", "2. No, exit", ("Enter",), True),
    ],
)
def test_the_trust_dialog_is_answered_by_its_text(first: str, second: str, keys: tuple[str], answers: bool) -> None:
    (trust,) = (dialog for dialog in CLAUDE.dialogs if dialog.name == "trust")
    step = trust.step(TRUST.format(first=first, second=second))
    assert step is not None
    assert (step.keys, step.answers) == (keys, answers)


@pytest.mark.parametrize(
    ("first", "second"),
    [("No, exit", "Yes, I trust this folder and its parents"), ("No, exit", "Yes"), ("Later", "Never")],
)
def test_options_nobody_knows_are_left_alone(first: str, second: str) -> None:
    text = TRUST.format(first=first, second=second)
    assert all(dialog.step(text) is None for dialog in CLAUDE.dialogs)


def test_another_mcp_server_is_not_approved() -> None:
    text = " New MCP server found in this project: {}\n\n ❯ Use this MCP server\n   Continue without it"
    assert all(dialog.step(text.format("other")) is None for dialog in CLAUDE.dialogs)
    assert any(dialog.step(text.format("peerwake")) for dialog in CLAUDE.dialogs)


def test_the_reader_says_that_it_has_a_status() -> None:
    assert READER.has_status


@pytest.mark.parametrize(
    "body",
    [
        "/tmp/a.png",
        "/tmp/a b.JPEG",
        "  /a.gif\t",
        "\u00a0\ufeff/a.webp",
        "'/tmp/a.jpg'",
        '  "/tmp/a.png" ',
        "\\/tmp/a.png",
        "/tmp/a.p\\ng",
        "/tmp/a\\.png",
        "C:\\a.png",
        "/a/b /c/d.png",
        "/c/d.png '/a/b'",
        "/c/d.png  /a/b",
        "first\n/tmp/a.png\nlast",
    ],
)
def test_a_line_of_paths_with_a_picture_is_rewritten_by_the_composer(body: str) -> None:
    assert not CLAUDE.form(8192).takes(body)


@pytest.mark.parametrize(
    "body",
    [
        *("see /tmp/a.png", "- /tmp/a.png", "attachment: /tmp/a.png", "| /tmp/a.png", "a.png", "/tmp/a.png.txt"),
        *("/tmp/apng", "/tmp/a.png is it", "~/a.png", "file:///tmp/a.png", "/quit", "/tmp/a.svg", "(/tmp/a.png)"),
    ],
)
def test_any_other_line_stands_as_it_is(body: str) -> None:
    assert CLAUDE.form(8192).takes(body)
