import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.runtimes.base import LaunchSpec, SessionFacts
from lifecycle.runtimes.command import (
    COMMAND,
    DIRECTORY,
    Program,
    load_program,
    locate,
    parse,
    program_path,
    save_program,
    status,
    with_program,
)
from lifecycle.runtimes.overrides import RuntimeInvalid
from lifecycle.runtimes.table import BUILT_IN, Table
from lifecycle.states import Mode
from tests.lifecycle.runtimes.conftest import Terminal
from transport.screen import read_screen, screen_of
from transport.vocabulary import Receipt, ScreenState

ID = "m_00000000000000000001"
TABLE = Table(BUILT_IN)


def state(text: str, program: Program, cursor: tuple[int, int] = (0, 0)) -> ScreenState:
    rules = with_program(COMMAND, program, Path("x")).screen
    return read_screen(screen_of(text, cursor=cursor), rules).state


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("peerwake: ready\n\n", ScreenState.READY),
        ("started\n\npeerwake: ready", ScreenState.READY),
        ("peerwake: ready\nworking\n", ScreenState.BUSY),
        ("peerwake: ready\n\n\n  indented\n", ScreenState.BUSY),
        ("peerwake: ready\nhello\npeerwake: ready\n", ScreenState.READY),
        ("starting\n", ScreenState.BUSY),
        ("$ \n", ScreenState.BUSY),
        ("peerwake: ready now", ScreenState.BUSY),
        (" peerwake: ready", ScreenState.BUSY),
        ("", ScreenState.UNKNOWN),
    ],
)
def test_a_program_is_ready_when_its_last_line_says_so(text: str, expected: ScreenState) -> None:
    assert state(text, Program(argv=("x",))) is expected


@pytest.mark.parametrize(
    ("text", "cursor", "expected"),
    [
        ("hello\nbot> \n\n", (5, 1), ScreenState.READY),
        ("bot> half a word", (16, 0), ScreenState.DRAFT),
        ("bot> \n$ \n", (2, 1), ScreenState.BUSY),
        ("bot> done\n", (0, 1), ScreenState.BUSY),
        ("other> \n", (7, 0), ScreenState.BUSY),
        ("", (0, 0), ScreenState.UNKNOWN),
    ],
)
def test_a_program_is_ready_at_its_prompt(text: str, cursor: tuple[int, int], expected: ScreenState) -> None:
    assert state(text, Program(argv=("x",), prompt="bot> "), cursor) is expected


def test_a_prompt_is_text_not_a_pattern() -> None:
    assert state("[a] $", Program(argv=("x",), prompt="[a] $"), (5, 0)) is ScreenState.READY


@pytest.mark.parametrize(
    ("line", "proof"),
    [
        (json.dumps({"received": ID}).encode(), (ID, Receipt.CONSUMED)),
        (json.dumps({"received": ID, "more": 1}).encode() + b"\n", (ID, Receipt.CONSUMED)),
        (f"{ID}\n".encode(), (ID, Receipt.CONSUMED)),
        (f"got {ID}".encode(), None),
        (json.dumps({"id": ID}).encode(), None),
        (json.dumps({"received": [ID]}).encode(), None),
        (b'{"received": "m_', None),
        (b"[]", None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_only_the_programs_own_word_is_evidence(line: bytes, proof: tuple[str, Receipt] | None) -> None:
    assert parse(line) == proof


WORDS = st.text(alphabet=st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)


@given(st.lists(WORDS, min_size=1, max_size=4), st.dictionaries(st.from_regex(r"[A-Z]{1,5}", fullmatch=True), WORDS))
def test_a_program_is_read_as_it_was_written(tmp_path_factory: Any, words: list[str], env: dict[str, str]) -> None:
    cwd = tmp_path_factory.mktemp("peer")
    program = Program(argv=tuple(words), env=env, prompt="» ", receipt_seconds=2.5)
    path = save_program(cwd, program)
    assert load_program(cwd) == program
    assert path.stat().st_mode & 0o777 == 0o600
    spec = LaunchSpec(Mode.FRESH, "s", cwd, Path("/h"), "/py")
    runtime = TABLE.for_peer("command", cwd)
    assert runtime.command(spec) == tuple(words)
    assert runtime.environment({}, spec) == env | {"PEERWAKE_TRANSCRIPT": str(cwd / DIRECTORY / "acknowledged.jsonl")}


@pytest.mark.parametrize(
    ("text", "field", "said"),
    [
        ("argv = []", "argv", "at least 1 item"),
        ("", "argv", "it is missing"),
        ("argv = 'x y'", "argv", "valid tuple"),
        ("argv = ['x']\nprompt = '  '", "prompt", "match pattern"),
        ("argv = ['x']\nprompt = \"a\\nb\"", "prompt", "match pattern"),
        ("argv = ['x']\npromt = 'x'", "promt", "there is no such field"),
        ("argv = ['x']\nreceipt_seconds = -1", "receipt_seconds", "greater than 0"),
        ("argv = [", "", "it is not TOML"),
        ("argv = ['x']\n[env]\n'A B' = 'x'", "env", "'A B' is not a variable"),
    ],
)
def test_a_broken_program_file_is_told(tmp_path: Path, text: str, field: str, said: str) -> None:
    path = program_path(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(RuntimeInvalid) as caught:
        TABLE.for_peer("command", tmp_path)
    assert caught.value.field == field
    assert said in caught.value.problem


def test_a_peer_without_a_program_is_told_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(
        RuntimeInvalid, match=r'command\.toml: there is none; write it with at least: argv = \["program"'
    ):
        TABLE.for_peer("command", tmp_path)


def test_other_runtimes_read_nothing_from_the_peer(tmp_path: Path) -> None:
    assert TABLE.for_peer("claude", tmp_path) is BUILT_IN["claude"]


def test_a_program_that_cannot_be_used_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(RuntimeInvalid):
        save_program(tmp_path, Program(argv=("x\0",)))
    assert not program_path(tmp_path).exists()


BOT = """
import json, os, subprocess, sys
print("peerwake: ready", flush=True)
message = ""
for line in sys.stdin:
    message += line
    if not line.startswith("</peer-message-"):
        continue
    if "shell" in message:
        subprocess.run(["bash", "--norc"])
    with open(os.environ["PEERWAKE_TRANSCRIPT"], "a") as file:
        file.write(json.dumps({"received": message.split('"')[1], "length": len(message)}) + "\\n")
    message = ""
    print("peerwake: ready", flush=True)
"""


def bot(terminal: Terminal) -> SessionFacts:
    (terminal.home / "bot.py").write_text(BOT)
    (terminal.home / DIRECTORY).mkdir(parents=True)
    spec = LaunchSpec(Mode.FRESH, "s", terminal.home, Path("/h"), "/py")
    runtime = with_program(COMMAND, Program(argv=(sys.executable, "bot.py")), Path("x"))
    env = runtime.environment({}, spec)
    terminal.start(*runtime.command(spec), env=env)
    waits(terminal, ScreenState.READY)
    return SessionFacts("s", terminal.home, time.time(), env, terminal.pid())


def waits(terminal: Terminal, wanted: ScreenState) -> None:
    terminal.until(lambda: read_screen(terminal.screen(), COMMAND.screen).state is wanted, f"state {wanted}")


def message(body: str) -> str:
    return f'<peer-message-abc123 id="{ID}" from="alice">\n{body}\n</peer-message-abc123>'


@pytest.mark.live
def test_a_program_takes_a_message_line_by_line_and_says_so(terminal: Terminal) -> None:
    facts = bot(terminal)
    assert status(facts) is ScreenState.READY
    assert locate(facts) is None
    text = message("\n".join("x" * 500 for _ in range(5)))
    terminal.paste(text)
    terminal.press("Enter")
    terminal.until(lambda: locate(facts), "acknowledgement")
    waits(terminal, ScreenState.READY)
    path = locate(facts)
    assert path is not None
    assert parse(path.read_bytes()) == (ID, Receipt.CONSUMED)
    assert json.loads(path.read_bytes())["length"] == len(text) + 1


@pytest.mark.live
def test_a_shell_in_front_of_the_program_gets_nothing(terminal: Terminal) -> None:
    facts = bot(terminal)
    terminal.paste(message("shell"))
    terminal.press("Enter")
    terminal.until(lambda: status(facts) is ScreenState.BUSY, "shell in the foreground")
    terminal.press("C-d")
    terminal.until(lambda: status(facts) is ScreenState.READY, "program in the foreground")


def test_a_program_that_has_ended_is_unknown() -> None:
    assert status(SessionFacts("s", Path("/"), 0.0, pane_pid=2**22 - 1)) is None
    assert status(SessionFacts("s", Path("/"), 0.0)) is None
