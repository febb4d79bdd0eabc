import json
from pathlib import Path
from typing import Any

import pytest

from lifecycle.runtimes.agents.agent import Agent
from lifecycle.runtimes.agents.envelope import Letter
from lifecycle.runtimes.agents.record import Transcript
from lifecycle.runtimes.agents.rules import FILE, Script, fill


def script(content: Any) -> Script:
    return Script(json.dumps(content).encode())


def test_without_a_file_there_are_no_rules() -> None:
    assert Script().find("anything", {}) == ({}, {})
    assert not Script().problem


def test_the_first_rule_that_matches_is_taken() -> None:
    made = script([{"match": "^b", "say": "b"}, {"say": "all"}])
    assert made.find("ab", {})[0] == {"say": "all"}
    assert made.find("ba", {})[0]["say"] == "b"


def test_a_rule_is_taken_so_many_times() -> None:
    made, used = script([{"say": "once", "times": 1}, {"say": "then"}]), {}
    assert [made.find("x", used)[0]["say"] for _ in range(3)] == ["once", "then", "then"]


def test_groups_and_attributes_fill_a_template() -> None:
    _, groups = script([{"match": r"(\d+) (?P<what>\w+)"}]).find("take 3 apples\nnow", {})
    letter = Letter("B", {"from": "alice", "reply-to": "m_0"}, [])
    assert (
        fill("{from}: {1} {what} {body} {reply-to} {unknown} {{x}}", letter, groups)
        == "alice: 3 apples B m_0 {unknown} {{x}}"
    )


def test_what_was_filled_in_is_not_filled_again() -> None:
    assert fill("{body}", Letter("{from}", {"from": "alice"}, []), {}) == "{from}"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "scripted.json: Expecting property name"),
        ('[{"mach": "x"}]', "unknown field rules[0].mach"),
        ('{"boot": {"second": 1}}', "unknown field boot.second"),
        ('[{"match": "("}]', "rules[0].match: missing ), unterminated subpattern"),
        ("[1]", "scripted.json: "),
        ("7", "scripted.json: "),
        ('"x"', "scripted.json: "),
    ],
)
def test_a_bad_file_is_told_and_gives_no_rules(content: str, problem: str) -> None:
    made = Script(content.encode())
    assert problem in made.problem
    assert made.rules == []


def test_boot_and_rules_in_one_object() -> None:
    made = script({"boot": {"trust": True}, "mcp": "off", "queue_while_busy": False, "rules": [{"say": "x"}]})
    assert made.boot["trust"]
    assert made.boot["seconds"] == 0
    assert (made.mcp, made.queue_while_busy, made.rules) == ("off", False, [{"say": "x"}])


def test_a_prompt_that_can_be_seen_in_the_transcript_has_its_rules_already(tmp_path: Path) -> None:
    """Whoever waits for it there may write the rules for the next one at once."""
    script = tmp_path / FILE
    script.write_text('[{"say": "by the old ones"}]')

    class Watched(Transcript):
        def write(self, kind: str, **fields: object) -> bool:
            is_written = super().write(kind, **fields)
            if kind == "user":
                script.write_text('[{"say": "by the new ones"}]')
            return is_written

    transcript = Watched(str(tmp_path / "transcripts"), "s1", {})
    Agent(transcript, str(tmp_path))._accept("hello")
    transcript.close()
    records = [json.loads(line) for line in Path(transcript.path).read_text().splitlines()]
    assert [record["text"] for record in records if "text" in record] == ["hello", "by the old ones"]
