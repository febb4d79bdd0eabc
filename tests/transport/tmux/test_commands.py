"""Words that tmux takes literally, and scripts that no path can break."""

import subprocess
from pathlib import Path

import pytest

from tests.terminal import directory
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


@pytest.mark.parametrize(
    "name", ["plain", "a b", "it's", '"x"', "$(touch pwned)", "`x`", "100% #{pid} ##[x", "grüße", "\\n"]
)
def test_the_exit_script_writes_one_line_without_any_program(name: str) -> None:
    with directory() as path:
        log = path / name
        script = f"ts=now status=3 signal=; {commands.exit_script(log, 'claude-alice')}"
        done = subprocess.run(["/bin/sh", "-c", script], env={"PATH": "/nonexistent"}, cwd=path, capture_output=True)
        assert done.stderr == b""
        assert log.read_text() == "ts=now ev=session-exit identity=claude-alice dead_status=3 dead_signal=\n"
        assert log.stat().st_mode & 0o777 == 0o600
        assert sorted(entry.name for entry in path.iterdir()) == [name]


@pytest.mark.parametrize("name", ["plain", "a b", "it's", "$(touch pwned)", "100% #{pid}", "grüße"])
def test_the_exit_script_accounts_for_the_death_it_wrote_down(name: str) -> None:
    with directory() as path:
        watches = path / name
        watches.mkdir()
        (watches / "claude-alice.77").write_text("watched")
        for log, left in ((path / "missing" / "exits.log", "watched"), (path / "exits.log", "")):
            hook = commands.exit_script(log, "claude-alice", watches)
            script = f"ts=now status=3 signal= server=77; {hook}"
            subprocess.run(["/bin/sh", "-c", script], env={"PATH": "/nonexistent"}, cwd=path, capture_output=True)
            assert (watches / "claude-alice.77").read_text() == left
        assert not (path / "pwned").exists()
