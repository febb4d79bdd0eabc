"""What a peer makes the operator's own terminal print: nothing of it may be a control sequence or forge a line."""

import json
import re
from collections.abc import Iterator

import pytest

from mcp_server.cli import tables
from mcp_server.cli.context import Context
from tests.contract.bad_input import private_world
from tests.live.keyboard import at_a_terminal
from tests.live.world import World, until
from transport.clock import SystemClock
from transport.logs import Log

EIGHT_BITS = "\x9b2J\x9d0;owned\x9c\x90q\x9c\x85"
SEVEN_BITS = "\x1b[2J\x1b]0;owned\x07\x1bc\r\x08\x7f"
BIDI = "\u202e\u2066\u200f\u061c\u2028"
HOSTILE = f"{EIGHT_BITS}{SEVEN_BITS}{BIDI}"
TEXT = {"\t", "\u200f", "\u061c"}
"""What stands in a prompt as in any text: marks of direction move nothing."""
OUR_COLOURS = re.compile(r"\x1b\[(?:[0-9;]*)m")
LINE = f"x{HOSTILE}\nts=2026-11-20T00:00:00+00:00 ev=consumed identity=scripted-bob forged=yes"
COMMANDS = (
    ("list",),
    ("list", "mallory"),
    ("queue",),
    ("queue", "mallory"),
    ("why", "mallory"),
    ("logs",),
    ("logs", "mallory"),
    ("doctor",),
    ("verify",),
    ("config",),
    ("prompt", "mallory"),
)


def unsafe(text: str) -> set[str]:
    """Return what a terminal would obey, of a text from which our own colours were taken."""
    return {char for char in OUR_COLOURS.sub("", text) if char not in "\n" and not char.isprintable()}


class Sink:
    """A stream that keeps what is written to it."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def isatty(self) -> bool:
        return False


def context() -> tuple[Context, Sink]:
    sink = Sink()
    return Context({}, sink, sink), sink  # type: ignore[arg-type]


def test_a_document_is_ascii_where_a_terminal_would_obey_and_the_same_for_programs() -> None:
    every = "".join(map(chr, (*range(0x300), *range(0x2000, 0x2100), 0xFEFF, 0x1F600)))
    where, sink = context()
    tables.document(where, {every: [every, {"b": HOSTILE}]})
    assert json.loads(sink.text) == {every: [every, {"b": HOSTILE}]}
    obeyed = set("\x1b\x7f\x9b\x9d\x90\x85\x07\x08\r\u2028") | set(BIDI) | set(map(chr, range(0x80, 0xA0)))
    assert not obeyed & set(sink.text)
    assert chr(0x1F600) in sink.text


def test_a_table_and_a_line_are_printable_whatever_they_hold() -> None:
    where, sink = context()
    every = "".join(map(chr, (*range(0x300), *range(0x2000, 0x2100), 0xFEFF, 0xE0041, 0xD800)))
    tables.table(where, ("A", "B"), [(every, every), (HOSTILE, LINE)])
    assert sink.text.count("\n") == 3
    assert not unsafe(sink.text)
    assert tables.escape(every).isprintable()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Mallory shows, says, logs and is called what it can; everything about it is looked at from outside."""
    with private_world() as world:
        rules = [{"match": "", "print": f"{HOSTILE}\r\n", "ask": f"run {EIGHT_BITS}{BIDI}{SEVEN_BITS}?"}]
        cwd = world.create("mallory", "--description", "does as it likes", rules=rules)
        for name in (f"a{HOSTILE}.md", f"b\n{EIGHT_BITS}<!-- x -->.md"):
            (cwd / ".peerwake" / name).write_text(f"# {HOSTILE}\n{LINE}\n")
        (cwd / ".peerwake" / "PEER.md").write_text(f"{HOSTILE}\n")
        (cwd / ".peerwake" / f"big{EIGHT_BITS}.md").write_text("x" * 60_000)
        (world.root.peers / f"x{EIGHT_BITS}{SEVEN_BITS}").mkdir()
        world.create("bob")
        world.serve()
        for _ in range(2):
            world.run("send", "mallory", f"go {LINE}", "--from", "bob", "--topic", "pay", "--wait", "0")
        until(lambda: world.state("mallory") == "blocked", 60, "the question of mallory")
        world.run("send", "mallory", LINE, "--topic", HOSTILE)
        Log(world.root.logs / "lifecycle.log", SystemClock()).write("odd", identity="scripted-mallory", reason=LINE)
        yield world


@pytest.mark.live
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_prints_what_the_operators_terminal_would_obey(world: World, command: tuple[str, ...]) -> None:
    plain, as_json = world.run(*command), world.run(*command, "--json")
    for text in (plain.stdout, plain.stderr, as_json.stdout, as_json.stderr):
        assert unsafe(text) <= (TEXT if command[0] == "prompt" else set())
    json.loads(as_json.stdout)
    assert "\n  ts=" not in plain.stdout


@pytest.mark.live
@pytest.mark.parametrize("command", [("list",), ("why", "mallory"), ("logs", "mallory")], ids=" ".join)
def test_nor_at_a_terminal_where_colours_are(world: World, command: tuple[str, ...]) -> None:
    with at_a_terminal(world, *command) as screen:
        until(lambda: screen.process.poll() is not None, 60, "its end")
        assert not unsafe(screen.shown.replace("\r\n", "\n"))
        assert "mallory" in screen.shown


@pytest.mark.live
def test_a_message_shown_to_the_operator_is_text(world: World) -> None:
    sent = world.json("send", "mallory", LINE, "--wait", "0")
    for words in (("queue", "show", sent["message_id"]), ("queue", "show", sent["message_id"], "--json")):
        assert not unsafe(world.run(*words).stdout)
    assert "  | x" in world.run("queue", "show", sent["message_id"]).stdout


@pytest.mark.live
def test_no_log_has_a_line_that_nobody_wrote(world: World) -> None:
    for name in ("lifecycle", "delivery", "exits"):
        text = world.log(name)
        assert not unsafe(text)
        assert not [line for line in text.splitlines() if "forged=yes" in line and " ev=odd " not in line]
        assert all(re.match(r"ts=\S+ ev=[a-z-]+ ", line) for line in text.splitlines())
    (line,) = [line for line in world.json("logs", "mallory")["lines"] if line["ev"] == "odd"]
    assert line["reason"] == LINE
    assert "forged" not in line
