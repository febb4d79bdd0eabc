"""The only place that writes tmux arguments: argument lists, control-mode lines, formats and the exit hook."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

NOW_OPTION: Final = "@peerwake-now"
STAMP_OPTION: Final = "@peerwake-stamp"
EXIT_OPTION: Final = "@peerwake-exit"
LOG_OPTION: Final = "@peerwake-log"
VISIT_OPTION: Final = "@peerwake-visit"
OURS_OPTION: Final = "@peerwake-attached"
PASTED_OPTION: Final = "@peerwake-pasted"
STARTED_FORMAT: Final = "#{pid} #{pane_id} #{pane_pid}"
CURSOR_FORMAT: Final = "#{cursor_x}.#{cursor_y}"
PEOPLE_FORMAT: Final = "#{S:#{session_activity}.#{session_attached}.}"
"""When somebody last attached or pressed a key (in whole seconds), and how many are attached, of each session."""
FACTS_FORMAT: Final = (
    "#{pane_dead} #{pane_in_mode} #{cursor_x} #{cursor_y} #{pane_width} #{pane_height}"
    f" #{{alternate_on}} #{{bracket_paste_flag}}|{PEOPLE_FORMAT}|#{{T:{NOW_OPTION}}}|#{{pane_title}}"
)
CLIENTS_FORMAT: Final = "#{client_control_mode} #{client_readonly} #{client_activity}"
VISIT_FORMAT: Final = (
    f"#{{?#{{e|>:#{{session_activity}},0#{{{OURS_OPTION}}}}},#{{session_activity}},"
    f"#{{?#{{{VISIT_OPTION}}},#{{{VISIT_OPTION}}},0}}}}"
)
"""When a person last attached to a session or pressed a key there, in whole seconds; what we did ourselves is none."""
ATTACHING_BLOCKS: Final = 3
INPUT_FORMAT: Final = f"#{{pane_pid}} #{{pane_tty}} #{{window_activity}} #{{{PASTED_OPTION}}}"
HELD: Final = "held"
LIST_PANES: Final = (
    "list-panes",
    "-a",
    "-F",
    "#{pane_id} #{pane_pid} #{pane_dead} #{pane_current_command}",
)
LIST_CLIENTS: Final = (
    "list-clients",
    "-F",
    "#{client_pid} #{client_control_mode} #{client_readonly} #{client_activity} #{client_session}",
)

ESCAPED: Final = str.maketrans(
    {chr(code): f"\\{code:03o}" for code in (*range(1, 0x20), 0x7F)} | {char: f"\\{char}" for char in '\\"$~'}
)
"""What tmux's parser would not take literally between double quotes."""

OPTIONS: Final = (
    ("-s", "escape-time", "0"),
    ("-s", "message-limit", "0"),
    ("-s", "set-clipboard", "off"),
    ("-s", NOW_OPTION, "%s"),
    ("-s", STAMP_OPTION, "%Y-%m-%dT%H:%M:%S%z"),
    ("-g", "update-environment", ""),
    ("-g", "default-command", ""),
    ("-g", "status", "off"),
    ("-g", "mouse", "off"),
    ("-g", "set-titles", "off"),
    ("-g", "bell-action", "none"),
    ("-g", "visual-bell", "off"),
    ("-g", "destroy-unattached", "off"),
    ("-wg", "remain-on-exit", "on"),
    ("-wg", "aggressive-resize", "off"),
    ("-wg", "allow-rename", "off"),
    ("-wg", "automatic-rename", "off"),
    ("-wg", "monitor-activity", "off"),
)
SINCE_3_3: Final = (("-wg", "allow-passthrough", "off"),)


def version_query(tmux: str) -> list[str]:
    return [tmux, "-V"]


def foreground_server(tmux: str, socket: Path) -> list[str]:
    """A server that stays in the foreground, reads no configuration and starts without a session."""
    return [tmux, "-u", "-f", "/dev/null", "-S", str(socket), "-D"]


def client(tmux: str, socket: Path, *commands: Sequence[str]) -> list[str]:
    """One client process that runs some commands in sequence and never starts a server."""
    return [tmux, "-u", "-N", "-S", str(socket), *_sequence(commands)]


def _sequence(commands: Iterable[Sequence[str]]) -> list[str]:
    """Join commands; an argument that ends with `;` would otherwise end its command."""
    words: list[str] = []
    for command in commands:
        if words:
            words.append(";")
        words += [word[:-1] + "\\;" if word.endswith(";") else word for word in command]
    return words


def set_up(
    *,
    session: str,
    argv: Sequence[str],
    env: Mapping[str, str],
    size: tuple[int, int],
    terminal: str,
    shell: str,
    history: int,
    passthrough: bool,
    exit_hook: str | None,
    pane_log: Path | None,
    pane_log_bytes: int,
) -> list[list[str]]:
    """The commands that configure a new server and create its session, in one sequence.

    The session takes the working directory of the client that runs them, and `env` besides the server's own
    environment; it stands in the client's argument list. `argv` never meets a shell.
    """
    options = (*OPTIONS, *(SINCE_3_3 if passthrough else ()))
    commands = [["set-option", scope, name, value] for scope, name, value in options]
    commands.append(["set-option", "-s", "default-terminal", terminal])
    commands.append(["set-option", "-g", "history-limit", str(history)])
    commands.append(["set-option", "-g", "default-shell", shell])
    if exit_hook is not None:
        commands.append(["set-option", "-s", EXIT_OPTION, exit_hook])
    new = ["new-session", "-d", "-P", "-F", STARTED_FORMAT, "-s", session, "-x", str(size[0]), "-y", str(size[1])]
    given = [word for name, value in env.items() for word in ("-e", f"{name}={value}")]
    commands.append([*new, *given, "--", *_without_shell(argv)])
    agent = f"={session}:"
    if exit_hook is not None:
        commands.append(["set-hook", "-p", "-t", agent, "pane-died", _died_hook()])
    # What a person opens beside the agent closes as usual and ends nothing.
    commands.append(["set-option", "-p", "-t", agent, "remain-on-exit", "on"])
    commands.append(["set-option", "-wg", "remain-on-exit", "off"])
    if pane_log is not None:
        commands.append(["set-option", "-s", LOG_OPTION, shlex.quote(str(pane_log))])
        # The limit ends the copy, should nobody cut the file in time; -f counts blocks of 512 bytes.
        keep = f"ulimit -c 0; ulimit -f {pane_log_bytes // 512}; exec cat >>#{{{LOG_OPTION}}}"
        commands.append(["pipe-pane", "-t", agent, keep])
    # tmux 3.3a crashes on every new window while window-size is manual for all.
    commands.append(["set-option", "-w", "-t", agent, "window-size", "manual"])
    commands.append(["set-option", "-s", "exit-empty", "on"])
    return commands


def _without_shell(argv: Sequence[str]) -> list[str]:
    """tmux hands a single word to a shell, so a single word gets a company."""
    return list(argv) if len(argv) > 1 else ["/usr/bin/env", *argv]


def _died_hook() -> str:
    """Run the exit script (see `exit_script`) with its facts set, then end the server by tmux itself."""
    facts = f"ts=#{{T:{STAMP_OPTION}}} status=#{{pane_dead_status}} signal=#{{pane_dead_signal}}"
    facts += " server=#{pid} pane=#{pane_pid}"
    script = f"{facts}; #{{{EXIT_OPTION}}}"
    return f"{line('run-shell', script)} ; kill-server"


def hello() -> list[str]:
    return ["display-message", "-p", "hello"]


def attach_control(tmux: str, socket: Path, session: str, pane: str | None = None) -> list[str]:
    """A control client that neither resizes the session, named or found by a `pane` of it, nor receives its output.

    It has tmux keep when a person was there last, which attaching hides. Each command is answered with a block.
    """
    keep = ["set-option", "-s", "-F", "-t", pane or f"={session}:"]
    attach = ["attach-session", "-t", pane or f"={session}", "-f", "ignore-size,no-output"]
    steps = [[*keep, VISIT_OPTION, VISIT_FORMAT], attach, [*keep, OURS_OPTION, "#{session_activity}"]]
    return [tmux, "-u", "-N", "-S", str(socket), "-C", *_sequence(steps)]


def attach_terminal(tmux: str, socket: Path, session: str) -> list[str]:
    """A person's terminal on the session."""
    return [tmux, "-u", "-N", "-S", str(socket), "attach-session", "-t", f"={session}"]


def watch_terminal(tmux: str, socket: Path, session: str, viewer: str) -> list[str]:
    """A terminal that only looks: a session grouped with the agent's own, which goes with its client.

    Its client can neither type nor resize. The agent's session ends its server as before, although its
    window would live on in the viewer's.
    """
    ended = line("if-shell", "-F", f"#{{==:#{{hook_session_name}},{session}}}", "kill-server")
    target = f"={viewer}:"
    steps = [
        ["has-session", "-t", f"={session}"],
        ["set-hook", "-g", "session-closed", ended],
        ["new-session", "-t", f"={session}", "-s", viewer, "-f", "read-only,ignore-size"],
        ["set-option", "-t", target, "destroy-unattached", "on"],
        ["set-option", "-t", target, "status-left-length", "200"],
        ["set-option", "-t", target, "status-left", f"watching {session}, read-only (Ctrl-B d leaves) "],
        ["set-option", "-t", target, "status-right", ""],
        ["set-option", "-t", target, "status", "on"],
    ]
    return client(tmux, socket, *steps)


def quote(word: str) -> str:
    """Return one word that tmux's command parser takes literally, on one line.

    Raises ValueError for NUL, which no command line can hold.
    """
    if "\0" in word:
        raise ValueError("a tmux command cannot hold NUL")
    return f'"{word.translate(ESCAPED)}"'


def line(*words: str) -> str:
    """One command as a line for the control client."""
    return " ".join([words[0], *(quote(word) for word in words[1:])])


def say(text: str) -> str:
    """Print a plain token of letters and digits, to find the end of a batch."""
    return line("display-message", "-p", text)


def capture(pane: str) -> str:
    return line("capture-pane", "-p", "-e", "-t", pane)


def facts(pane: str) -> str:
    return line("display-message", "-p", "-t", pane, FACTS_FORMAT)


def clients() -> str:
    return line("list-clients", "-F", CLIENTS_FORMAT)


def visit() -> str:
    """When a person last attached to this client's session or pressed a key there, also one who has left."""
    return line("display-message", "-p", VISIT_FORMAT)


def input_facts(pane: str) -> str:
    """The process of a pane, the terminal that it reads, its last output, and what was pasted last."""
    return line("display-message", "-p", "-t", pane, INPUT_FORMAT)


def last_output(pane: str) -> str:
    """When the pane's window last had output, in wall seconds; attaching and looking are none."""
    return line("display-message", "-p", "-t", pane, "#{window_activity}")


def set_buffer(name: str, text: str) -> str:
    return line("set-buffer", "-b", name, "--", text)


def delete_buffer(name: str) -> str:
    return line("delete-buffer", "-b", name)


def paste_buffer(
    name: str, pane: str, before: int, cursor: str | None, people: str | None, mark: str | None = None
) -> str:
    """Paste with bracketed-paste marks and line ends as they are, unless the pane changed or it is too late.

    tmux keeps `mark` and the second of the paste, for servers to come.
    """
    paste = line("paste-buffer", "-p", "-r", "-d", "-b", name, "-t", pane)
    if mark is not None:
        paste += " ; " + line("set-option", "-s", "-F", "-t", pane, PASTED_OPTION, f"{mark} #{{T:{NOW_OPTION}}}")
    return _only_if(paste, pane, before, cursor, people)


def send_keys(keys: Sequence[str], pane: str, before: int, cursor: str | None, people: str | None) -> str:
    """Press keys by tmux's names, unless the pane changed or it is too late."""
    return _only_if(line("send-keys", "-t", pane, *keys), pane, before, cursor, people)


def leave_mode(pane: str) -> str:
    """End whatever mode the pane is in; only those of copying know `cancel`, the others end with `q`."""
    cancel = line("send-keys", "-t", pane, "-X", "cancel")
    press_out = line("if-shell", "-F", "-t", pane, "#{pane_in_mode}", line("send-keys", "-t", pane, "q"))
    return line("if-shell", "-F", "-t", pane, "#{m/r:^(copy|view)-mode$,#{pane_mode}}", cancel, press_out)


def _only_if(command: str, pane: str, before: int, cursor: str | None, people: str | None) -> str:
    """Run `command` only if the pane lives, is in no mode and as it was seen, and it is before `before`.

    tmux decides and acts at once: no key of a person comes in between. A stopped server runs what waits in
    its pipe when it goes on; by then nobody expects these keys. `before` is epoch seconds of tmux's clock.
    """
    alive = "#{&&:#{==:#{pane_dead},0},#{==:#{pane_in_mode},0}}"
    timely = f"#{{e|<:#{{T:{NOW_OPTION}}},{before}}}"
    still = "1" if cursor is None else f"#{{==:{CURSOR_FORMAT},{cursor}}}"
    alone = "1" if people is None else f"#{{==:{PEOPLE_FORMAT},{people}}}"
    whole = f"#{{&&:#{{&&:{alive},{timely}}},#{{&&:{still},{alone}}}}}"
    facts = f"{HELD} #{{pane_dead}} #{{pane_in_mode}} {CURSOR_FORMAT} {PEOPLE_FORMAT}"
    return line("if-shell", "-F", "-t", pane, whole, command, line("display-message", "-p", "-t", pane, facts))
