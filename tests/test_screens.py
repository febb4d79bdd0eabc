"""Each file of tests/screens is a screen that a client showed; see tests/screens/README.md."""

import re
from pathlib import Path

import pytest

from lifecycle.runtimes.table import BUILT_IN
from transport.screen import Screen, read_screen, screen_of
from transport.vocabulary import ScreenState

SCREENS = Path(__file__).parent / "screens"
FILES = sorted(SCREENS.glob("*/*/*.txt"))
HEADER = re.compile(
    r"#!(?: title=(?P<title>.*?))?(?: cursor=(?P<x>\d+),(?P<y>\d+))?(?P<mode> mode)?(?: input=(?P<input>.*))?"
)
EVERY_STATE = {ScreenState.READY, ScreenState.DRAFT, ScreenState.BUSY, ScreenState.ASKS, ScreenState.UNKNOWN}


def load(path: Path) -> tuple[Screen, str | None]:
    first, _, text = path.read_text("utf-8").partition("\n")
    header = HEADER.fullmatch(first)
    assert header, f"{path}: the first line must be a header, as tests/screens/README.md says"
    cursor = (int(header["x"] or 0), int(header["y"] or 0))
    expected = None if header["input"] is None else header["input"].replace("\\n", "\n")
    screen = screen_of(
        text.removesuffix("\n"), title=header["title"] or "", cursor=cursor, in_mode=bool(header["mode"])
    )
    return screen, expected


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SCREENS).with_suffix("")))
def test_a_screen_is_read_as_what_it_shows(path: Path) -> None:
    screen, expected = load(path)
    reading = read_screen(screen, BUILT_IN[path.parts[-3]].screen)
    assert reading.state == path.parts[-2], reading
    if expected is not None:
        assert reading.input_text == expected


@pytest.mark.parametrize("runtime", ["claude", "codex", "scripted"])
def test_every_state_of_a_client_is_on_file(runtime: str) -> None:
    assert {path.parts[-2] for path in FILES if path.parts[-3] == runtime} == EVERY_STATE


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SCREENS).with_suffix("")))
def test_no_other_client_takes_it_for_an_empty_input_line(path: Path) -> None:
    screen, _ = load(path)
    for name, runtime in BUILT_IN.items():
        if name != path.parts[-3]:
            assert read_screen(screen, runtime.screen).state is not ScreenState.READY, name
