"""docs/operations.md has a worked example of every command, with options that the command knows."""

import io
import re
from importlib import import_module
from pathlib import Path

import pytest

from mcp_server.cli.context import Context
from mcp_server.cli.main import COMMANDS
from mcp_server.cli.parser import HelpWanted

PAGE = (Path(__file__).parent.parent / "docs" / "operations.md").read_text("utf-8")
EXAMPLE = re.compile(r"^\$ .*?\bpeerwake ([a-z-]+)(.*)$", re.MULTILINE)


def examples() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for command, rest in EXAMPLE.findall(PAGE):
        found.setdefault(command, []).append(rest)
    return found


def test_every_command_has_an_example_and_no_other_word_does() -> None:
    assert set(examples()) == set(COMMANDS)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_the_options_of_the_examples_exist(command: str) -> None:
    context = Context({"PEERWAKE_HOME": "/nonexistent"}, io.StringIO(), io.StringIO())
    with pytest.raises(HelpWanted) as wanted:
        import_module(f"mcp_server.cli.commands.{COMMANDS[command][0]}").run(context, ["--help"])
    for rest in examples().get(command, []):
        words = re.sub(r'"[^"]*"', "", rest).split("|")[0].split(";")[0].split()
        for option in (word for word in words if word.startswith("-")):
            assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", wanted.value.text), (option, rest)
