"""docs/lifecycle.md says what the code says: the same states, ends, reasons and actions, no other."""

import re
from enum import StrEnum
from pathlib import Path

import pytest

from lifecycle.decide import Action
from lifecycle.states import End, PeerState, StartReason

PAGE = (Path(__file__).parent.parent / "docs" / "lifecycle.md").read_text("utf-8")
EDGE = re.compile(r"^    (\S+) --> (\S+) : (.+)$", re.MULTILINE)


def section(title: str) -> str:
    return PAGE.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def edges() -> list[tuple[str, str, str]]:
    found = EDGE.findall(PAGE)
    assert len(found) > 20
    return found


def test_the_diagram_has_every_state_and_no_other() -> None:
    nodes = {node for before, after, _ in edges() for node in (before, after)} - {"[*]"}
    assert nodes == set(PeerState)


def test_every_state_can_be_reached_and_left() -> None:
    assert {after for _, after, _ in edges()} >= set(PeerState)
    assert {before for before, _, _ in edges()} >= set(PeerState)


def test_the_diagram_names_every_end() -> None:
    named = {
        word
        for _, _, label in edges()
        for words in re.findall(r"ended \(([^)]*)\)", label)
        for word in words.split(", ")
    }
    assert named == set(End)


@pytest.mark.parametrize(
    ("title", "column", "words"),
    [("Fresh or resume", -1, StartReason), ("How a session ends", 0, End), ("What is done about it", 0, Action)],
)
def test_the_tables_have_every_word(title: str, column: int, words: type[StrEnum]) -> None:
    rows = [line.strip("| ").split(" | ") for line in section(title).splitlines() if line.startswith("| ")]
    found = [match[1] for row in rows[2:] if (match := re.fullmatch(r"`([a-z-]+)`", row[column].strip()))]
    assert set(found) == set(words)
    assert len(found) == len(rows) - 2
