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
        env={},
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
        env={"LD_X": "a b"},
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
    assert steps[at][-5:] == ["-e", "LD_X=a b", "--", "agent", "x"]
    assert steps[at + 1][:5] == ["set-hook", "-p", "-t", "=s:", "pane-died"]
    assert ["set-option", "-wg", "remain-on-exit", "on"] in steps[:at]
    assert any(step[-2:] == [commands.EXIT_OPTION, "script"] for step in steps[:at])


def test_a_viewer_joins_what_is_there_and_can_only_look() -> None:
    argv = commands.watch_terminal("/usr/bin/tmux", Path("/s"), "x-alice", "viewer_1")
    steps = " ".join(argv).split(" ; ")
    assert steps[0].endswith("-N -S /s has-session -t =x-alice"), "new-session would start a shell where none is"
    assert steps[2] == "new-session -t =x-alice -s viewer_1 -f read-only,ignore-size"
    assert "set-option -t =viewer_1: destroy-unattached on" in steps


def test_what_is_asked_of_a_pane_names_it() -> None:
    pane = "%3"
    asked = [commands.capture(pane), commands.facts(pane), commands.last_output(pane), commands.leave_mode(pane)]
    assert all('"-t" "%3"' in each and "\n" not in each for each in asked)
    assert asked[0] == 'capture-pane "-p" "-e" "-t" "%3"'
    assert commands.clients().startswith('list-clients "-F" ')


def test_a_buffer_is_set_by_its_name_and_its_text_is_no_option() -> None:
    assert commands.set_buffer("b1", "-x\ny") == r'set-buffer "-b" "b1" "--" "-x\012y"'
    assert commands.delete_buffer("b1") == 'delete-buffer "-b" "b1"'
    assert commands.say("end1") == 'display-message "-p" "end1"'


def test_only_the_server_of_its_socket_is_met_and_none_is_started() -> None:
    tmux, socket = "/usr/bin/tmux", Path("/s")
    control, terminal = commands.attach_control(tmux, socket, "x-a"), commands.attach_terminal(tmux, socket, "x-a")
    for argv in (control, terminal, commands.client(tmux, socket, commands.hello())):
        assert argv[:5] == [tmux, "-u", "-N", "-S", "/s"]
    attach = control.index("attach-session")
    assert control[attach + 1 : attach + 6] == ["-t", "=x-a", "-f", "ignore-size,no-output", ";"]
    assert control.count(";") == commands.ATTACHING_BLOCKS - 1
    assert terminal[-2:] == ["-t", "=x-a"]
    assert commands.foreground_server(tmux, socket)[1:] == ["-u", "-f", "/dev/null", "-S", "/s", "-D"]
    assert commands.version_query(tmux) == [tmux, "-V"]


@pytest.mark.parametrize("stance", [(None, None), ("4.2", "17.")])
def test_keys_and_pastes_depend_on_the_pane_as_it_was_seen(stance: tuple[str | None, str | None]) -> None:
    for typed in (commands.paste_buffer("b1", "%3", 99, *stance), commands.send_keys(["Enter"], "%3", 99, *stance)):
        condition = typed.split('" "')[3]
        assert typed.startswith('if-shell "-F" "-t" "%3" ')
        assert all(fact in condition for fact in ("{pane_dead},0}", "{pane_in_mode},0}", ",99}"))
        assert all((given is not None) == (f",{given}}}" in condition) for given in stance)
    assert r"paste-buffer \"-p\" \"-r\" \"-d\" \"-b\" \"b1\"" in commands.paste_buffer("b1", "%3", 99, *stance)
    assert r"send-keys \"-t\" \"%3\" \"Enter\"" in commands.send_keys(["Enter"], "%3", 99, *stance)


def test_a_paste_leaves_its_mark_only_where_it_is_made() -> None:
    marked = commands.paste_buffer("b1", "%3", 99, None, None, "m_1 2 abc")
    bare = commands.paste_buffer("b1", "%3", 99, None, None)
    assert commands.PASTED_OPTION not in bare
    assert "m_1 2 abc" in marked
    assert marked.index("paste-buffer") < marked.index(commands.PASTED_OPTION) < marked.index(commands.HELD)


def test_what_is_asked_of_people_and_of_the_input() -> None:
    assert commands.visit() == commands.line("display-message", "-p", commands.VISIT_FORMAT)
    assert commands.input_facts("%3").startswith('display-message "-p" "-t" "%3"')
