"""What a person may do with tmux at an agent's terminal, on purpose or not."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.faults.fault import Field, Heal
from tests.faults.injections.grip import Grip, any_session
from tests.faults.injections.person import attach

Do = Callable[[Grip, Random], Heal | None]


@dataclass(frozen=True, slots=True)
class AtTmux:
    """Somebody does something to a live session's tmux, and undoes it."""

    name: str
    do: Do
    weight: float = 1.0

    def strike(self, field: Field, random: Random) -> Heal | None:
        held = any_session(field, random)
        heal = None if held is None else self.do(held, random)
        if held is not None and heal is not None:
            field.trace(f"{self.name}: {held.peer.identity}")
        return heal


def copy_mode(held: Grip, random: Random) -> Heal | None:
    if held.tmux("copy-mode", "-t", held.pane) is None:
        return None
    return lambda: _cancel(held)


def _cancel(held: Grip) -> None:
    held.tmux("if-shell", "-F", "-t", held.pane, "#{pane_in_mode}", f"send-keys -t {held.pane} -X cancel")


def clock_mode(held: Grip, random: Random) -> Heal | None:
    """Any key ends it, so the next key would be lost; tmux has no other way out."""
    if held.tmux("clock-mode", "-t", held.pane) is None:
        return None
    return lambda: _press_out(held)


def choose_tree(held: Grip, random: Random) -> Heal | None:
    if held.tmux("choose-tree", "-t", held.pane) is None:
        return None
    return lambda: _press_out(held)


def _press_out(held: Grip) -> None:
    if held.ask("#{pane_in_mode}") == "1":
        held.tmux("if-shell", "-F", "-t", held.pane, "#{pane_in_mode}", f"send-keys -t {held.pane} q")


def narrow(held: Grip, random: Random) -> Heal | None:
    return _resize(held, "-x", "20")


def flat(held: Grip, random: Random) -> Heal | None:
    return _resize(held, "-y", "3")


def _resize(held: Grip, *size: str) -> Heal | None:
    before = (held.ask("#{window_width} #{window_height}") or "").split()
    if len(before) != 2 or held.tmux("resize-window", "-t", held.pane, *size) is None:
        return None
    return lambda: _restore(held, *before)


def _restore(held: Grip, columns: str, rows: str) -> None:
    held.tmux("resize-window", "-t", held.pane, "-x", columns, "-y", rows)


def small_client(held: Grip, random: Random) -> Heal | None:
    person = attach(held, 18, 5)
    return None if person is None else person.close


def command_prompt(held: Grip, random: Random) -> Heal | None:
    person = attach(held)
    client = None if person is None else held.tmux("list-clients", "-F", "#{client_control_mode} #{client_name}")
    names = [line[2:] for line in (client or "").splitlines() if line.startswith("0 ")]
    if person is None or not names or held.tmux("command-prompt", "-b", "-t", names[-1]) is None:
        return None if person is None else person.close
    person.type(b"display-message hello")

    def heal() -> None:
        held.tmux("detach-client", "-t", names[-1])
        person.close()

    return heal


def second_window(held: Grip, random: Random) -> Heal | None:
    made = held.tmux("new-window", "-P", "-F", "#{window_id}", "-t", f"={held.peer.identity}:", "sleep", "60")
    if made is None:
        return None
    return lambda: _kill_window(held, made.strip())


def _kill_window(held: Grip, window: str) -> None:
    held.tmux("kill-window", "-t", window)


def split(held: Grip, random: Random) -> Heal | None:
    made = held.tmux("split-window", "-b", "-P", "-F", "#{pane_id}", "-t", held.pane, "sleep", "60")
    if made is None:
        return None
    return lambda: _kill_pane(held, made.strip())


def _kill_pane(held: Grip, pane: str) -> None:
    held.tmux("kill-pane", "-t", pane)


def renamed(held: Grip, random: Random) -> Heal | None:
    before = held.ask("#{session_name}")
    if before is None or held.tmux("rename-session", "-t", held.pane, "mine") is None:
        return None
    return lambda: _rename(held, before)


def _rename(held: Grip, name: str) -> None:
    held.tmux("rename-session", "-t", held.pane, name)


VISITS = (
    AtTmux("copy mode", copy_mode),
    AtTmux("clock mode", clock_mode, 0.5),
    AtTmux("choose-tree", choose_tree, 0.5),
    AtTmux("command prompt", command_prompt, 0.5),
    AtTmux("pane of 20 columns", narrow),
    AtTmux("pane of 3 rows", flat, 0.5),
    AtTmux("small client", small_client, 0.5),
    AtTmux("second window", second_window, 0.5),
    AtTmux("split pane", split, 0.5),
    AtTmux("session renamed", renamed, 0.3),
)
