"""What a client's screen shows: pure functions from a capture and a runtime's rules to a reading."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Final
from unicodedata import normalize

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from transport.sgr import split_faint
from transport.vocabulary import ScreenState

EXCERPT_LINES: Final = 14
EXCERPT_CHARS: Final = 1_400
LEAST_SUFFIX: Final = 16


@lru_cache(maxsize=512)
def compiled(pattern: str) -> re.Pattern[str]:
    """Return the compiled pattern; raises re.error."""
    return re.compile(pattern)


def _valid(pattern: str) -> str:
    try:
        compiled(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
    return pattern


def _valid_with_text(pattern: str) -> str:
    if "text" not in compiled(_valid(pattern)).groupindex:
        raise ValueError(f"{pattern!r} needs a group (?P<text>…) around what is typed")
    return pattern


Regex = Annotated[str, AfterValidator(_valid)]
TextRegex = Annotated[str, AfterValidator(_valid_with_text)]


@dataclass(frozen=True, slots=True)
class Screen:
    """One capture of a pane: the visible lines without trailing ordinary spaces (no-break spaces stay).

    `solid` is `lines` with faint characters (ghost text) blanked; empty when the capture had no
    styles. `bracketed` says whether the client asked for bracketed paste, None before tmux 3.7. `people`
    changes when a person attaches or presses a key, None where that is not known.
    """

    lines: tuple[str, ...]
    title: str = ""
    cursor_x: int = 0
    cursor_y: int = 0
    in_mode: bool = False
    dead: bool = False
    width: int = 200
    height: int = 50
    alternate: bool = False
    solid: tuple[str, ...] = ()
    bracketed: bool | None = None
    people: str | None = None


def screen_of(
    text: str, *, title: str = "", cursor: tuple[int, int] = (0, 0), in_mode: bool = False, dead: bool = False
) -> Screen:
    """Make a Screen of a captured text, plain or with styles (`capture-pane -p -e`), as fixtures hold it."""
    lines, solid = split_faint(text)
    width = max((len(line) for line in lines), default=0)
    return Screen(lines, title, cursor[0], cursor[1], in_mode, dead, width, len(lines), solid=solid)


class ScreenRules(BaseModel):
    """How one client's screen is read; every pattern is a Python regular expression, searched per line.

    The composer is the lowest line matching `composer` (its group `text` is what was typed) that has
    `composer_top` directly above it, where given; it goes on until `composer_end`, or, without one,
    while lines match `continuation` or are blank. A composer with more than `footer` non-blank lines
    below it is history. `busy` and `asks` are searched below the composer and in the given number of
    lines above it; without a composer in the last `tail` lines that are not blank. `ready` must all be
    found on the screen or in the title before an empty composer is ready. `scroll_mark` is taken out of
    the composer's lines.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    composer: TextRegex
    composer_top: Regex | None = None
    composer_end: Regex | None = None
    continuation: TextRegex = r"^  (?P<text>.*)$"
    placeholder: Regex | None = None
    faint_is_ghost: bool = False
    cursor_in_composer: bool = False
    footer: int = Field(default=8, ge=0, le=50)
    ready: tuple[Regex, ...] = ()
    busy: tuple[Regex, ...] = ()
    busy_title: tuple[Regex, ...] = ()
    busy_above: int = Field(default=6, ge=0, le=100)
    asks: tuple[Regex, ...] = ()
    asks_title: tuple[Regex, ...] = ()
    asks_above: int = Field(default=0, ge=0, le=100)
    collapsed: Regex | None = None
    collapsed_slack: int = Field(default=0, ge=0, le=10)
    scroll_mark: Regex | None = None
    shell: tuple[Regex, ...] = ()
    input_shell_mode: Regex | None = None
    tail: int = Field(default=20, ge=1, le=200)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a screen shows; `input_text` is the composer's text, "" when empty, None without a composer.

    `excerpt` is the last lines of the screen, for people who are told that a session is blocked.
    `window_text`, where no composer is recognised, is what one that outgrew the window would show.
    """

    state: ScreenState
    input_text: str | None
    excerpt: str
    window_text: str | None = None


class Shown(StrEnum):
    """How the composer's text compares with a text of ours."""

    NONE = "none"
    EMPTY = "empty"
    OURS = "ours"
    COLLAPSED = "collapsed"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class _Block:
    """The composer on a screen: first line, the line after its last, and its text."""

    first: int
    after: int
    text: str


def read_screen(screen: Screen, rules: ScreenRules) -> Reading:
    """Return what the screen shows; anything not positively recognised is `unknown`."""
    lines = _strip_blank_end(screen.lines)
    excerpt = _excerpt(lines)
    if screen.dead or screen.in_mode or (lines and _any(rules.shell, lines[-1:])):
        return Reading(ScreenState.UNKNOWN, None, excerpt)
    block = _find_composer(screen, lines, rules)
    state = _state(screen, lines, block, rules)
    if block is None:
        return Reading(state, None, excerpt, _window_text(screen, lines, rules))
    return Reading(state, block.text, excerpt)


def _state(screen: Screen, lines: Sequence[str], block: _Block | None, rules: ScreenRules) -> ScreenState:
    if _any(rules.asks_title, (screen.title,)) or _any(rules.asks, _around(lines, block, rules.asks_above, rules.tail)):
        return ScreenState.ASKS
    below = lines if block is None else lines[block.after :]
    if rules.input_shell_mode and _any((rules.input_shell_mode,), below):
        return ScreenState.DRAFT
    if _any(rules.busy_title, (screen.title,)) or _any(rules.busy, _around(lines, block, rules.busy_above, rules.tail)):
        return ScreenState.BUSY
    if block is not None and block.text:
        return ScreenState.DRAFT
    is_ready = all(_any((pattern,), (*lines, screen.title)) for pattern in rules.ready)
    return ScreenState.READY if block is not None and is_ready else ScreenState.UNKNOWN


def _around(lines: Sequence[str], block: _Block | None, above: int, tail: int) -> Sequence[str]:
    if block is None:
        return [line for line in lines if line.strip()][-tail:]
    return [*lines[max(0, block.first - above) : block.first], *lines[block.after :]]


def _any(patterns: Sequence[str], lines: Sequence[str]) -> bool:
    return any(compiled(pattern).search(line) for pattern in patterns for line in lines)


def _strip_blank_end(lines: Sequence[str]) -> Sequence[str]:
    end = len(lines)
    while end and not lines[end - 1].strip():
        end -= 1
    return lines[:end]


def _excerpt(lines: Sequence[str]) -> str:
    text = "\n".join([line.rstrip() for line in lines if line.strip()][-EXCERPT_LINES:])
    return text[-EXCERPT_CHARS:]


def _find_composer(screen: Screen, lines: Sequence[str], rules: ScreenRules) -> _Block | None:
    """Return the lowest block of lines that passes every test of a composer."""
    for first in range(len(lines) - 1, -1, -1):
        if not compiled(rules.composer).search(lines[first]):
            continue
        if rules.composer_top and not (first and compiled(rules.composer_top).search(lines[first - 1])):
            continue
        after = _block_end(lines, first, rules)
        if after is None or sum(1 for line in lines[after:] if line.strip()) > rules.footer + 1:
            continue
        if rules.cursor_in_composer and not first <= screen.cursor_y < max(after, first + 1):
            continue
        return _Block(first, after, _block_text(screen, lines, first, after, rules))
    return None


def _window_text(screen: Screen, lines: Sequence[str], rules: ScreenRules) -> str | None:
    """Return the lines that a composer taller than the window would occupy, its edges being out of sight."""
    end = len(lines)
    if rules.composer_end:
        ends = [index for index in range(end) if compiled(rules.composer_end).search(lines[index])]
        end = ends[-1] if ends and end - ends[-1] <= rules.footer + 1 else end
    is_elsewhere = rules.cursor_in_composer and not end - 2 <= screen.cursor_y < end
    if not end or is_elsewhere or _any(rules.asks_title, (screen.title,)):
        return None
    starts = [index for index in range(end) if compiled(rules.composer).search(lines[index])]
    tops = [
        index + 1 for index in range(end) if rules.composer_top and compiled(rules.composer_top).search(lines[index])
    ]
    first = max([0, *starts, *tops])
    return "\n".join(_typed(screen, lines, first, end, rules))


def _block_end(lines: Sequence[str], first: int, rules: ScreenRules) -> int | None:
    """Return the index after the composer's last line, None when its end is not on the screen."""
    for index in range(first + 1, len(lines)):
        if rules.composer_end:
            if compiled(rules.composer_end).search(lines[index]):
                return index
        elif lines[index].strip() and not compiled(rules.continuation).search(lines[index]):
            return index
    return None if rules.composer_end else len(lines)


def _block_text(screen: Screen, lines: Sequence[str], first: int, after: int, rules: ScreenRules) -> str:
    """Return what was typed, "" for a placeholder or ghost text."""
    start = _text_start(rules.composer, lines[first])
    text = "\n".join(_typed(screen, lines, first, after, rules)).strip()
    if rules.placeholder and compiled(rules.placeholder).fullmatch(text):
        at_start = screen.cursor_y == first and screen.cursor_x <= start
        return "" if at_start or not rules.cursor_in_composer else text
    return text


def _typed(screen: Screen, lines: Sequence[str], first: int, after: int, rules: ScreenRules) -> Iterator[str]:
    source = screen.solid if rules.faint_is_ghost and screen.solid else lines
    for index in range(first, after):
        pattern = rules.composer if index == first else rules.continuation
        line = source[index][_text_start(pattern, lines[index]) :]
        yield compiled(rules.scroll_mark).sub("", line) if rules.scroll_mark else line


def _text_start(pattern: str, line: str) -> int:
    found = compiled(pattern).search(line)
    return 0 if found is None else max(0, found.start("text"))


def compare(reading: Reading, text: str, rules: ScreenRules, *, counted: bool = False, whole: bool = False) -> Shown:
    """Say whether the composer holds exactly `text`, indifferent to how it is wrapped or padded.

    A composer that scrolled shows the end of the text, and that counts unless it must be `whole`. The collapsed
    form counts when the groups `lines` and `chars` of its pattern fit the text, and, unless `counted`, when it
    has no such group.
    """
    if reading.input_text is None:
        return Shown.OURS if reading.window_text and _same(reading.window_text, text, whole) else Shown.NONE
    if not reading.input_text:
        return Shown.EMPTY
    labels = _labels(reading.input_text, rules)
    if labels:
        fits = _fits(labels, text, rules.collapsed_slack)
        return Shown.COLLAPSED if fits or (fits is None and not counted) else Shown.OTHER
    return Shown.OURS if _same(reading.input_text, text, whole) else Shown.OTHER


def _labels(shown: str, rules: ScreenRules) -> list[re.Match[str]]:
    """Return the labels of collapsed pastes that a composer holds, none if it holds anything else."""
    labels: list[re.Match[str]] = []
    at = 0
    while rules.collapsed and at < len(shown):
        found = compiled(rules.collapsed).match(shown, at)
        if found is None or found.end() == at:
            return []
        labels.append(found)
        at = found.end()
        while at < len(shown) and shown[at].isspace():
            at += 1
    return labels


def _fits(labels: Sequence[re.Match[str]], text: str, slack: int) -> bool | None:
    """Tell whether pastes of together this size are the text; None for labels that tell no size."""
    sizes = {"lines": text.count("\n"), "chars": len(text)}
    groups = [name for name in sizes if name in labels[0].re.groupindex]
    told = [name for name in groups if all((label[name] or "0").isdecimal() for label in labels)]
    counts = {name: sum(int(label[name] or 0) for label in labels) for name in told}
    return all(abs(counts[name] - sizes[name]) <= slack for name in told) if told else None


def _same(shown: str, text: str, whole: bool) -> bool:
    """Equal but for white space and for how accents are composed; what a terminal cannot show may be missing."""
    shown_chars, text_chars = "".join(shown.split()), "".join(text.split())
    if not shown_chars or not text_chars:
        return False
    # Claude keeps what is pasted in NFC, whatever the names of files on macOS are in.
    return _is_all_there(shown_chars, text_chars, whole) or _is_all_there(
        normalize("NFC", shown_chars), normalize("NFC", text_chars), whole
    )


def _is_all_there(shown_chars: str, text_chars: str, whole: bool) -> bool:
    """Tell whether these are the same characters; those that are not ASCII may be missing, none may be added."""
    if shown_chars == text_chars or (not whole and _is_window(shown_chars, text_chars)):
        return True
    shown_ascii, text_ascii = _ascii(shown_chars), _ascii(text_chars)
    if shown_ascii != text_ascii and (whole or not _is_window(shown_ascii, text_ascii)):
        return False
    extra = Counter(_wide(shown_chars)) - Counter(_wide(text_chars))
    return not set(extra) - {"\ufffd"}


def _is_window(shown: str, text: str) -> bool:
    return len(shown) >= LEAST_SUFFIX and text.endswith(shown)


def _ascii(text: str) -> str:
    return "".join(char for char in text if char.isascii())


def _wide(text: str) -> str:
    return "".join(char for char in text if not char.isascii())
