"""Options and words in any order, `--`, and help that always wins."""

import pytest

from mcp_server.cli.commands import send
from mcp_server.cli.failures import BadUsage
from mcp_server.cli.parser import HelpWanted, Parser


@pytest.mark.parametrize(
    ("argv", "name", "message", "topic"),
    [
        (["bob", "hi"], "bob", "hi", None),
        (["bob", "--topic", "t", "hi"], "bob", "hi", "t"),
        (["--topic=t", "bob", "hi"], "bob", "hi", "t"),
        (["bob", "hi", "--topic", "t"], "bob", "hi", "t"),
        (["bob", "--", "-h"], "bob", "-h", None),
        (["bob", "--topic", "t", "--", "--help"], "bob", "--help", "t"),
        (["--", "bob", "--"], "bob", "--", None),
        (["bob", "-"], "bob", "-", None),
        (["bob", "-5"], "bob", "-5", None),
        (["bob", "- a list"], "bob", "- a list", None),
        (["bob", ""], "bob", "", None),
        (["bob", "--topic=-h", "x"], "bob", "x", "-h"),
        (["bob"], "bob", None, None),
    ],
)
def test_words_and_options_may_stand_in_any_order(argv, name, message, topic) -> None:
    given = send.parser().read(argv)
    assert (given.name, given.message, given.topic) == (name, message, topic)


@pytest.mark.parametrize(
    "argv",
    [
        ["-h"],
        ["-h", "bob", "hi"],
        ["bob", "hi", "--help"],
        ["--wait", "x", "--nonsense", "-h"],
        ["bob", "-h", "--", "x"],
    ],
)
def test_help_anywhere_wins(argv) -> None:
    with pytest.raises(HelpWanted) as wanted:
        send.parser().read(argv)
    assert wanted.value.text.startswith("usage: peerwake send [OPTIONS] NAME [MESSAGE]\n")
    assert "  --topic T " in wanted.value.text


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        ([], "NAME is missing"),
        (["bob", "hi", "there"], "one word too many: 'there'"),
        (["bob", "hi", "--nonsense"], "unknown option '--nonsense'"),
        (["bob", "hi", "--top", "t"], "unknown option '--top'"),
        (["bob", "hi", "-x"], "unknown option '-x'"),
        (["bob", "hi", "--wait", "soon"], "argument --wait: invalid float value: 'soon'"),
        (["bob", "hi", "--topic"], "argument --topic: expected one argument"),
    ],
)
def test_bad_usage_names_what_is_wrong(argv, problem) -> None:
    with pytest.raises(BadUsage) as bad:
        send.parser().read(argv)
    assert problem in str(bad.value)
    assert "peerwake send --help" in str(bad.value)


def test_what_follows_the_dashes_can_be_kept_apart() -> None:
    line = Parser("create", "x", after="program")
    line.word("name", "x")
    given = line.read(["bob", "--", "prog", "-h", "--", "y"])
    assert given.name == "bob"
    assert given.program == ["prog", "-h", "--", "y"]


def test_many_takes_all_that_follow() -> None:
    line = Parser("stop", "x")
    line.word("names", "x", needed=False, many=True)
    assert line.read(["a", "b"]).names == ["a", "b"]
    assert line.read([]).names == []
