import os
from pathlib import Path

from lifecycle.runtimes.base import LaunchSpec, SessionFacts
from lifecycle.runtimes.scripted import DIRECTORY, SCRIPTED, left, locate, refer
from lifecycle.states import Mode
from tests.lifecycle.runtimes.test_scripted_records import line


def transcript(cwd: Path, name: str, *records: bytes) -> Path:
    path = cwd / DIRECTORY / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(record + b"\n" for record in records))
    return path


def test_the_conversation_is_followed_over_clears(tmp_path: Path) -> None:
    facts = SessionFacts("a", tmp_path, 0.0)
    assert (locate(facts), refer(facts)) == (None, "a")
    transcript(tmp_path, "a", line("user", text="x" * 2000), line("cleared", next="b"))
    transcript(tmp_path, "b", line("cleared", next="c"))
    assert (locate(facts), refer(facts)) == (None, "c")
    last = transcript(tmp_path, "c", line("user", text="y"))
    assert (locate(facts), refer(facts)) == (last, "c")
    assert [path.stem for path in left(facts)] == ["a", "b"]


def test_a_resumed_conversation_is_the_one_it_was(tmp_path: Path) -> None:
    path = transcript(tmp_path, "old", line("user", text="x"))
    assert locate(SessionFacts("new", tmp_path, 0.0, session_ref="old")) == path


def test_a_circle_of_clears_ends(tmp_path: Path) -> None:
    transcript(tmp_path, "a", line("cleared", next="a"))
    assert refer(SessionFacts("a", tmp_path, 0.0)) is None


def test_the_agent_is_started_isolated_and_resumed_by_its_reference() -> None:
    spec = LaunchSpec(Mode.FRESH, "s", Path("/w"), Path("/h"), "/py", session_ref="r", prompt_file=Path("/p"))
    words = SCRIPTED.command(spec)
    assert words[:3] == ("/py", "-I", "-S")
    assert Path(words[3]).is_file()
    assert words[4:] == ("--session-id", "s", "--prompt-file", "/p")


def test_a_pipe_in_the_place_of_a_transcript_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / DIRECTORY).mkdir(parents=True)
    os.mkfifo(tmp_path / DIRECTORY / "s.jsonl")
    assert refer(SessionFacts("s", tmp_path, 0.0, {}, None, "s")) == "s"
