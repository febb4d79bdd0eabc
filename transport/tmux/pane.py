"""One pane by its id: look at it, paste into it, press keys, see whether a person is at it."""

import secrets
from dataclasses import dataclass
from typing import Final

import anyio

from transport.clock import Clock
from transport.errors import PeerwakeError
from transport.screen import Screen
from transport.sgr import split_faint
from transport.tmux import commands
from transport.tmux.control import DEADLINE, ControlClient, TmuxGone, TmuxUnknown
from transport.tmux.parser import Block

STALE_SECONDS: Final = 1


class PaneInMode(PeerwakeError):
    """Somebody put the pane into copy mode in between: nothing was typed."""

    code = "pane-in-mode"


@dataclass(frozen=True, slots=True)
class Look:
    """A pane and its people at one moment; `human_at` is the latest key of an attached person, wall seconds."""

    screen: Screen
    human_at: float | None


@dataclass(frozen=True, slots=True)
class Attendance:
    """Who is at a session: clients other than ours, whether they may type or not; `output_at` is wall seconds."""

    clients: int
    output_at: float


class Pane:
    """The agent's own pane; every method raises TmuxUnknown, TmuxGone, TmuxRefused and LockHeld.

    Whoever types more than one thing holds `exclusive` meanwhile.
    """

    def __init__(self, control: ControlClient, pane_id: str, clock: Clock) -> None:
        self.pane_id = pane_id
        self.control = control
        self.exclusive = anyio.Lock()
        self._clock = clock

    async def capture(self, *, deadline: float = DEADLINE) -> Screen:
        """Return what the pane shows now, in one round trip."""
        text, facts = await self.control.batch(
            [commands.capture(self.pane_id), commands.facts(self.pane_id)], deadline=deadline
        )
        return _screen(text, facts)

    async def look(self, *, deadline: float = DEADLINE) -> Look:
        """Return the screen and the latest activity of people, in one round trip."""
        text, facts, clients = await self.control.batch(
            [commands.capture(self.pane_id), commands.facts(self.pane_id), commands.clients()], deadline=deadline
        )
        return Look(_screen(text, facts), _latest(clients))

    async def attendance(self, *, deadline: float = DEADLINE) -> Attendance:
        """Return who is attached besides this control client, and when the pane last had output."""
        clients, output = await self.control.batch(
            [commands.clients(), commands.last_output(self.pane_id)], deadline=deadline
        )
        return Attendance(max(len(clients.lines) - 1, 0), float(output.lines[0]))

    async def paste(self, text: str, *, deadline: float = DEADLINE) -> None:
        """Paste `text` as it is between bracketed-paste marks; also raises PaneInMode.

        Should tmux answer too late, nothing is pasted later on.
        """
        name = f"peerwake-{secrets.token_hex(8)}"
        lines = [commands.set_buffer(name, text), commands.paste_buffer(name, self.pane_id, self._before(deadline))]
        answer = await self.control.batch(lines, deadline=deadline)
        if self._was_held(answer):
            await self.control.batch([commands.delete_buffer(name)], deadline=deadline)
            self._explain(answer)

    async def press(self, *keys: str, deadline: float = DEADLINE) -> None:
        """Press keys by tmux's names (`Enter`, `C-c`, `Down`); also raises PaneInMode, never presses late."""
        line = commands.send_keys(keys, self.pane_id, self._before(deadline))
        self._explain(await self.control.batch([line], deadline=deadline))

    async def leave_mode(self, *, deadline: float = DEADLINE) -> None:
        """End copy mode, if the pane is in it."""
        await self.control.batch([commands.leave_mode(self.pane_id)], deadline=deadline)

    async def aclose(self) -> None:
        """End the control client; the session lives on."""
        await self.control.aclose()

    def _before(self, deadline: float) -> int:
        return int(self._clock.wall() + deadline) + STALE_SECONDS

    def _was_held(self, answer: list[Block]) -> bool:
        return any(line.startswith(commands.HELD) for block in answer for line in block.lines)

    def _explain(self, answer: list[Block]) -> None:
        held = [line for block in answer for line in block.lines if line.startswith(commands.HELD)]
        if not held:
            return
        _, dead, in_mode = held[0].split()
        if dead != "0":
            raise TmuxGone(f"the process in pane {self.pane_id} has ended")
        if in_mode != "0":
            raise PaneInMode(f"pane {self.pane_id} is in copy mode")
        raise TmuxUnknown(f"tmux came to pane {self.pane_id} too late; nothing was typed")


def _screen(text: Block, facts: Block) -> Screen:
    lines, solid = split_faint("\n".join(text.lines))
    numbers, _, title = facts.lines[0].partition("|")
    dead, in_mode, x, y, width, height, alternate, *bracketed = numbers.split()
    return Screen(
        lines,
        title,
        int(x),
        int(y),
        in_mode != "0",
        dead == "1",
        int(width),
        int(height),
        alternate == "1",
        solid,
        bracketed[0] == "1" if bracketed else None,
    )


def _latest(clients: Block) -> float | None:
    rows = (line.split() for line in clients.lines)
    times = [float(activity) for control, read_only, activity in rows if control == "0" and read_only == "0"]
    return max(times, default=None)
