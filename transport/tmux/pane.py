"""One pane by its id: look at it, paste into it, press keys, see whether a person is at it."""

import secrets
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from transport.clock import Clock
from transport.errors import PeerwakeError
from transport.reader import waits_for_input
from transport.screen import Screen
from transport.sgr import split_faint
from transport.tmux import commands
from transport.tmux.control import DEADLINE, ControlClient, TmuxGone, TmuxUnknown
from transport.tmux.parser import Block

STALE_SECONDS: Final = 1
DRAWN_SECONDS: Final = 5.0
HELD_WORDS: Final = 5


class PaneInMode(PeerwakeError):
    """Somebody put the pane into copy mode in between: nothing was typed."""

    code = "pane-in-mode"


class PaneChanged(PeerwakeError):
    """The cursor moved since the look, or a person pressed a key (`is_person`): nothing was typed."""

    code = "pane-changed"

    def __init__(self, message: str, *, is_person: bool) -> None:
        super().__init__(message)
        self.is_person = is_person


@dataclass(frozen=True, slots=True)
class Look:
    """A pane and its people at one moment; `human_at` is the latest key of an attached person, wall seconds.

    It is None too where tmux's clock was set back since that key.
    """

    screen: Screen
    human_at: float | None


@dataclass(frozen=True, slots=True)
class Stance:
    """What has to be as it was seen for keys to reach a pane; None: whatever it is."""

    cursor: str | None = None
    people: str | None = None


def stance_of(screen: Screen, people: str | None) -> Stance:
    """Return what has to stay: the cursor of a screen, and the people as they were when the pane was quiet."""
    return Stance(f"{screen.cursor_x}.{screen.cursor_y}", people)


ANY: Final = Stance()


@dataclass(frozen=True, slots=True)
class PasteMark:
    """What is pasted, how often it was with this time, and the screen it is pasted into."""

    message_id: str
    times: int
    screen: Screen


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
        self._ahead = clock.wall() - clock.monotonic()

    async def capture(self, *, deadline: float = DEADLINE) -> Screen:
        """Return what the pane shows now, in one round trip."""
        text, facts = await self.control.batch(
            [commands.capture(self.pane_id), commands.facts(self.pane_id)], deadline=deadline
        )
        screen, _ = self._screen(text, facts)
        return screen

    async def look(self, *, deadline: float = DEADLINE) -> Look:
        """Return the screen and the latest activity of people, in one round trip."""
        text, facts, clients = await self.control.batch(
            [commands.capture(self.pane_id), commands.facts(self.pane_id), commands.clients()], deadline=deadline
        )
        screen, now = self._screen(text, facts)
        latest = _latest(clients)
        if latest is None or latest > now:
            return Look(screen, None)
        return Look(screen, self._clock.wall() - (now - latest))

    async def attendance(self, *, deadline: float = DEADLINE) -> Attendance:
        """Return who is attached besides this control client, and when the pane last had output."""
        clients, output = await self.control.batch(
            [commands.clients(), commands.last_output(self.pane_id)], deadline=deadline
        )
        return Attendance(max(len(clients.lines) - 1, 0), float(output.lines[0]))

    async def visited_at(self, *, deadline: float = DEADLINE) -> float:
        """Return when a person last attached or pressed a key, also one who has left; in whole wall seconds."""
        said, clients = await self.control.batch([commands.visit(), commands.clients()], deadline=deadline)
        at = float(said.lines[0])
        return max(at, _latest(clients) or at)

    async def has_read(self, message_id: str, *, deadline: float = DEADLINE) -> bool:
        """Tell whether the client has certainly dealt with all that was typed, and waits for more.

        Of a message that is known to have been pasted it must also have drawn something since, or have had
        some seconds for it: a dialog that swallows a paste draws nothing.
        """
        text, facts, said = await self.control.batch(
            [commands.capture(self.pane_id), commands.facts(self.pane_id), commands.input_facts(self.pane_id)],
            deadline=deadline,
        )
        screen, now = self._screen(text, facts)
        pid, tty, output_at, *mark = said.lines[0].split()
        if mark[:1] == [message_id]:
            _, _, was, at = mark
            if was == _digest(screen) and float(output_at) <= float(at) and now - float(at) < DRAWN_SECONDS:
                return False
        return await anyio.to_thread.run_sync(waits_for_input, int(pid), Path(tty))

    async def times_pasted(self, message_id: str, *, deadline: float = DEADLINE) -> int:
        """Return how often in a row a message was pasted without being found out of the way, by whatever server."""
        match await self.last_pasted(deadline=deadline):
            case (last, times) if last == message_id:
                return times
            case _:
                return 0

    async def last_pasted(self, *, deadline: float = DEADLINE) -> tuple[str, int] | None:
        """Return the id of the message that was pasted last, by whatever server, and how often in a row."""
        (said,) = await self.control.batch([commands.input_facts(self.pane_id)], deadline=deadline)
        mark = said.lines[0].split()[3:]
        return (mark[0], int(mark[1])) if mark else None

    async def paste(
        self, text: str, *, stance: Stance = ANY, mark: PasteMark | None = None, deadline: float = DEADLINE
    ) -> None:
        """Paste `text` as it is between bracketed-paste marks; also raises PaneInMode and PaneChanged.

        Should tmux answer too late, nothing is pasted later on. tmux keeps the `mark`, for `has_read`.
        """
        name = f"peerwake-{secrets.token_hex(8)}"
        before = self._before(deadline)
        words = None if mark is None else f"{mark.message_id} {mark.times} {_digest(mark.screen)}"
        paste = commands.paste_buffer(name, self.pane_id, before, stance.cursor, stance.people, words)
        answer = await self.control.batch([commands.set_buffer(name, text), paste], deadline=deadline)
        if self._was_held(answer):
            await self.control.batch([commands.delete_buffer(name)], deadline=deadline)
            self._explain(answer, stance)

    async def press(self, *keys: str, stance: Stance = ANY, deadline: float = DEADLINE) -> None:
        """Press keys by tmux's names (`Enter`, `C-c`, `Down`), never late; also raises PaneInMode and PaneChanged."""
        line = commands.send_keys(keys, self.pane_id, self._before(deadline), stance.cursor, stance.people)
        self._explain(await self.control.batch([line], deadline=deadline), stance)

    async def leave_mode(self, *, deadline: float = DEADLINE) -> None:
        """End copy mode, if the pane is in it."""
        await self.control.batch([commands.leave_mode(self.pane_id)], deadline=deadline)

    async def aclose(self) -> None:
        """End the control client; the session lives on."""
        await self.control.aclose()

    def _before(self, deadline: float) -> int:
        """Return the moment by tmux's own clock, as it was when it last answered."""
        return int(self._clock.monotonic() + self._ahead + deadline) + STALE_SECONDS

    def _screen(self, text: Block, facts: Block) -> tuple[Screen, float]:
        """Return the screen, and what time it is for tmux."""
        numbers, people, now, title = facts.lines[0].split("|", 3)
        wall = float(now) if now else self._clock.wall()
        self._ahead = wall - self._clock.monotonic()
        return _screen(text, numbers, people, title), wall

    def _was_held(self, answer: list[Block]) -> bool:
        return any(line.startswith(commands.HELD) for block in answer for line in block.lines)

    def _explain(self, answer: list[Block], stance: Stance) -> None:
        held = [line for block in answer for line in block.lines if line.startswith(commands.HELD)]
        if not held:
            return
        words = held[0].split()
        if len(words) < HELD_WORDS:
            raise TmuxGone(f"there is no pane {self.pane_id} any more")
        _, dead, in_mode, cursor, people = words
        if dead != "0":
            raise TmuxGone(f"the process in pane {self.pane_id} has ended")
        if in_mode != "0":
            raise PaneInMode(f"pane {self.pane_id} is in copy mode")
        if stance.people not in (None, people):
            raise PaneChanged(f"somebody is at pane {self.pane_id}; nothing was typed", is_person=True)
        if stance.cursor not in (None, cursor):
            raise PaneChanged(f"the cursor moved in pane {self.pane_id}; nothing was typed", is_person=False)
        raise TmuxUnknown(f"tmux came to pane {self.pane_id} too late; nothing was typed")


def _screen(text: Block, numbers: str, people: str, title: str) -> Screen:
    lines, solid = split_faint("\n".join(text.lines))
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
        people,
    )


def _digest(screen: Screen) -> str:
    """Return what tells one screen from another."""
    shown = repr((screen.lines, screen.cursor_x, screen.cursor_y))
    return blake2b(shown.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _latest(clients: Block) -> float | None:
    rows = (line.split() for line in clients.lines)
    times = [float(activity) for control, read_only, activity in rows if control == "0" and read_only == "0"]
    return max(times, default=None)
