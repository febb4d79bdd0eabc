"""The order of the gate (I5) as tables: each thing that can be seen, and what it means for typing."""

from collections.abc import Iterator
from itertools import product

import pytest

from transport.hold import hold_of, hold_of_state
from transport.screen import Reading, Screen
from transport.vocabulary import Hold, ScreenState

READY, BUSY, ASKS, DRAFT, UNKNOWN = map(ScreenState, ("ready", "busy", "asks", "draft", "unknown"))
BOTH = (False, True)
NO_LINE, EMPTY, TEXT = None, "", "half a line"
ANY_LINE = (NO_LINE, EMPTY, TEXT)
PLAIN = Screen(("»",))

# What the screen shows, what its input line holds, whether nobody types, whether the client takes input while busy.
SHOWN = [
    ((UNKNOWN,), ANY_LINE, BOTH, BOTH, Hold.UNKNOWN),
    ((ASKS,), ANY_LINE, BOTH, BOTH, Hold.ASKS),
    ((DRAFT,), ANY_LINE, BOTH, BOTH, Hold.DRAFT),
    ((BUSY,), (TEXT,), BOTH, BOTH, Hold.DRAFT),
    ((BUSY,), (NO_LINE, EMPTY), (False,), BOTH, Hold.DRAFT),
    ((BUSY,), (NO_LINE, EMPTY), (True,), (False,), Hold.BUSY),
    ((BUSY,), (NO_LINE,), (True,), (True,), Hold.BUSY),
    ((BUSY,), (EMPTY,), (True,), (True,), None),
    ((READY,), ANY_LINE, (False,), BOTH, Hold.DRAFT),
    ((READY,), ANY_LINE, (True,), BOTH, None),
]

# What a screen that shows the one counts as when the client says the other.
WORDS = {
    READY: {READY: READY, BUSY: BUSY, ASKS: ASKS, DRAFT: DRAFT, UNKNOWN: UNKNOWN},
    BUSY: {READY: BUSY, BUSY: BUSY, ASKS: ASKS, DRAFT: DRAFT, UNKNOWN: UNKNOWN},
    DRAFT: {READY: DRAFT, BUSY: DRAFT, ASKS: ASKS, DRAFT: DRAFT, UNKNOWN: UNKNOWN},
    ASKS: {READY: ASKS, BUSY: ASKS, ASKS: ASKS, DRAFT: ASKS, UNKNOWN: ASKS},
    UNKNOWN: {READY: UNKNOWN, BUSY: UNKNOWN, ASKS: UNKNOWN, DRAFT: UNKNOWN, UNKNOWN: UNKNOWN},
}


def hold(
    shown: ScreenState,
    line: str | None,
    quiet: bool,
    takes: bool,
    said: ScreenState | None = None,
    screen: Screen = PLAIN,
    has_composer: bool = True,
) -> Hold | None:
    reading = Reading(shown, line, "")
    return hold_of(screen, reading, said, quiet, has_composer=has_composer, takes_input_while_busy=takes)


def everything() -> Iterator[tuple[ScreenState, str | None, bool, bool]]:
    return product(ScreenState, ANY_LINE, BOTH, BOTH)


def test_what_the_screen_shows_decides() -> None:
    table = {case: meaning for *seen, meaning in SHOWN for case in product(*seen)}
    assert sum(len(list(product(*seen))) for *seen, _ in SHOWN) == len(table)
    assert set(table) == set(everything())
    assert {case: hold(*case) for case in table} == table


@pytest.mark.parametrize("shown", ScreenState)
def test_a_clients_own_word_holds_a_message_and_makes_nothing_ready(shown: ScreenState) -> None:
    assert set(WORDS[shown]) == set(ScreenState)
    for said, counts in WORDS[shown].items():
        for _, *rest in everything():
            assert hold(shown, *rest, said=said) is hold(counts, *rest), (said, rest)


@pytest.mark.parametrize(("quiet", "meaning"), [(True, Hold.UNKNOWN), (False, Hold.DRAFT)])
@pytest.mark.parametrize("bracketed", [None, False, True])
def test_copy_mode_hides_the_screen_and_is_a_persons_while_they_type(
    quiet: bool, meaning: Hold, bracketed: bool | None
) -> None:
    screen = Screen(("»",), in_mode=True, bracketed=bracketed)
    for shown, line, takes, has_composer in product(ScreenState, ANY_LINE, BOTH, BOTH):
        assert hold(shown, line, quiet, takes, READY, screen, has_composer) is meaning


@pytest.mark.parametrize(
    ("bracketed", "has_composer", "is_asked"),
    [
        (None, True, True),
        (True, True, True),
        (False, True, False),
        *((each, False, True) for each in (None, False, True)),
    ],
)
def test_a_composer_that_does_not_ask_for_marked_pastes_is_not_there_yet(
    bracketed: bool | None, has_composer: bool, is_asked: bool
) -> None:
    screen = Screen(("»",), bracketed=bracketed)
    for case in everything():
        meaning = hold(*case) if is_asked else Hold.UNKNOWN
        assert hold(*case, None, screen, has_composer) is meaning


def test_nothing_is_typed_unless_nobody_types_and_an_input_line_is_seen_and_free() -> None:
    for shown, line, quiet, takes in everything():
        for said, in_mode, bracketed in product((None, *ScreenState), BOTH, (None, *BOTH)):
            screen = Screen(("»",), in_mode=in_mode, bracketed=bracketed)
            if hold(shown, line, quiet, takes, said, screen) is None:
                assert quiet and not in_mode and bracketed is not False
                assert shown is READY or (shown is BUSY and takes and line == "")
                assert said in (None, READY) or (said is BUSY and takes and line == "")


@pytest.mark.parametrize(
    ("state", "meaning"),
    [(READY, None), (BUSY, Hold.BUSY), (ASKS, Hold.ASKS), (DRAFT, Hold.DRAFT), (UNKNOWN, Hold.UNKNOWN)],
)
def test_what_a_screen_alone_gives_as_a_reason(state: ScreenState, meaning: Hold | None) -> None:
    assert hold_of_state(state) is meaning
