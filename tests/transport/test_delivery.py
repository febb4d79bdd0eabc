"""One message into one pane, against a test client in a real tmux."""

import json
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from tests.terminal import CLIENT, CLOCK, QUICK, Person, Terminal, envelope, terminal, until
from transport.clock import SystemClock
from transport.delivery import gate
from transport.errors import InvalidInput
from transport.files import LockHeld
from transport.screen import ScreenRules
from transport.tmux.control import TmuxGone, TmuxUnknown
from transport.tmux.pane import Pane, PasteMark
from transport.vocabulary import Hold, Receipt, ScreenState, Stage

pytestmark = pytest.mark.live

HOSTILE = "#{pane_id} #(id) $(id) `id` \\ \\n \\033[A \" ' ~ ; { } %output %end 1 2 1 ## #[fg=red] $HOME ${x} !! -- -t"
BODIES = {
    "one line": "hello",
    "many lines": "\n".join(f"line {number}" for number in range(12)),
    "blank lines": "a\n\n\nb\n",
    "hostile": HOSTILE,
    "tabs": "a\tb\t\tc",
    "unicode": "grüße 日本語 Ελλάδα עברית ١٢٣ ﷽ ⠹ ─│┌",
    "emoji": "👍 👩‍👩‍👧‍👦 🏳️‍🌈 ❤️ e\u0301 👨🏽‍🚀",
    "looks like keys": "Enter C-c Escape\n^C ^D",
    "command first": "!rm -rf /\n/quit\n@file\n#memory",
    "trailing backslash": "end\\",
    "a prompt": "❯\u00a0not a composer\n────────────────\n  ready\n Esc to cancel",
    "8 KiB": ("0123456789abcde\n" * 512)[:8192],
    "8 KiB of one line": "x" * 8192,
    "8 KiB wide": "日本" * 1365,
}


@pytest.mark.parametrize("name", BODIES)
async def test_arrives_verbatim(name: str) -> None:
    text = envelope(BODIES[name])
    async with terminal(height=50) as term:
        outcome = await term.hand_over(text)
        assert outcome.receipt is Receipt.CONSUMED, outcome
        assert term.said() == [text]
        assert term.pastes == [text]
        assert term.keys == ["\r"]
        assert term.stages[0] is Stage.PASTING


async def test_leading_characters_without_an_envelope_arrive_too() -> None:
    texts = ["!ls", "/help", "@x", "#x", "-t", ";", "a;", "~", "%1", "{", "'"]
    async with terminal() as term:
        for text in texts:
            await term.pane.paste(text)
        await until(lambda: len(term.pastes) == len(texts))
        assert term.pastes == texts


async def test_line_ends_are_normalised_and_control_characters_refused() -> None:
    async with terminal() as term:
        assert (await term.hand_over(envelope("a\r\nb\rc"))).receipt is Receipt.CONSUMED
        assert term.said() == [envelope("a\nb\nc")]
        for char in ("\x1b", "\x00", "\x07", "\x7f", "\x9b"):
            with pytest.raises(InvalidInput):
                await term.hand_over(envelope(f"a{char}[201~b", "m_2"), "m_2")
        assert len(term.pastes) == 1


async def test_a_draft_is_left_alone() -> None:
    async with terminal(DRAFT="half a thou") as term:
        outcome = await term.hand_over(envelope("x"))
        assert (outcome.hold, outcome.typed) == (Hold.DRAFT, False)
        assert term.events() == []
        assert (await term.reading()).input_text == "half a thou"


async def test_ghost_text_is_no_draft() -> None:
    async with terminal(GHOST="Try writing a test") as term:
        assert (await term.hand_over(envelope("x"))).receipt is Receipt.CONSUMED


async def test_nothing_is_typed_into_a_dialog() -> None:
    async with terminal(DIALOG="Do you want to proceed?") as term:
        outcome = await term.hand_over(envelope("x"))
        assert (outcome.hold, outcome.typed) == (Hold.ASKS, False)
        assert "Do you want to proceed?" in outcome.excerpt
        assert term.events() == []


async def test_nothing_is_typed_into_a_screen_that_nobody_knows() -> None:
    program = r"printf '\033[?2004hsomething nobody saw before'; exec cat"
    async with terminal(argv=("/bin/sh", "-c", program), ready=False) as term:
        await until(lambda: _shows(term, "something nobody saw before"))
        outcome = await term.hand_over(envelope("x"))
        assert (outcome.receipt, outcome.hold, outcome.typed) == (None, Hold.UNKNOWN, False)
        assert term.stages == []
        assert await _shows(term, "something nobody saw before")


async def _shows(term: Terminal, text: str) -> bool:
    """Tell whether a screen has this line and no other."""
    lines = (await term.pane.capture()).lines
    return [line for line in lines if line.strip()] == [text]


async def test_enter_is_not_pressed_when_a_dialog_swallowed_the_paste() -> None:
    async with terminal(DIALOG_ON="paste") as term:
        outcome = await term.hand_over(envelope("x"))
        assert (outcome.receipt, outcome.hold, outcome.typed) == (None, Hold.ASKS, True)
        assert len(term.pastes) == 1
        assert term.keys == []


async def test_a_draft_between_gate_and_paste_is_seen() -> None:
    async with terminal() as term:

        async def on_stage(stage: Stage) -> None:
            if stage is Stage.PASTING:
                await term.pane.press("x")
                await until(lambda: term.is_in(ScreenState.DRAFT))

        term.on_stage = on_stage
        outcome = await term.hand_over(envelope("x"))
        assert (outcome.receipt, outcome.hold, outcome.typed) == (None, Hold.DRAFT, False)
        assert term.stages == [Stage.PASTING, Stage.HELD]
        await term.pane.press("z")
        await until(lambda: "z" in term.keys)
        assert (term.keys, term.pastes) == (["x", "z"], [])


async def test_a_key_that_slips_in_before_the_paste_is_never_submitted() -> None:
    async with terminal(SLOW="0.1") as term:

        async def on_stage(stage: Stage) -> None:
            await term.pane.press("x")

        term.on_stage = on_stage
        outcome = await term.hand_over(envelope("x"))
        assert (outcome.receipt, outcome.hold, outcome.typed) == (None, Hold.DRAFT, True)
        assert (term.keys, len(term.pastes)) == (["x"], 1)


async def test_a_dialog_after_enter_is_not_answered() -> None:
    async with terminal(DIALOG_ON="submit", SILENT="1") as term:
        outcome = await term.hand_over(envelope("x"))
        assert (outcome.receipt, outcome.hold, outcome.typed, outcome.submits) == (None, Hold.ASKS, True, 1)
        assert term.keys == ["\r"]


async def test_a_swallowed_enter_is_repeated() -> None:
    async with terminal(SWALLOW="2") as term:
        outcome = await term.hand_over(envelope("x"))
        assert (outcome.receipt, outcome.submits) == (Receipt.CONSUMED, 3)
        assert term.said() == [envelope("x")]


async def test_enter_is_pressed_four_times_at_most() -> None:
    async with terminal(SWALLOW="99") as term:
        outcome = await term.hand_over(envelope("x"), pace=QUICK)
        assert (outcome.receipt, outcome.hold, outcome.typed, outcome.submits) == (None, None, True, 4)
        assert term.keys == ["\r"] * 4
        assert "still stands in the composer" in outcome.evidence


async def test_text_of_ours_left_in_the_composer_is_submitted_not_repeated() -> None:
    async with terminal(SWALLOW="4") as term:
        assert (await term.hand_over(envelope("x"))).receipt is None
        assert (await term.hand_over(envelope("x"))).receipt is Receipt.CONSUMED
        assert term.pastes == [envelope("x")]
        assert term.said() == [envelope("x")]


async def test_a_slow_client() -> None:
    async with terminal(SLOW="0.2") as term:
        outcome = await term.hand_over(envelope("x\ny"))
        assert outcome.receipt is Receipt.CONSUMED
        assert term.said() == [envelope("x\ny")]


async def test_a_collapsed_paste() -> None:
    async with terminal(COLLAPSE="50") as term:
        assert (await term.hand_over(envelope("x\ny\nz"))).receipt is Receipt.CONSUMED


async def test_a_composer_that_shows_something_else_is_not_submitted() -> None:
    async with terminal(MANGLE="1") as term:
        outcome = await term.hand_over(envelope("x"))
        assert (outcome.receipt, outcome.hold, outcome.typed) == (None, Hold.DRAFT, True)
        assert term.keys == []


@pytest.mark.parametrize(
    ("width", "height", "rows"), [(20, 30, "100"), (20, 12, "100"), (60, 20, "3"), (200, 8, "100")]
)
async def test_small_panes_and_scrolling_composers(width: int, height: int, rows: str) -> None:
    text = envelope("the quick brown fox jumps over the lazy dog\n" * 8)
    async with terminal(width=width, height=height, ROWS=rows) as term:
        outcome = await term.hand_over(text)
        assert outcome.receipt is Receipt.CONSUMED, outcome
        assert term.said() == [text]


async def test_copy_mode_is_left() -> None:
    async with terminal() as term:
        term.tmux("copy-mode", "-t", term.started.pane_id)
        assert (await term.pane.capture()).in_mode
        assert (await term.hand_over(envelope("x"))).receipt is Receipt.CONSUMED


async def test_copy_mode_between_gate_and_paste() -> None:
    async with terminal() as term:

        async def on_stage(stage: Stage) -> None:
            if stage is Stage.PASTING:
                term.tmux("copy-mode", "-t", term.started.pane_id)

        term.on_stage = on_stage
        assert (await term.hand_over(envelope("x"))).receipt is Receipt.CONSUMED
        assert term.keys == ["\r"]


async def test_busy_holds_unless_the_client_queues() -> None:
    async with terminal(BUSY="60") as term:
        outcome = await term.hand_over(envelope("x"))
        assert (outcome.hold, outcome.typed) == (Hold.BUSY, False)
        assert term.events() == []
        term.takes_input_while_busy = True
        outcome = await term.hand_over(envelope("x"))
        assert (outcome.receipt, outcome.typed) == (Receipt.INJECTED, True)
        assert term.said("queued") == [envelope("x")]
        assert term.stages[-1] is Stage.INJECTED


async def test_a_draft_while_busy_is_a_draft() -> None:
    async with terminal(BUSY="60", DRAFT="mine") as term:
        term.takes_input_while_busy = True
        assert (await term.hand_over(envelope("x"))).hold is Hold.DRAFT
        assert term.events() == []


async def test_a_conversation_that_quotes_a_dialog_does_not_block() -> None:
    async with terminal(HISTORY="Do you want to proceed?\n Esc to cancel\n❯\u00a0a draft?") as term:
        assert (await term.hand_over(envelope("x"))).receipt is Receipt.CONSUMED


async def test_other_lines_of_the_transcript_prove_nothing() -> None:
    async with terminal(SILENT="1") as term:
        term.transcript.path.write_text(
            '{"type": "tool", "text": "<peer-message-7k3f id=\\"m_1\\">"}\n'
            'm_1\n{"type": "user", "text": "quoting id=m_1"}\n'
        )
        outcome = await term.hand_over(envelope("x"))
        assert (outcome.receipt, outcome.typed) == (None, True)
        outcome = await term.resume(envelope("x"))
        assert (outcome.receipt, outcome.typed) == (None, False)


async def test_resume_finds_it_in_the_transcript() -> None:
    async with terminal() as term:
        await term.hand_over(envelope("x"))
        outcome = await term.resume(envelope("x"))
        assert (outcome.receipt, outcome.submits) == (Receipt.CONSUMED, 0)
        assert len(term.pastes) == 1


async def test_resume_submits_what_stands_in_the_composer() -> None:
    async with terminal(COLLAPSE="1000") as term:
        await term.pane.paste(envelope("x"))
        await until(lambda: term.is_in(ScreenState.DRAFT))
        outcome = await term.resume(envelope("x"))
        assert (outcome.receipt, outcome.submits) == (Receipt.CONSUMED, 1)


async def test_what_a_person_collapsed_or_put_before_ours_is_not_submitted() -> None:
    """Nor if that person has left, nor for a server that comes after."""
    text = envelope("x\n" * 12)
    for env, typed in (({"COLLAPSE": "10"}, "a\n" * text.count("\n") + "b"), ({"ROWS": "3"}, f"my own words {text}")):
        async with terminal(**env) as term:
            since = CLOCK.wall()
            await until(lambda since=since: CLOCK.wall() // 1 > since // 1)
            person = Person(term)
            try:
                await until(lambda term=term: len(term.tmux("list-clients").splitlines()) == 2)
            finally:
                person.leave()
            await until(lambda: len(term.tmux("list-clients").splitlines()) == 1)
            await term.pane.paste(typed)
            await until(lambda: term.is_in(ScreenState.DRAFT))
            outcome = await term.resume(text, since=since)
            assert (outcome.receipt, outcome.hold, outcome.typed) == (None, Hold.DRAFT, True), outcome
            async with another_server(term):
                outcome = await term.resume(text, since=since)
                assert (outcome.receipt, outcome.hold, outcome.typed) == (None, Hold.DRAFT, True), outcome
            assert (term.keys, term.said()) == ([], [])


async def test_what_our_own_servers_did_since_is_no_person() -> None:
    """Each attaches to the session, which tmux counts like a person's attach."""
    text = envelope("x\n" * 12)
    async with terminal(COLLAPSE="10") as term:
        since = CLOCK.wall()
        await term.pane.paste(text)
        await until(lambda: term.is_in(ScreenState.DRAFT))
        for _ in range(2):
            await term.pane.aclose()
            later = CLOCK.wall() + 2.1
            await until(lambda later=later: CLOCK.wall() >= later)
            await term.pane.capture()
        assert await term.pane.visited_at() <= since
        assert (await term.resume(text, since=since)).receipt is Receipt.CONSUMED


async def test_without_knowing_since_when_only_the_whole_text_is_submitted() -> None:
    text = envelope("x\n" * 12)
    for env, receipt in (({"COLLAPSE": "10"}, None), ({"ROWS": "3"}, None), ({}, Receipt.CONSUMED)):
        async with terminal(**env) as term:
            await term.pane.paste(text)
            await until(lambda term=term: term.is_in(ScreenState.DRAFT))
            assert (await term.resume(text)).receipt is receipt


async def test_resume_submits_a_collapsed_paste_only_if_its_size_fits() -> None:
    async with terminal(COLLAPSE="10") as term:
        await term.pane.paste(envelope("somebody\nelse\npasted\nthis", "m_2"))
        await until(lambda: term.is_in(ScreenState.DRAFT))
        since = CLOCK.wall()
        outcome = await term.resume(envelope("x"), since=since)
        assert (outcome.receipt, outcome.hold, outcome.typed) == (None, Hold.DRAFT, True)
        assert term.keys == []
        outcome = await term.resume(envelope("somebody\nelse\npasted\nthis", "m_2"), "m_2", since=since)
        assert outcome.receipt is Receipt.CONSUMED


async def test_resume_leaves_a_draft_alone() -> None:
    async with terminal(DRAFT="mine") as term:
        outcome = await term.resume(envelope("x"))
        assert (outcome.receipt, outcome.hold, outcome.typed) == (None, Hold.DRAFT, True)
        assert term.events() == []


async def test_resume_does_not_decide_while_the_client_is_busy() -> None:
    async with terminal(BUSY="60") as term:
        term.takes_input_while_busy = True
        outcome = await term.resume(envelope("x"))
        assert (outcome.receipt, outcome.hold, outcome.typed) == (None, Hold.BUSY, True)


@asynccontextmanager
async def another_server(term: Terminal) -> AsyncIterator[None]:
    """Meanwhile the terminal is one that another server has taken over."""
    before = term.pane
    await before.aclose()
    term.pane = term.another_pane()
    try:
        yield
    finally:
        await term.pane.aclose()
        term.pane = before


FROZEN = ("/bin/sh", "-c", f"{shlex.join(CLIENT)}; true")
"""tmux wakes the process of a pane as soon as it is stopped, but not that one's child."""


def client_of(term: Terminal) -> int:
    pid = term.started.pane.pid
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the client is found in /proc")
@pytest.mark.parametrize("rows", ["100", "2"])
async def test_what_a_client_has_not_read_is_not_pasted_again(rows: str) -> None:
    async with terminal(argv=FROZEN, ROWS=rows) as term:
        text = envelope("the quick brown fox jumps over the lazy dog\n" * 3)
        since = CLOCK.wall()
        os.kill(client_of(term), signal.SIGSTOP)
        outcome = await term.deliver(text, Stage.HELD, since=since)
        assert (outcome.receipt, outcome.hold, outcome.typed, outcome.submits) == (None, Hold.UNKNOWN, True, 0)
        outcome = await term.deliver(text, Stage.PASTING, since=since)
        assert (outcome.receipt, outcome.hold, outcome.typed) == (None, Hold.UNKNOWN, True), outcome
        async with another_server(term):
            outcome = await term.deliver(text, Stage.PASTING, since=since)
            assert (outcome.receipt, outcome.hold, outcome.typed) == (None, Hold.UNKNOWN, True), outcome
        os.kill(client_of(term), signal.SIGCONT)
        await until(lambda: term.is_in(ScreenState.DRAFT))
        assert (await term.deliver(text, Stage.PASTING, since=CLOCK.wall())).receipt is Receipt.CONSUMED
        assert (term.pastes, term.said()) == ([text], [text])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the client is found in /proc")
async def test_no_second_enter_is_pressed_before_the_first_was_read() -> None:
    """The client shows the paste and then hangs; what it reads afterwards is one Enter."""
    text = envelope("x")
    async with terminal(argv=FROZEN, STOP="paste") as term:
        outcome = await term.deliver(text, Stage.HELD)
        assert (outcome.receipt, outcome.hold, outcome.typed, outcome.submits) == (None, Hold.UNKNOWN, True, 0), outcome
        assert "1 times submitted" in outcome.evidence
        for _ in range(2):
            outcome = await term.deliver(text, Stage.PASTING, since=CLOCK.wall())
            assert (outcome.hold, outcome.typed, outcome.submits) == (Hold.UNKNOWN, True, 0), outcome
            assert "0 times submitted" in outcome.evidence
        os.kill(client_of(term), signal.SIGCONT)
        outcome = await term.deliver(text, Stage.PASTING, since=CLOCK.wall())
        assert (outcome.receipt, outcome.submits) == (Receipt.CONSUMED, 0), outcome
        assert (term.keys, term.pastes, term.said()) == (["\r"], [text], [text])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the client is found in /proc")
async def test_a_client_that_hangs_after_a_swallowed_enter_gets_the_others_once_it_goes_on() -> None:
    text = envelope("x")
    async with terminal(argv=FROZEN, STOP="key", SWALLOW="2") as term:
        outcome = await term.deliver(text, Stage.HELD)
        assert (outcome.hold, outcome.submits) == (Hold.UNKNOWN, 0), outcome
        os.kill(client_of(term), signal.SIGCONT)
        outcome = await term.deliver(text, Stage.PASTING)
        assert (outcome.receipt, outcome.submits) == (Receipt.CONSUMED, 2), outcome
        assert (term.keys, term.said()) == (["\r"] * 3, [text])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the client is found in /proc")
async def test_a_client_that_hangs_with_an_empty_composer_has_perhaps_not_written_down_what_it_took() -> None:
    async with terminal(argv=FROZEN, STOP="key", SILENT="1") as term:
        outcome = await term.deliver(envelope("x"), Stage.HELD)
        assert (outcome.receipt, outcome.hold, outcome.typed, outcome.submits) == (None, Hold.UNKNOWN, True, 0), outcome
        os.kill(client_of(term), signal.SIGCONT)
        outcome = await term.resume(envelope("x"))
        assert (outcome.receipt, outcome.hold, outcome.typed) == (None, None, False), outcome


async def test_what_a_client_has_read_and_not_drawn_is_not_pasted_again() -> None:
    async with terminal(STUCK="1") as term:
        outcome = await term.deliver(envelope("x"), Stage.HELD)
        assert (outcome.receipt, outcome.hold, outcome.typed) == (None, Hold.UNKNOWN, True)
        assert len(term.pastes) == 1
        outcome = await term.deliver(envelope("x"), Stage.PASTING)
        assert (outcome.receipt, outcome.hold, outcome.typed) == (None, Hold.UNKNOWN, True)
        assert len(term.pastes) == 1
        (term.directory / "go on").touch()
        await until(lambda: term.is_in(ScreenState.DRAFT))
        assert (await term.deliver(envelope("x"), Stage.PASTING)).receipt is Receipt.CONSUMED
        assert term.said() == [envelope("x")]


async def test_a_client_that_works_has_perhaps_not_dealt_with_what_it_read() -> None:
    async with terminal(SPIN="1") as term:
        outcome = await term.resume(envelope("x"))
        assert (outcome.receipt, outcome.hold, outcome.typed) == (None, Hold.UNKNOWN, True)
        (term.directory / "go on").touch()
        await until(lambda: _is_untyped(term))


async def _is_untyped(term: Terminal) -> bool:
    outcome = await term.resume(envelope("x"))
    assert outcome.receipt is None
    return not outcome.typed


@pytest.mark.parametrize("times", [1, 2])
async def test_the_end_of_our_text_is_not_ours_where_it_was_pasted_twice(times: int) -> None:
    text = envelope("the quick brown fox jumps over the lazy dog\n" * 8)
    async with terminal(ROWS="3") as term:
        screen = await term.pane.capture()
        await term.pane.paste(text, mark=PasteMark("m_1", times, screen))
        await until(lambda: term.is_in(ScreenState.DRAFT))
        outcome = await term.deliver(text, Stage.PASTING, since=CLOCK.wall())
        assert outcome.receipt is (Receipt.CONSUMED if times == 1 else None), outcome
        assert (outcome.hold, term.said()) == ((None, [text]) if times == 1 else (Hold.DRAFT, []))


async def test_a_client_that_drops_a_paste_gets_it_again_and_that_is_counted() -> None:
    text = envelope("x")
    async with terminal(DROP="1") as term:
        assert (await term.deliver(text, Stage.HELD)).hold is None
        assert await term.pane.times_pasted("m_1") == 1
        assert (await term.deliver(text, Stage.PASTING)).receipt is Receipt.CONSUMED
        assert await term.pane.times_pasted("m_1") == 2
        assert (term.pastes, term.said()) == ([text, text], [text])


async def test_what_a_client_takes_and_never_writes_down_is_typed_so_often_and_no_more() -> None:
    text = envelope("x")
    async with terminal(SILENT="1") as term:
        assert (await term.deliver(text, Stage.HELD, attempts=2)).submits == 1
        for _ in range(2):
            outcome = await term.deliver(text, Stage.PASTING, attempts=2)
        assert (outcome.receipt, outcome.hold, outcome.typed, outcome.is_spent) == (None, None, True, True)
        assert "typed 2 times" in outcome.evidence
        assert term.pastes == [text, text]


async def test_what_never_arrived_is_handed_over_anew() -> None:
    async with terminal() as term:
        outcome = await term.resume(envelope("x"))
        assert (outcome.receipt, outcome.hold, outcome.typed) == (None, None, False)
        outcome = await term.deliver(envelope("x"), Stage.PASTING)
        assert outcome.receipt is Receipt.CONSUMED
        assert term.stages == [Stage.HELD, Stage.PASTING]
        assert term.said() == [envelope("x")]


async def test_what_was_taken_already_is_not_typed_again() -> None:
    async with terminal() as term:
        await term.hand_over(envelope("x"))
        outcome = await term.deliver(envelope("x"), Stage.PASTING)
        assert (outcome.receipt, outcome.submits) == (Receipt.CONSUMED, 0)
        assert (len(term.pastes), term.said()) == (1, [envelope("x")])


@pytest.mark.parametrize("kind", ["user", "queued"])
async def test_what_the_client_writes_between_the_look_back_and_the_paste_is_seen(kind: str) -> None:
    text = envelope("x")
    async with terminal() as term:

        async def on_stage(stage: Stage) -> None:
            if stage is Stage.HELD:
                term.transcript.path.write_text(json.dumps({"type": kind, "text": text}) + "\n")

        term.on_stage = on_stage
        outcome = await term.deliver(text, Stage.PASTING)
        assert outcome.receipt is {"user": Receipt.CONSUMED, "queued": Receipt.INJECTED}[kind]
        assert (term.pastes, term.keys) == ([], [])


async def test_what_the_client_writes_during_a_backoff_is_seen() -> None:
    text = envelope("x")
    async with terminal() as term:
        term.transcript.path.write_text(json.dumps({"type": "user", "text": text}) + "\n")
        outcome = await term.deliver(text, Stage.HELD, is_repeated=True)
        assert (outcome.receipt, term.pastes) == (Receipt.CONSUMED, [])


async def test_what_the_client_queued_and_dropped_in_an_earlier_lease_is_typed_again() -> None:
    text = envelope("x")
    async with terminal(SWALLOW="1") as term:
        term.transcript.path.write_text(json.dumps({"type": "queued", "text": text}) + "\n")
        outcome = await term.deliver(text, Stage.HELD, is_repeated=True)
        assert (outcome.receipt, outcome.submits) == (Receipt.CONSUMED, 2)
        assert (term.pastes, term.said()) == ([text], [text])


async def test_what_stood_in_the_transcript_before_is_no_receipt() -> None:
    async with terminal(SILENT="1") as term:
        record = json.dumps({"type": "user", "text": envelope("a guess")})
        term.transcript.path.write_text(record + "\n")
        outcome = await term.hand_over(envelope("x"))
        assert (outcome.receipt, outcome.typed, outcome.submits) == (None, True, 1)


async def test_a_dead_pane_is_gone() -> None:
    async with terminal() as term:
        await term.pane.press("C-d")
        with pytest.raises(TmuxGone):
            await until(lambda: _never(term.pane))
        with pytest.raises(TmuxGone):
            await term.hand_over(envelope("x"))


async def _never(pane: Pane) -> bool:
    screen = await pane.capture()
    if screen.dead:
        raise TmuxGone("dead")
    return False


async def test_a_stopped_tmux_is_unknown_and_nothing_is_typed_later() -> None:
    async with terminal() as term:

        async def on_stage(stage: Stage) -> None:
            os.kill(term.started.tmux.pid, signal.SIGSTOP)

        await gate(term.target, SystemClock())
        term.on_stage = on_stage
        with pytest.raises(TmuxUnknown):
            await term.hand_over(envelope("x"))
        os.kill(term.started.tmux.pid, signal.SIGCONT)
        term.on_stage = None
        outcome = await term.deliver(envelope("x"), Stage.PASTING)
        assert outcome.receipt is Receipt.CONSUMED
        assert term.said() == [envelope("x")]


async def test_a_killed_tmux_is_gone() -> None:
    async with terminal() as term:
        await gate(term.target, SystemClock())
        os.kill(term.started.tmux.pid, signal.SIGKILL)
        with pytest.raises(TmuxGone):
            await term.hand_over(envelope("x"))
        with pytest.raises(TmuxGone):
            await term.resume(envelope("x"))


async def test_two_deliverers_on_one_pane() -> None:
    async with terminal() as term:
        lock = term.directory / "pane.lock"
        first, second = term.another_pane(lock), term.another_pane(lock)
        await first.capture()
        with pytest.raises(LockHeld):
            await second.capture()
        await first.aclose()
        await second.capture()
        await second.aclose()


async def test_two_messages_at_once_are_not_mixed() -> None:
    async with terminal() as term:
        texts = [envelope(f"body {number}\n" * 5, f"m_{number}") for number in range(4)]
        async with anyio.create_task_group() as tasks:
            for number, text in enumerate(texts):
                tasks.start_soon(term.hand_over, text, f"m_{number}")
        assert sorted(term.said()) == sorted(texts)


PROGRAM = """
import json, os, sys
text = ""
print("ready:", flush=True)
for line in sys.stdin:
    text += line
    if line.startswith("</peer-message"):
        if not os.environ.get("TUI_SILENT"):
            with open(os.environ["TUI_TRANSCRIPT"], "a") as file:
                file.write(json.dumps({"type": "user", "text": text}) + "\\n")
        text = ""
        print("ready:", flush=True)
"""
NO_COMPOSER = ScreenRules(
    composer="^ready:(?P<text>)$", continuation="(?!)(?P<text>)", footer=0, busy=(r"\S",), busy_above=0
)


@pytest.mark.parametrize("is_silent", [False, True])
async def test_a_program_without_a_composer(is_silent: bool) -> None:
    silent = {"SILENT": "1"} if is_silent else {}
    async with terminal(argv=(sys.executable, "-c", PROGRAM), ready=False, **silent) as term:
        term.changes = {"rules": NO_COMPOSER, "has_composer": False}
        await until(lambda: _passes(term))
        outcome = await term.hand_over(envelope("a\nb"))
        assert (outcome.typed, outcome.submits) == (True, 1)
        assert outcome.receipt is (None if is_silent else Receipt.CONSUMED)
        assert term.said() == ([] if is_silent else [envelope("a\nb") + "\n"])
        outcome = await term.resume(envelope("a\nb"))
        assert outcome.typed and outcome.receipt is (None if is_silent else Receipt.CONSUMED)


async def _passes(term: Terminal) -> bool:
    return (await gate(term.target, SystemClock())).hold is None


async def test_a_message_that_came_back_from_the_clients_queue_is_submitted() -> None:
    text = envelope("x")
    async with terminal() as term:
        term.transcript.path.write_text(json.dumps({"type": "queued", "text": text}) + "\n")
        outcome = await term.resume(text)
        assert (outcome.receipt, outcome.submits) == (Receipt.INJECTED, 0)
        await term.pane.paste(text)
        await until(lambda: term.is_in(ScreenState.DRAFT))
        assert (await term.resume(text)).submits == 1
        await until(lambda: term.said() == [text])
