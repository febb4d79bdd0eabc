"""The scripted agent in a real terminal."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lifecycle.runtimes.base import SessionFacts
from lifecycle.runtimes.scripted import DIRECTORY, SCRIPTED, locate, refer
from lifecycle.runtimes.scripted_records import parse
from tests.lifecycle.runtimes.conftest import AGENT, Terminal
from transport.screen import Shown, compare, read_screen
from transport.vocabulary import Receipt, ScreenState

pytestmark = pytest.mark.live

ENVELOPE = (
    '<peer-message-abc123 id="m_{number:020d}" from="alice" runtime="claude" intelligence="artificial"'
    ' at="2026-11-20T08:04:46+00:00">\n{body}\n</peer-message-abc123>'
)
NUMBER = 1
SIGNALLED = """
import os, runpy, select, signal, sys
look = select.select
def looked(*given):
    found = look(*given)
    if 0 in found[0]:
        select.select = look
        os.kill(os.getpid(), signal.SIGUSR1)
    return found
select.select = looked
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""The agent, which gets a signal when it has found the first input and has not read it yet."""


def envelope(body: str, number: int = NUMBER) -> str:
    return ENVELOPE.format(number=number, body=body)


def message_id(number: int = NUMBER) -> str:
    return f"m_{number:020d}"


def write_script(terminal: Terminal, content: Any) -> None:
    (terminal.home / "scripted.json").write_text(json.dumps(content))


def records(terminal: Terminal, session: str = "s1") -> list[dict[str, Any]]:
    path = terminal.home / DIRECTORY / f"{session}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def texts(terminal: Terminal, kind: str) -> list[str]:
    return [record["text"] for record in records(terminal) if record["type"] == kind]


def state(terminal: Terminal) -> ScreenState:
    return read_screen(terminal.screen(), SCRIPTED.screen).state


def shows(terminal: Terminal, wanted: ScreenState) -> None:
    terminal.until(lambda: state(terminal) is wanted, f"state {wanted}")


def start(terminal: Terminal, script: Any = None, *words: str, **options: Any) -> None:
    if script is not None:
        write_script(terminal, script)
    terminal.start_agent("--session-id", "s1", *words, **options)


def ready(terminal: Terminal, script: Any = None, *words: str, **options: Any) -> None:
    start(terminal, script, *words, **options)
    shows(terminal, ScreenState.READY)


def proofs(terminal: Terminal) -> list[tuple[str, Receipt]]:
    lines = (terminal.home / DIRECTORY / "s1.jsonl").read_bytes().splitlines()
    return [proof for proof in map(parse, lines) if proof]


def test_a_message_is_pasted_submitted_recorded_and_answered(terminal: Terminal) -> None:
    ready(terminal, [{"match": r"hello (?P<who>\w+)", "say": "hi {who}, this was {id} from {from}"}])
    text = envelope("hello bob\n\twith a tab, «é» 日本 and $(x) #{y}")
    terminal.paste(text)
    terminal.sees("</peer-message-abc123>")
    reading = read_screen(terminal.screen(), SCRIPTED.screen)
    assert compare(reading, text, SCRIPTED.screen) is Shown.OURS
    assert records(terminal) == []
    terminal.press("Enter")
    terminal.sees(f"● hi bob, this was {message_id()} from alice")
    shows(terminal, ScreenState.READY)
    assert texts(terminal, "user") == [text]
    assert proofs(terminal) == [(message_id(), Receipt.CONSUMED)]


def test_a_prompt_that_cannot_be_written_down_is_not_done(terminal: Terminal) -> None:
    """Else it would be done twice: nobody could tell that it was taken."""
    ready(terminal, [{"match": "hello", "say": "hi"}])
    path = terminal.home / DIRECTORY / "s1.jsonl"
    path.mkdir(parents=True)
    terminal.paste(envelope("hello"))
    terminal.sees("</peer-message-abc123>")
    terminal.press("Enter")
    terminal.sees("the transcript cannot be written: Is a directory")
    shows(terminal, ScreenState.READY)
    assert not any("hi" in line for line in terminal.screen().lines if line.startswith("●"))
    path.rmdir()
    terminal.paste(envelope("hello again", 2))
    terminal.sees("hello again")
    terminal.press("Enter")
    terminal.sees("● hi")
    assert proofs(terminal) == [(message_id(2), Receipt.CONSUMED)]


@pytest.mark.parametrize("columns", [40, 100, 203])
def test_a_draft_is_read_as_ours_at_any_width(terminal: Terminal, columns: int) -> None:
    ready(terminal, columns=columns)
    text = envelope("a word " * 60 + "\n\n  indented\n" + "x" * 150 + "\n日本語" * 5)
    terminal.paste(text)
    terminal.until(
        lambda: compare(read_screen(terminal.screen(), SCRIPTED.screen), text, SCRIPTED.screen) is Shown.OURS,
        "draft that is ours",
    )


def test_a_long_paste_is_collapsed_and_arrives_whole(terminal: Terminal) -> None:
    ready(terminal)
    text = envelope("\n".join(f"line {number}: {'x' * 60}" for number in range(1000)))
    terminal.paste(text)
    terminal.sees("[Pasted text #1 +1001 lines]")
    reading = read_screen(terminal.screen(), SCRIPTED.screen)
    assert compare(reading, text, SCRIPTED.screen, counted=True) is Shown.COLLAPSED
    terminal.press("Enter")
    terminal.sees("● ok")
    assert texts(terminal, "user") == [text]


def test_typing_is_a_draft_until_it_is_submitted_or_cleared(terminal: Terminal) -> None:
    ready(terminal)
    terminal.type("helpx")
    shows(terminal, ScreenState.DRAFT)
    terminal.press("BSpace")
    terminal.sees("»\u00a0help\n")
    terminal.press("C-u")
    shows(terminal, ScreenState.READY)
    terminal.type("!ls")
    shows(terminal, ScreenState.DRAFT)
    terminal.press("C-u")
    shows(terminal, ScreenState.READY)
    assert records(terminal) == []


def test_lines_without_bracketed_paste_are_one_prompt_each(terminal: Terminal) -> None:
    ready(terminal)
    terminal.tmux("load-buffer", "-b", "b", "-", ";", "paste-buffer", "-r", "-d", "-b", "b", stdin="one\ntwo\nthree")
    terminal.sees("»\u00a0three")
    assert texts(terminal, "user") == ["one", "two"]


def test_input_during_work_is_queued_and_taken_in_order(terminal: Terminal) -> None:
    ready(terminal, [{"match": "slow", "busy_seconds": 5.0, "say": "slow done"}, {"say": "did {body}"}])
    terminal.submit("slow")
    shows(terminal, ScreenState.BUSY)
    terminal.submit(envelope("first", 1))
    terminal.until(lambda: proofs(terminal), "evidence of queueing")
    terminal.submit(envelope("second", 2))
    terminal.sees("● did second")
    queued, consumed = Receipt.INJECTED, Receipt.CONSUMED
    assert sorted(proofs(terminal)) == sorted(
        (message_id(number), receipt) for number in (1, 2) for receipt in (queued, consumed)
    )
    assert texts(terminal, "assistant") == ["slow done", "did first", "did second"]


def test_without_a_queue_enter_is_ignored_during_work(terminal: Terminal) -> None:
    ready(terminal, {"queue_while_busy": False, "rules": [{"match": "slow", "busy_seconds": 0.5}]})
    terminal.submit("slow")
    shows(terminal, ScreenState.BUSY)
    terminal.submit("early")
    shows(terminal, ScreenState.DRAFT)
    assert texts(terminal, "user") == ["slow"]
    terminal.press("Enter")
    terminal.until(lambda: texts(terminal, "user") == ["slow", "early"], "second prompt")


def test_escape_interrupts_and_the_next_prompt_goes_on(terminal: Terminal) -> None:
    ready(terminal, [{"match": "for ever", "sleep_forever": True}])
    terminal.submit("for ever")
    shows(terminal, ScreenState.BUSY)
    terminal.press("Escape")
    terminal.sees("Interrupted by user")
    shows(terminal, ScreenState.READY)
    terminal.submit("next")
    terminal.sees("● ok")


def test_trust_is_asked_and_no_is_the_default(terminal: Terminal) -> None:
    start(terminal, {"boot": {"trust": True}})
    terminal.sees("Accessing workspace:")
    assert state(terminal) is ScreenState.ASKS
    terminal.press("Enter")
    assert terminal.ended() == 1


@pytest.mark.parametrize("trust_first", [False, True])
def test_the_trust_dialog_is_answered_by_its_text(terminal: Terminal, trust_first: bool) -> None:
    start(terminal, {"boot": {"trust": True, "trust_first": trust_first}})
    terminal.sees("Accessing workspace:")
    for _ in range(5):
        before = terminal.text()
        step = SCRIPTED.dialogs[0].step(before)
        assert step is not None
        terminal.press(*step.keys)
        terminal.until(lambda before=before: terminal.text() != before, "effect of the keys")
        if step.answers:
            break
    shows(terminal, ScreenState.READY)


def test_a_slow_start_shows_no_composer_and_loses_no_typing(terminal: Terminal) -> None:
    start(terminal, {"boot": {"seconds": 0.5}})
    terminal.type("early")
    assert state(terminal) is ScreenState.UNKNOWN
    terminal.sees("»\u00a0early")


def test_a_permission_takes_a_pasted_text_and_a_blind_enter(terminal: Terminal) -> None:
    ready(terminal, [{"match": "make", "ask": "run: make", "say": "made"}])
    terminal.submit("make")
    terminal.sees("Do you want to proceed?")
    shows(terminal, ScreenState.ASKS)
    terminal.paste(envelope("lost"))
    terminal.press("Enter")
    terminal.sees("● made")
    assert texts(terminal, "user") == ["make"]
    assert texts(terminal, "tool_result") == ["allowed: run: make"]


def test_a_permission_refused(terminal: Terminal) -> None:
    ready(terminal, [{"match": "make", "ask": True, "say": "made"}])
    terminal.submit("make")
    terminal.sees("Do you want to proceed?")
    terminal.press("Escape")
    shows(terminal, ScreenState.READY)
    assert texts(terminal, "assistant") == []


def test_a_screen_that_is_something_else_is_unknown(terminal: Terminal) -> None:
    ready(terminal, [{"match": "shell", "print": "\x1b[2J\x1b[H$ ", "freeze": 0.7, "say": "back"}])
    terminal.submit("shell")
    shows(terminal, ScreenState.UNKNOWN)
    assert terminal.text().strip() == "$"
    terminal.sees("● back")
    shows(terminal, ScreenState.READY)


@pytest.mark.parametrize(
    ("rule", "end"),
    [({"exit": 7}, 7), ({"crash": "SIGSEGV"}, 128 + 11), ({"crash": 9}, 128 + 9), ({"exit": 0}, 0)],
)
def test_it_ends_as_the_rule_says(terminal: Terminal, rule: dict[str, Any], end: int) -> None:
    ready(terminal, [{"match": "end", "say": "bye", **rule}])
    terminal.submit("end")
    assert terminal.ended() == end
    assert texts(terminal, "assistant") == ["bye"]


@pytest.mark.parametrize("keys", [("/", "exit", "Enter"), ("C-d",), ("C-c", "C-c")])
def test_a_person_ends_it_with_status_zero(terminal: Terminal, keys: tuple[str, ...]) -> None:
    ready(terminal)
    terminal.press(*keys)
    assert terminal.ended() == 0


def test_ctrl_c_first_clears_then_interrupts_then_warns(terminal: Terminal) -> None:
    ready(terminal, [{"sleep_forever": True}])
    terminal.type("draft")
    terminal.press("C-c")
    terminal.sees("press ctrl-c again to exit")
    assert state(terminal) is ScreenState.READY
    terminal.type("x")
    terminal.sees("»\u00a0x\n")
    assert "press ctrl-c" not in terminal.text()
    terminal.press("Enter")
    shows(terminal, ScreenState.BUSY)
    terminal.press("C-c")
    terminal.sees("Interrupted by user")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_it_ends_tidily_on_a_signal(terminal: Terminal, number: int, status: int) -> None:
    ready(terminal)
    terminal.submit("loaded")
    terminal.sees("● ok")
    os.kill(terminal.pid(), number)
    assert terminal.ended() == status


def test_a_signal_that_comes_while_input_is_found_is_heard_before_that_is_read(terminal: Terminal) -> None:
    (terminal.home / "scripted.now.json").write_text('{"show": "ask", "when": "paste"}')
    terminal.start(sys.executable, "-I", "-S", "-c", SIGNALLED, str(AGENT), "--session-id", "s1")
    shows(terminal, ScreenState.READY)
    terminal.paste(envelope("hello"))
    terminal.sees("Do you want to proceed?")


def test_resume_goes_on_in_the_same_transcript(terminal: Terminal) -> None:
    ready(terminal, [{"exit": 0}])
    terminal.submit("one")
    terminal.ended()
    write_script(terminal, [])
    terminal.start_agent("--resume", "s1")
    shows(terminal, ScreenState.READY)
    terminal.submit("two")
    terminal.sees("● ok")
    assert texts(terminal, "user") == ["one", "two"]
    assert [record["resumed"] for record in records(terminal) if record["type"] == "session"] == [False, True]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--resume", "nobody"), 1, "No conversation found with session ID: nobody"),
        (("--session-id", "../x"), 2, "a session id is made of"),
        (("--what",), 2, "usage:"),
        (("--session-id",), 2, "usage:"),
        (("--prompt-file", "/nowhere"), 1, "cannot read the prompt file"),
    ],
)
def test_bad_arguments(terminal: Terminal, words: tuple[str, ...], status: int, said: str) -> None:
    terminal.start_agent(*words)
    assert terminal.ended() == status
    terminal.sees(said)


def test_clear_starts_a_conversation_that_is_found_again(terminal: Terminal) -> None:
    ready(terminal)
    facts = SessionFacts("s1", terminal.home, time.time())
    assert locate(facts) is None
    terminal.submit("one")
    terminal.sees("● ok")
    assert locate(facts) == terminal.home / DIRECTORY / "s1.jsonl"
    terminal.submit("/clear")
    terminal.until(lambda: refer(facts) != "s1", "another conversation")
    terminal.submit(envelope("two"))
    found = locate(facts)
    assert found is not None
    terminal.until(lambda: any(map(parse, found.read_bytes().splitlines())), "evidence in the new conversation")
    assert found.stem == refer(facts)


def test_the_prompt_file_is_recorded(terminal: Terminal) -> None:
    (terminal.home / "prompt.md").write_text("be brief\n")
    ready(terminal, None, "--prompt-file", str(terminal.home / "prompt.md"))
    terminal.submit("x")
    terminal.sees("● ok")
    assert records(terminal)[0]["prompt_bytes"] == 9


def test_a_smaller_window_is_drawn_anew(terminal: Terminal) -> None:
    ready(terminal)
    terminal.submit("some words that were said")
    terminal.sees("● ok")
    terminal.tmux("resize-window", "-x", "50", "-y", "15")
    terminal.until(lambda: "─" * 49 in terminal.text() and "─" * 50 not in terminal.text(), "new width")
    shows(terminal, ScreenState.READY)
    assert "» some words" in terminal.text()


def test_odd_bytes_do_no_harm(terminal: Terminal) -> None:
    ready(terminal)
    every = bytes(byte for byte in range(256) if byte not in (3, 4, 10, 13))
    keys = [f"{byte:x}" for byte in [*every, *b"\x1b[", *every, *b"\x1b]0;x\x07", *b"\x1b[999999999999m"]]
    terminal.tmux("send-keys", "-H", *keys)
    terminal.press("C-u", "C-u")
    terminal.submit("still here")
    terminal.sees("● ok")


def test_a_bad_script_is_told(terminal: Terminal) -> None:
    ready(terminal)
    (terminal.home / "scripted.json").write_text("[{")
    terminal.submit("x")
    terminal.sees("● scripted.json: Expecting property name")


@pytest.mark.parametrize(
    "rule",
    [
        {"busy_seconds": "x"},
        {"print": 7},
        {"freeze": []},
        {"say": None},
        {"send": [{}]},
        {"send": "x"},
        {"crash": "SIGNONE"},
        {"exit": "x"},
        {"times": "x"},
        {"match": 7},
    ],
)
def test_a_rule_of_wrong_types_is_told(terminal: Terminal, rule: dict[str, Any]) -> None:
    ready(terminal, [rule])
    terminal.submit("x")
    terminal.sees("● scripted.json")
    write_script(terminal, [])
    terminal.submit("again")
    terminal.sees("● ok")


@pytest.mark.parametrize("boot", [{"seconds": "x"}, {"dialogs": [{}]}, {"exit": "x"}, [], 7])
def test_a_boot_of_wrong_types_is_told(terminal: Terminal, boot: Any) -> None:
    start(terminal, {"boot": boot})
    shows(terminal, ScreenState.READY)


def test_a_transcript_that_cannot_be_written_is_told(terminal: Terminal) -> None:
    (terminal.home / ".peerwake").write_text("in the way")
    ready(terminal)
    terminal.submit("x")
    terminal.sees("the transcript cannot be written: Not a directory")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads the ticks in /proc")
def test_an_idle_agent_uses_no_processor_time(terminal: Terminal) -> None:
    ready(terminal)
    terminal.submit("x")
    terminal.sees("● ok")

    def used() -> int:
        words = Path(f"/proc/{terminal.pid()}/stat").read_text().rpartition(")")[2].split()
        return int(words[11]) + int(words[12])

    before, until = used(), time.monotonic() + 1.0
    terminal.until(lambda: time.monotonic() > until, "second")
    assert used() == before
