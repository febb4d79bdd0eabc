"""The table itself, and the examples of docs/runtimes.md, which users copy."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

from lifecycle.runtimes.agents.rules import Script
from lifecycle.runtimes.base import SessionFacts
from lifecycle.runtimes.command import COMMAND, DIRECTORY, Program, load_program, program_path
from lifecycle.runtimes.table import BUILT_IN, READERS, Table, UnknownRuntime, load_table
from tests.lifecycle.runtimes.conftest import Terminal
from transport.screen import read_screen, screen_of
from transport.vocabulary import ScreenState

DOCS = Path(__file__).parents[3] / "docs" / "runtimes.md"


def example(heading: str, language: str) -> str:
    section = DOCS.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found
    return found[1]


def test_every_built_in_runtime_has_its_reader() -> None:
    assert {runtime.reader for runtime in BUILT_IN.values()} <= set(READERS)
    assert all(runtime.name == name for name, runtime in BUILT_IN.items())


def test_an_unknown_runtime_is_named_with_those_there_are() -> None:
    with pytest.raises(
        UnknownRuntime, match="there is no runtime 'gemini'; there are claude, codex, command, scripted"
    ):
        Table(BUILT_IN).get("gemini")


def test_the_newest_transcript_since_the_start_is_found(tmp_path: Path) -> None:
    path = tmp_path / "claude.toml"
    path.write_text('transcript_path = "{home}/sessions/*/*.jsonl"\n')
    table = load_table(tmp_path)
    reader = table.reader(table.get("claude"))
    facts = SessionFacts("s", tmp_path, 1000.0, {"HOME": str(tmp_path)})
    assert reader.parse is READERS["claude"].parse
    assert reader.locate(facts) is None
    for number, modified in enumerate((500, 1500, 1200)):
        path = tmp_path / "sessions" / str(number) / "t.jsonl"
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (modified, modified))
    assert reader.locate(facts) == tmp_path / "sessions/1/t.jsonl"
    assert reader.locate(SessionFacts("s", tmp_path, 2000.0, {"HOME": str(tmp_path)})) is None


def test_the_documented_override_is_read(tmp_path: Path) -> None:
    (tmp_path / "claude.toml").write_text(example("A client's screen has changed", "toml"))
    table = load_table(tmp_path)
    assert table.problems == ()
    assert "esc to (interrupt|stop)" in table.get("claude").screen.busy


def test_the_documented_client_is_read(tmp_path: Path) -> None:
    (tmp_path / "opencode.toml").write_text(example("Adding a client", "toml"))
    table = load_table(tmp_path)
    assert table.problems == ()
    rules = table.get("opencode").screen
    for text, column, state in [
        ("┃  Ask anything...\n┃\n┃  Build  model\n", 3, ScreenState.READY),
        ("┃  Ask anything...\n┃\n┃  Build  model\n", 18, ScreenState.DRAFT),
        ("┃  fix the\n┃\n┃  Build  model\n", 10, ScreenState.DRAFT),
        ("┃  Ask anything...\n┃\n┃  Build  model\n  esc interrupt\n", 3, ScreenState.BUSY),
    ]:
        assert read_screen(screen_of(text, cursor=(column, 0)), rules).state is state


def test_the_documented_program_file_is_read(tmp_path: Path) -> None:
    path = program_path(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(example("Any program: `command`", "toml"))
    assert load_program(tmp_path) == Program(argv=("python", "bot.py"))


def test_the_documented_rules_are_read() -> None:
    assert Script(example("The scripted agent", "json").encode()).problem == ""


@pytest.mark.live
def test_the_documented_program_takes_two_messages(terminal: Terminal) -> None:
    (terminal.home / "bot.py").write_text(example("Any program: `command`", "python"))
    path = terminal.home / DIRECTORY / "acknowledged.jsonl"
    path.parent.mkdir(parents=True)
    terminal.start(sys.executable, "bot.py", env={"PEERWAKE_TRANSCRIPT": str(path)})
    for number in (1, 2):
        terminal.until(lambda: read_screen(terminal.screen(), COMMAND.screen).state is ScreenState.READY, "readiness")
        terminal.paste(f'<peer-message-abc123 id="m_{number}" from="a">\nhello\n</peer-message-abc123>')
        terminal.press("Enter")
        terminal.until(lambda n=number: path.exists() and f"m_{n}" in path.read_text(), "acknowledgement")
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"received": "m_1"}, {"received": "m_2"}]
