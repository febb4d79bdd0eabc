"""What the agent is told to do in the middle of everything, by SIGUSR1 and `scripted.now.json`: for tests.

    {"show": "ask" | "unknown" | "shell", "when": "now" | "paste" | "pasted", "bytes": 0, "delay": 0}
    {"slow": seconds}      each drawing takes so long
    {"flood": seconds}     lines of output, as fast as the terminal takes them
    {}                     an end to all of it; a shell ends the agent

What is shown takes every key. It asks the terminal where its cursor is: what was typed after the answer was typed
by somebody who could see it, and is recorded as `key`; what came before it, all of it, as `in-flight`, with what
stood in the input line when the screen came up (`over`).
"""

import json
import re
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lifecycle.runtimes.agents.agent import Agent

FILE = "scripted.now.json"
BEGIN, END = b"\x1b[200~", b"\x1b[201~"
WHERE = "\x1b[6n"
ANSWER = re.compile(rb"\x1b\[\d+;\d+R")
CUT = re.compile(rb"\x1b(?:\[\d*(?:;\d*)?)?\Z")
LONGEST_SECONDS = 10.0
ROWS = {
    "ask": [
        "Tool use",
        "",
        "  run: rm -r /",
        "",
        "Do you want to proceed?",
        "",
        "» 1. Yes",
        "  2. No",
        "",
        "Esc to cancel",
    ],
    "unknown": ["A screen that nobody has seen before", "", "Press any key to delete everything"],
}


class Marks:
    """Finds the marks of pastes in input that is read in pieces; a mark may be cut anywhere."""

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, data: bytes) -> tuple[int, bool]:
        """Return where in `data` the first paste begins, behind its mark, else -1; and whether a paste ends in it."""
        seen, before = self._tail + data, len(self._tail)
        self._tail = seen[1 - len(END) :]
        begin = seen.find(BEGIN)
        return -1 if begin < 0 else begin + len(BEGIN) - before, END in seen


class Sight:
    """Tells what was typed before a screen could be seen: all that comes before the terminal's answer to it.

    A screen may go before its answer has come, and another come up: that one is seen with the last answer.
    """

    def __init__(self) -> None:
        self._asked = 0
        self._held = b""

    def ask(self) -> None:
        """The terminal is asked once more."""
        self._asked += 1

    def read(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what was typed before the last answer, once that is there, and what was typed after it."""
        self._held += data
        answers = list(ANSWER.finditer(self._held))
        if len(answers) < self._asked:
            return b"", b""
        held, self._held = self._held, b""
        if not self._asked:
            return b"", held
        last, self._asked = answers[self._asked - 1], 0
        return ANSWER.sub(b"", held[: last.start()]), held[last.end() :]

    def leave(self, data: bytes = b"") -> bytes:
        """Return what was typed until now, answers or not: the screen is gone. What of an answer is cut off waits."""
        text, answers = ANSWER.subn(b"", self._held + data)
        self._asked = max(0, self._asked - answers)
        cut = CUT.search(text) if self._asked else None
        self._held = b"" if cut is None else cut[0]
        return text[: len(text) - len(self._held)]


class Antics:
    """What is under way; `shown` hides everything else."""

    def __init__(self, agent: "Agent") -> None:
        self._agent = agent
        self._told: dict[str, Any] = {}
        self._marks = Marks()
        self._has_ended = False
        self._pasted = -1
        self._sight = Sight()
        self._over = ""
        self.shown = ""

    def obey(self) -> None:
        """Read what to do now."""
        was = self.shown
        self._record_early(self._sight.leave())
        try:
            with open(f"{self._agent.cwd}/{FILE}", "rb") as file:
                self._told = dict(json.load(file))
        except (OSError, ValueError):
            self._told = {}
        self.shown, self._pasted = "", -1
        if was == "shell":
            self._agent.quit(0)
        elif was:
            self._agent.view.resize()
        if self._told.get("flood"):
            self._flood(min(float(self._told["flood"]), LONGEST_SECONDS))
        if self._told.get("when") == "now":
            self._show()

    def draw(self) -> bool:
        """Return whether something else is shown than the agent; be slow first."""
        if self._told.get("slow"):
            time.sleep(min(float(self._told["slow"]), LONGEST_SECONDS))
        return bool(self.shown)

    def read(self, data: bytes) -> bytes:
        """Return the part of what was read that is for the agent."""
        if self.shown:
            self._record(data)
            return b""
        start, self._has_ended = self._marks.feed(data)
        cut = self._where(len(data), start)
        self._sight.leave(data[:cut])
        if cut is None:
            return data
        self._show()
        self._record(data[cut:])
        return b""

    def _where(self, length: int, start: int) -> int | None:
        """Return where in what was read the screen comes up, None if it does not; a paste begins at `start`."""
        if self._told.get("when") != "paste" or (self._pasted < 0 and start < 0):
            return None
        start = 0 if self._pasted >= 0 else start
        self._pasted = max(self._pasted, 0) + length - start
        beyond = self._pasted - int(self._told.get("bytes", 0))
        return None if beyond < 0 else length - beyond

    def after(self) -> None:
        """Come up behind a paste that is complete and shown."""
        if self._told.get("when") == "pasted" and self._has_ended and not self.shown:
            self._agent.draw()
            time.sleep(min(float(self._told.get("delay", 0)), LONGEST_SECONDS))
            self._show()

    def _show(self) -> None:
        self.shown = str(self._told["show"])
        self._told, self._over, self._marks = {}, self._agent.draft, Marks()
        # The rest of a paste that has begun goes to what is shown now.
        self._agent.forget_keys()
        if self.shown == "shell":
            self._agent.view.write("\x1b[?2004l\r\n\r\n\r\n$ ")
        else:
            rows = "".join(f" {row}\r\n" for row in ROWS[self.shown])
            self._agent.view.write(f"\x1b[2J\x1b[H{rows}".removesuffix("\r\n"))
        self._agent.view.write(WHERE)
        self._sight.ask()
        self._agent.transcript.write("shown", text=self.shown)

    def _record(self, data: bytes) -> None:
        early, late = self._sight.read(data)
        self._record_early(early)
        if late:
            self._agent.transcript.write("key", text=repr(late), where=self.shown)

    def _record_early(self, early: bytes) -> None:
        if early and self.shown:
            self._agent.transcript.write("in-flight", text=repr(early), where=self.shown, over=self._over)

    def _flood(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        number = 0
        while time.monotonic() < until:
            number += 1
            self._agent.view.write("".join(f"y {number} {line}\r\n" for line in range(50)))
        self._agent.view.resize()
