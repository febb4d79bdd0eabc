from lifecycle.runtimes.agents.composer import Composer


def composer(*texts: str, paste: bool = False) -> Composer:
    made = Composer()
    for text in texts:
        made.paste(text) if paste else made.type(text)
    return made


def test_a_short_paste_is_shown_as_it_is() -> None:
    made = composer("one\ntwo\tthree", paste=True)
    assert made.text == made.shown == "one\ntwo\tthree"


def test_long_pastes_are_shown_by_their_number() -> None:
    made = composer("x" * 901, "y\n" * 12, paste=True)
    assert made.shown == "[Pasted text #1][Pasted text #2 +12 lines]"
    assert made.take() == ("x" * 901 + "y\n" * 12, "[Pasted text #1][Pasted text #2 +12 lines]")
    assert made.text == made.shown == ""


def test_nine_hundred_characters_and_eleven_line_ends_are_not_long() -> None:
    assert composer("x" * 900, paste=True).shown == "x" * 900
    assert composer("y\n" * 11, paste=True).shown == "y\n" * 11


def test_control_characters_do_not_get_in_by_paste() -> None:
    assert composer("a\x1b[31mb\x00\x7f\x9bc\r\nd\re", paste=True).text == "a[31mbc\nd\ne"


def test_backspace_removes_a_character_or_a_whole_long_paste() -> None:
    made = composer("ab")
    made.paste("z" * 1000)
    made.backspace()
    assert made.text == "ab"
    made.backspace()
    made.backspace()
    made.backspace()
    assert made.text == ""


def test_a_leading_exclamation_mark_switches_to_the_shell_and_back() -> None:
    made = composer("!ls")
    assert made.shell
    assert made.text == "ls"
    made.backspace()
    made.backspace()
    assert made.shell
    made.backspace()
    assert not made.shell
    assert not composer("a!").shell


def test_an_exclamation_mark_alone_is_shell_mode_with_nothing_typed() -> None:
    made = composer("!")
    assert (made.shell, made.text, made.shown) == (True, "", "")
    made.backspace()
    assert not made.shell
