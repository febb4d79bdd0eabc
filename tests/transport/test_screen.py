"""Reading screens: what is recognised, and that nothing else is."""

from dataclasses import replace
from typing import Any
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.terminal import RULES as TUI_RULES
from transport.screen import Reading, Screen, ScreenRules, Shown, compare, read_screen, screen_of
from transport.vocabulary import ScreenState

BAR = "─" * 30
RULES = TUI_RULES.model_copy(update={"cursor_in_composer": False})


def screen(*lines: str, **fields: Any) -> Screen:
    return screen_of("\n".join(lines) + "\n\n\n", **fields)


def composer(*rows: str) -> tuple[str, ...]:
    return (BAR, f"❯\u00a0{rows[0] if rows else ''}", *(f"  {row}" for row in rows[1:]), BAR, "  ready")


def state(*lines: str, rules: ScreenRules = RULES, **fields: Any) -> ScreenState:
    return read_screen(screen(*lines, **fields), rules).state


def typed(*lines: str, rules: ScreenRules = RULES, **fields: Any) -> str | None:
    return read_screen(screen(*lines, **fields), rules).input_text


def test_ready_draft_busy_asks() -> None:
    excerpt = "\n".join(["> hello", BAR, "❯", BAR, "  ready"])
    assert read_screen(screen("> hello", *composer()), RULES) == Reading(ScreenState.READY, "", excerpt)
    assert (state(*composer("half a")), typed(*composer("half a"))) == (ScreenState.DRAFT, "half a")
    busy = "* Working (esc to interrupt)"
    assert (state(busy, *composer()), typed(busy, *composer())) == (ScreenState.BUSY, "")
    assert (state(busy, *composer("x")), typed(busy, *composer("x"))) == (ScreenState.BUSY, "x")
    assert state(busy) is ScreenState.BUSY
    assert typed(busy) is None
    assert state(" Do you want to proceed?", " ❯ 1. Yes", " Esc to cancel") is ScreenState.ASKS


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("",),
        ("$ ",),
        ("Welcome!", "loading"),
        (BAR, "❯ history echo has an ordinary space", BAR, "  ready"),
        (BAR, "❯\u00a0", "  no end below"),
        ("no top above", "❯\u00a0", BAR, "  ready"),
        composer()[:-1],
        (*composer(), *["something new below"] * 4),
    ],
)
def test_what_is_not_recognised_is_unknown(lines: tuple[str, ...]) -> None:
    assert state(*lines) is ScreenState.UNKNOWN


def test_a_dead_pane_and_copy_mode_are_unknown_whatever_they_show() -> None:
    assert state(*composer(), dead=True) is ScreenState.UNKNOWN
    assert state(*composer(), in_mode=True) is ScreenState.UNKNOWN
    assert typed(*composer(), in_mode=True) is None


def test_quotes_in_the_conversation_do_not_count() -> None:
    quoted = (" Do you want to proceed?", " Esc to cancel", "* Working (esc to interrupt)", *composer("not mine"))
    assert state(*quoted, "", "", *composer()) is ScreenState.READY
    assert typed(*quoted, "", "", *composer("mine")) == "mine"
    assert state(*composer("Do you want to proceed?")) is ScreenState.DRAFT


def test_a_dialog_below_an_old_composer_counts() -> None:
    assert state(*composer(), " Do you want to proceed?", " Esc to cancel") is ScreenState.ASKS


def test_only_the_tail_counts_without_a_composer() -> None:
    rules = RULES.model_copy(update={"tail": 3})
    lines = (" Do you want to proceed?", "a", "", "b", "", "c")
    assert state(*lines, rules=rules) is ScreenState.UNKNOWN
    assert state(*lines[:4], rules=rules) is ScreenState.ASKS


def test_lines_above_the_composer_count_where_the_rules_say_so() -> None:
    lines = (" Do you want to proceed?", "x", *composer())
    assert state(*lines, rules=RULES.model_copy(update={"asks_above": 3})) is ScreenState.ASKS
    assert state("* Working (esc to interrupt)", "x", "y", *composer()) is ScreenState.READY


def test_titles() -> None:
    rules = ScreenRules.model_validate(
        RULES.model_dump() | {"busy_title": ("^⠹",), "asks_title": ("Action",), "ready": ("^dir$",)}
    )
    assert state(*composer(), title="dir", rules=rules) is ScreenState.READY
    assert state(*composer(), title="⠹ dir", rules=rules) is ScreenState.BUSY
    assert state(*composer(), title="[ ! ] Action Required", rules=rules) is ScreenState.ASKS
    assert state(*composer(), title="elsewhere", rules=rules) is ScreenState.UNKNOWN


def test_a_shell_is_unknown() -> None:
    rules = RULES.model_copy(update={"shell": (r"[$#] ?$",)})
    assert state(*composer(), "user@host:~$ ", rules=rules) is ScreenState.UNKNOWN


def test_the_clients_own_shell_mode_is_a_draft() -> None:
    rules = RULES.model_copy(update={"input_shell_mode": "^!\u00a0"})
    assert state(BAR, "!\u00a0", BAR, "  ready", rules=rules) is ScreenState.DRAFT


def test_placeholders_are_empty_where_the_cursor_agrees() -> None:
    rules = RULES.model_copy(update={"placeholder": "Ask anything"})
    assert state(*composer("Ask anything"), rules=rules) is ScreenState.READY
    assert state(*composer("Ask anything else"), rules=rules) is ScreenState.DRAFT
    sure = rules.model_copy(update={"cursor_in_composer": True})
    assert state(*composer("Ask anything"), rules=sure, cursor=(2, 1)) is ScreenState.READY
    assert state(*composer("Ask anything"), rules=sure, cursor=(14, 1)) is ScreenState.DRAFT


def test_a_composer_without_the_cursor_is_none() -> None:
    sure = RULES.model_copy(update={"cursor_in_composer": True})
    assert state(*composer(), rules=sure, cursor=(2, 1)) is ScreenState.READY
    assert state(*composer(), rules=sure, cursor=(2, 3)) is ScreenState.UNKNOWN
    assert typed(*composer("old"), *composer(), rules=sure, cursor=(2, 5)) == ""


def test_faint_text_was_not_typed() -> None:
    ghost = f"{BAR}\n❯\u00a0\x1b[7mT\x1b[0;2mry this\x1b[0m\n{BAR}\n  ready"
    assert read_screen(screen_of(ghost), RULES).state is ScreenState.READY
    mixed = f"{BAR}\n❯\u00a0typed\x1b[2m and completed\x1b[22m\n{BAR}\n  ready"
    assert read_screen(screen_of(mixed), RULES).input_text == "typed"
    plain = RULES.model_copy(update={"faint_is_ghost": False})
    assert read_screen(screen_of(ghost), plain).input_text == "Try this"


def test_several_lines_and_no_end() -> None:
    rules = ScreenRules(composer="^› (?P<text>.*)$", placeholder="Ask.*", ready=("model",), footer=2)
    assert typed("› one", "  two", "", "  three", rules=rules) == "one\ntwo\n\nthree"
    assert typed("› old", "answer", "› Ask me", "", "model · dir", rules=rules) == ""
    assert state("› old", "answer", "› Ask me", "", "model · dir", rules=rules) is ScreenState.READY


def test_the_excerpt_is_bounded() -> None:
    excerpt = read_screen(screen(*["x" * 400] * 40), RULES).excerpt
    assert 1000 < len(excerpt) <= 1400


@pytest.mark.parametrize("field", ["composer", "composer_end", "placeholder", "collapsed", "continuation"])
def test_a_bad_pattern_is_named(field: str) -> None:
    with pytest.raises(ValidationError, match=r"'\(' is not a regular expression") as error:
        ScreenRules.model_validate(RULES.model_dump() | {field: "("})
    assert error.value.errors()[0]["loc"] == (field,)


def test_bad_rules_are_named() -> None:
    with pytest.raises(ValidationError, match=r"needs a group \(\?P<text>"):
        ScreenRules(composer="^x$")
    with pytest.raises(ValidationError, match="Extra inputs"):
        ScreenRules.model_validate({"composer": "(?P<text>)", "compozer": "x"})
    with pytest.raises(ValidationError):
        RULES.tail = 4  # type: ignore[misc]
    for field in ("ready", "busy", "asks", "shell", "busy_title", "asks_title"):
        with pytest.raises(ValidationError, match="is not a regular expression"):
            ScreenRules.model_validate(RULES.model_dump() | {field: ("ok", "*")})


TEXT = '<peer-message-7k3f id="m_1">\nhello wide 日本 world\n\n</peer-message-7k3f>'


def shown(input_text: str | None, text: str = TEXT, *, counted: bool = False) -> Shown:
    return compare(Reading(ScreenState.DRAFT, input_text, ""), text, RULES, counted=counted)


def test_compare() -> None:
    assert shown(None) is Shown.NONE
    assert shown("") is Shown.EMPTY
    assert shown(TEXT) is Shown.OURS
    assert shown(TEXT.replace(" ", "\n  ")) is Shown.OURS
    assert shown(TEXT + "x") is Shown.OTHER
    assert shown("x" + TEXT) is Shown.OTHER
    assert shown(TEXT + TEXT) is Shown.OTHER
    assert shown(TEXT[:-3]) is Shown.OTHER
    assert shown(TEXT[20:]) is Shown.OURS
    assert shown(TEXT[-6:]) is Shown.OTHER
    assert shown("y" + TEXT[20:]) is Shown.OTHER


def test_compare_allows_what_a_terminal_cannot_show_and_nothing_more() -> None:
    assert shown(TEXT.replace("日本", "")) is Shown.OURS
    assert shown(TEXT.replace("日本", "\ufffd\ufffd")) is Shown.OURS
    assert shown(TEXT.replace("日本", "日本é")) is Shown.OTHER
    assert shown("日日日", "日") is Shown.OTHER


ACCENTS = "<peer-message-1>\nre\u0301sume\u0301 q\u0323\u0307 \u212b \u1112\u1161\u11ab e\n\u0301\n</peer-message-1>"


def test_compare_knows_a_text_whose_accents_are_composed() -> None:
    """Claude's composer keeps NFC; the names of files on macOS come in NFD."""
    composed = normalize("NFC", ACCENTS)
    assert composed != ACCENTS
    assert shown(composed, ACCENTS) is Shown.OURS
    assert shown(ACCENTS, ACCENTS) is Shown.OURS
    assert shown(ACCENTS, composed) is Shown.OURS
    assert shown(composed[20:], ACCENTS) is Shown.OURS
    assert shown(ACCENTS.replace("\u0301", ""), ACCENTS) is Shown.OURS
    assert shown("x" + composed, ACCENTS) is Shown.OTHER
    for was, is_now in [("sum", "sume\u0301"), ("sum", "so\u0308m"), ("\u00e9", "\u00e8"), ("\u00e9", "\u00e9\u0323")]:
        changed = composed.replace(was, is_now)
        assert shown(changed, ACCENTS) is Shown.OTHER, is_now
        assert shown(normalize("NFD", changed), ACCENTS) is Shown.OTHER, is_now
        assert shown(normalize("NFC", changed), ACCENTS) is Shown.OTHER, is_now


def test_compare_collapsed() -> None:
    lines = TEXT.count("\n")
    assert shown(f"[Pasted text +{lines} lines]") is Shown.COLLAPSED
    assert shown(f"[Pasted text +{lines} lines]", counted=True) is Shown.COLLAPSED
    for other in (0, lines - 1, lines + 1, 30):
        assert shown(f"[Pasted text +{other} lines]") is Shown.OTHER
    assert shown(f"[Pasted text +{lines} lines] and") is Shown.OTHER
    assert shown(f"and [Pasted text +{lines} lines]") is Shown.OTHER


def test_what_a_client_shows_in_several_labels_is_added_up() -> None:
    """Half a paste of before and a whole one of now are not ours."""
    lines = TEXT.count("\n")
    assert shown(f"[Pasted text +1 lines] [Pasted text +{lines - 1} lines]") is Shown.COLLAPSED
    assert shown(f"[Pasted text +1 lines][Pasted text +{lines} lines]") is Shown.OTHER


@pytest.mark.parametrize(
    ("pattern", "label"),
    [
        (r"\[Paste\]", "[Paste]"),
        (r"\[(?P<lines>\d+)?Paste\]", "[Paste]"),
        (r"\[(?P<chars>.+) Paste\]", "[a long Paste]"),
    ],
)
def test_a_label_that_tells_no_size_is_ours_only_right_behind_our_paste(pattern: str, label: str) -> None:
    rules = RULES.model_copy(update={"collapsed": pattern})
    reading = Reading(ScreenState.DRAFT, label, "")
    is_sized = "lines" in pattern
    assert compare(reading, TEXT, rules) is (Shown.OTHER if is_sized else Shown.COLLAPSED)
    assert compare(reading, TEXT, rules, counted=True) is Shown.OTHER


@pytest.mark.parametrize(("slack", "shown_"), [(0, Shown.OTHER), (1, Shown.COLLAPSED)])
def test_a_client_that_counts_roughly_says_how_roughly(slack: int, shown_: Shown) -> None:
    rules = RULES.model_copy(update={"collapsed": r"\[(?P<chars>\d+)\]", "collapsed_slack": slack})
    assert compare(Reading(ScreenState.DRAFT, f"[{len(TEXT) + 1}]", ""), TEXT, rules, counted=True) is shown_


def test_blank_space_is_nobodys_text_and_a_runtime_may_collapse_nothing() -> None:
    assert shown(" \n ") is Shown.OTHER
    plain = RULES.model_copy(update={"collapsed": None})
    reading = Reading(ScreenState.DRAFT, "[Pasted text +3 lines]", "")
    assert compare(reading, TEXT, plain) is Shown.OTHER
    assert compare(reading, reading.input_text or "", plain) is Shown.OURS


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_draft_next_to_ours_is_never_ours(before: str, after: str) -> None:
    if before.strip():
        assert shown(before + TEXT) is Shown.OTHER or before.isspace()
    if after.strip():
        assert shown(TEXT + after) is Shown.OTHER


@given(st.lists(st.text(max_size=40), max_size=12))
def test_random_screens_are_never_ready(lines: list[str]) -> None:
    found = read_screen(replace(screen(*lines), title="x"), RULES)
    assert found.state in (ScreenState.UNKNOWN, ScreenState.ASKS, ScreenState.BUSY)


CODEX_LIKE = ScreenRules(
    composer="^› (?P<text>.*)$",
    composer_end="^  model",
    cursor_in_composer=True,
    scroll_mark=r"\s[↑↓]$",
    asks_title=("Action",),
    asks=(r"^  Would you like",),
)
TALL = ["<peer-message-1>", *["a line of the letter"] * 30, "  Would you like tea?", "</peer-message-1>"]


def outgrown(*lines: str, rules: ScreenRules = CODEX_LIKE, title: str = "", up: int = 1) -> Shown:
    found = read_screen(screen(*lines, title=title, cursor=(3, len(lines) - up)), rules)
    return compare(found, "\n".join(TALL), rules)


def test_a_composer_that_outgrew_the_window_shows_the_end_of_ours() -> None:
    rows = [f"  {line}" for line in TALL]
    assert outgrown("", "› a line of the letter          ↑", *rows[-8:]) is Shown.OURS
    assert outgrown(*rows[-8:]) is Shown.OURS
    assert outgrown("history", *rows[-8:]) is Shown.NONE
    assert outgrown(*rows[-8:], "  and more") is Shown.NONE
    assert outgrown(*rows[-8:-1]) is Shown.NONE
    assert outgrown(rows[-1][:12]) is Shown.NONE
    assert outgrown(*rows[-8:], up=5) is Shown.NONE
    assert outgrown(*rows[-8:], title="Action Required") is Shown.NONE


def test_a_scrolled_composer_between_its_bars() -> None:
    rows = [f"  {line}" for line in TALL]
    bars = ("history", "─" * 10 + " ↑ 20 more", *rows[-6:], BAR, "  ready")
    assert outgrown(*bars, rules=RULES) is Shown.OURS
    assert outgrown(*bars[:1], *bars[2:], rules=RULES) is Shown.NONE
    assert outgrown(*bars, *["x"] * 5, rules=RULES) is Shown.NONE
