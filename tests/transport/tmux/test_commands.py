"""Words that tmux takes literally."""

from pathlib import Path

import pytest

from transport.tmux import commands


def test_a_line_is_one_line() -> None:
    assert commands.line("set-buffer", "a\nb\tc") == r'set-buffer "a\012b\011c"'
    assert commands.quote('\\ " $ ~ # ; { } % é') == r'"\\ \" \$ \~ # ; { } % é"'


def test_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        commands.quote("a\0b")


def test_a_sequence_keeps_words_that_end_in_a_semicolon() -> None:
    argv = commands.client("/usr/bin/tmux", Path("/s"), ["a", "x;", ";"], ["b"])
    assert argv[-5:] == ["a", "x\\;", "\\;", ";", "b"]


def test_a_single_word_never_meets_a_shell() -> None:
    steps = commands.set_up(
        session="s",
        argv=("a b; c",),
        size=(80, 20),
        terminal="screen",
        shell="/bin/sh",
        history=10,
        passthrough=False,
        exit_hook=None,
        pane_log=None,
        pane_log_bytes=1,
    )
    assert next(step for step in steps if step[0] == "new-session")[-3:] == ["--", "/usr/bin/env", "a b; c"]


def test_the_exit_hook_comes_first_after_the_session() -> None:
    steps = commands.set_up(
        session="s",
        argv=("agent", "x"),
        size=(80, 20),
        terminal="screen",
        shell="/bin/sh",
        history=10,
        passthrough=True,
        exit_hook="script",
        pane_log=Path("/log"),
        pane_log_bytes=1,
    )
    at = next(number for number, step in enumerate(steps) if step[0] == "new-session")
    assert steps[at + 1][:5] == ["set-hook", "-p", "-t", "=s:", "pane-died"]
    assert ["set-option", "-wg", "remain-on-exit", "on"] in steps[:at]
    assert any(step[-2:] == [commands.EXIT_OPTION, "script"] for step in steps[:at])


def test_a_viewer_joins_what_is_there_and_can_only_look() -> None:
    argv = commands.watch_terminal("/usr/bin/tmux", Path("/s"), "x-alice", "viewer_1")
    steps = " ".join(argv).split(" ; ")
    assert steps[0].endswith("-N -S /s has-session -t =x-alice"), "new-session would start a shell where none is"
    assert steps[2] == "new-session -t =x-alice -s viewer_1 -f read-only,ignore-size"
    assert "set-option -t =viewer_1: destroy-unattached on" in steps
